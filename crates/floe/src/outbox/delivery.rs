//! One delivery session: connects, finds out which records the partitions already hold, and sends the rest in order.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use floe_core::invariant;
use floe_wire::batch::{BorrowedRecord, EncodedBatch, RecordView};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{
    checkpoint::{Checkpoint, DeliveredRanges, MODULUS, advance},
    routing::{self, RouteHint, Router},
    shared::{OutboxShared, StopRequest},
};
use crate::{
    Error, ErrorKind, Message, Producer, Result, RetryPolicy,
    consumer::RecordBatch,
    engine::SharedEngine,
    producer::{Deliveries, DeliveryMode, Identity, PassthroughRecord, refuses_record, written},
};

/// Bytes read from the spool and not acknowledged yet, at most.
const MAX_IN_FLIGHT: usize = 8 << 20;

/// Age that the checkpoint on disk may reach while records are delivered. A crash costs a look at the deliveries of this
/// time.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);

/// Timeout of reading the ends of the partitions.
const TAIL_READ_TIMEOUT: Duration = Duration::from_secs(120);

/// Timeout of a batch. Longer than any outage, since only the program gives up accepted records.
const BATCH_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// End of a session, other than by an error.
pub(super) enum SessionEnd {
    /// Another session continues from the checkpoint.
    Restart,
    /// The producer refused a record before `until`. The next session sends those records one by one to find it.
    SendEach { until: i64 },
    /// A stop was requested and no record waits.
    Drained,
}

/// Condition under which the session ends as soon as everything sent is acknowledged. Until then it reads nothing.
enum Barrier {
    /// The records to send next are not those that the session counted on.
    Restart,
    /// The producer refused one of the records before this offset.
    SendEach { until: i64 },
    /// The cluster can never accept this record.
    Reject(Box<RejectedRecord>),
}

struct RejectedRecord {
    message: Message,
    hint: RouteHint,
    error: Error,
}

/// A batch of the spool whose records are sent and not acknowledged.
struct SentBatch {
    /// Offset in the spool of the record after it.
    next: i64,
    records: u64,
    memory: usize,
    /// Records for each partition, including those that it already held.
    counts: Vec<u32>,
    deliveries: Deliveries,
}

/// Numbers of the records of one partition in this session.
struct PartitionNumbers {
    /// Number at the start of the session.
    first: u32,
    /// Number after the last record that was read.
    next: u32,
    /// Records from `first` on that the partition already held.
    delivered: DeliveredRanges,
}

impl PartitionNumbers {
    /// Returns how many records were read in this session.
    fn distance(&self) -> u32 {
        self.next.wrapping_sub(self.first) % MODULUS
    }
}

struct Session<'a> {
    shared: &'a OutboxShared,
    producer: Producer,
    /// Checkpoint after the last acknowledged batch.
    at: Checkpoint,
    numbers: Vec<PartitionNumbers>,
    sent: VecDeque<SentBatch>,
    in_flight: usize,
    /// Records before this offset are sent one by one, because the producer refuses one of them.
    each_until: i64,
    barrier: Option<Barrier>,
    /// Time of the next checkpoint, if one is due.
    checkpoint_at: Option<Instant>,
    /// Bytes delivered since the last checkpoint on disk.
    since_checkpoint: usize,
    /// Whether a later session can read the ends of the partitions. Where it cannot, every acknowledgement is stored.
    reads_tails: bool,
}

/// Runs a session. Boxed, because the compiler cannot prove otherwise that the task around it is `Send`.
pub(super) fn run(shared: &OutboxShared, each_until: i64) -> BoxFuture<'_, Result<SessionEnd>> {
    Box::pin(async move { Session::open(shared, each_until).await?.run().await })
}

/// Returns the checkpoint to start from, written to disk before the first record is sent under its producer id.
async fn begin(shared: &OutboxShared, engine: &SharedEngine) -> Result<Checkpoint> {
    let topic = shared.topic();
    let info = engine.topic(topic.clone()).await.map_err(|error| error.with_topic(topic))?;
    let mut marks = Vec::new();
    for partition in 0..info.partitions {
        marks.push(match engine.info().capabilities.offsets {
            true => Some(engine.watermarks(topic.partition(partition)).await?),
            false => None,
        });
    }
    let mut checkpoint = shared.checkpoint.lock().await;
    let known = checkpoint.current.partitions.len();
    let is_idle = checkpoint.current.position >= shared.spool.end();
    if known == 0 || known > marks.len() {
        // This is the first contact, or the topic was created anew.
        checkpoint.current.restart(&marks);
    } else if known < marks.len() && is_idle {
        checkpoint.current.add_partitions(&marks);
    } else {
        return Ok(checkpoint.current.clone());
    }
    shared.store(&mut checkpoint).await?;
    Ok(checkpoint.current.clone())
}

/// Finds the records that an earlier session sent without learning that they arrived.
async fn read_tails(
    shared: &OutboxShared,
    engine: &SharedEngine,
    at: &Checkpoint,
) -> Result<Vec<DeliveredRanges>> {
    let mut delivered = Vec::new();
    for (index, partition) in (0..).zip(&at.partitions) {
        let source = shared.topic().partition(index);
        let batches = written(&**engine, &source, partition.settled, at.producer_id).await?;
        delivered.push(DeliveredRanges::new(partition.sequence, &batches));
    }
    Ok(delivered)
}

/// Returns the producer id, and the numbers of the first records that the partitions do not hold.
fn identity_of(at: &Checkpoint, delivered: &[DeliveredRanges]) -> Identity {
    let partitions = at.partitions.iter().zip(delivered).map(|(partition, delivered)| {
        let next = advance(partition.sequence, delivered.prefix());
        (i32::try_from(next).unwrap_or(0), partition.settled)
    });
    Identity { producer_id: at.producer_id, epoch: 0, partitions: partitions.collect() }
}

impl<'a> Session<'a> {
    async fn open(shared: &'a OutboxShared, each_until: i64) -> Result<Self> {
        let builder = (shared.settings.connect)().await?;
        let engine = Arc::clone(builder.client().engine());
        let at = begin(shared, &engine).await?;
        let capabilities = engine.info().capabilities;
        let reads_tails = capabilities.offsets && !capabilities.consuming_reads;
        let delivered = if reads_tails {
            let read = tokio::time::timeout(TAIL_READ_TIMEOUT, read_tails(shared, &engine, &at));
            read.await.unwrap_or_else(|_| {
                let message =
                    format!("reading the ends of the partitions took longer than {TAIL_READ_TIMEOUT:?}");
                Err(Error::new(ErrorKind::RequestTimeout, message).with_topic(shared.topic()))
            })?
        } else {
            vec![DeliveredRanges::default(); at.partitions.len()]
        };
        let producer = builder
            .identity(identity_of(&at, &delivered))
            .timeout(BATCH_TIMEOUT)
            .retry(RetryPolicy::default())
            .delivery(DeliveryMode::AtLeastOnce)
            .batch_queue(usize::MAX)
            .start()
            .await?;
        *shared.active.lock() = Some(producer.clone());
        let numbers = at.partitions.iter().zip(delivered).map(|(partition, delivered)| PartitionNumbers {
            first: partition.sequence,
            next: partition.sequence,
            delivered,
        });
        Ok(Self {
            shared,
            producer,
            numbers: numbers.collect(),
            at,
            sent: VecDeque::new(),
            in_flight: 0,
            each_until,
            barrier: None,
            checkpoint_at: None,
            since_checkpoint: 0,
            reads_tails,
        })
    }

    fn router(&self) -> Router<'a> {
        self.shared.router(&self.at)
    }

    async fn run(mut self) -> Result<SessionEnd> {
        let mut spooled = self.shared.spool.follow(self.at.position).await?;
        let mut stop = self.shared.stop.subscribe();
        loop {
            if self.sent.is_empty() {
                if let Some(barrier) = self.barrier.take() {
                    return self.pass(barrier).await;
                }
                let stops = *stop.borrow_and_update() != StopRequest::None;
                if stops && self.at.position >= self.shared.spool.end() {
                    return Ok(SessionEnd::Drained);
                }
            }
            let reads = self.barrier.is_none() && self.in_flight < MAX_IN_FLIGHT;
            let acknowledged = async {
                match self.sent.front_mut() {
                    Some(sent) => sent.deliveries.ends().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = acknowledged => {
                    self.acknowledged(&outcome?).await?;
                }
                batch = spooled.next(), if reads => match batch {
                    Ok((batch, encoded)) => self.send(&batch, encoded).await?,
                    // Records were dropped to make room; the session after this one starts behind them.
                    Err(error) if matches!(error.kind(), ErrorKind::Gap | ErrorKind::OffsetOutOfRange) => {
                        self.barrier = Some(Barrier::Restart);
                    }
                    Err(error) => return Err(error),
                },
                () = sleep_until(self.checkpoint_at.unwrap_or_else(Instant::now)), if self.checkpoint_at.is_some() => {
                    self.store_checkpoint().await;
                }
                changed = stop.changed() => if changed.is_err() {
                    return Ok(SessionEnd::Drained);
                },
            }
        }
    }

    /// Sends the records of a batch that their partitions do not hold yet, up to the first barrier. `encoded` is the
    /// batch of the spool that they lie in.
    async fn send(&mut self, batch: &RecordBatch, encoded: EncodedBatch) -> Result<()> {
        // Headers hold the partition and the trace context, so records with headers are sent one by one.
        let passes = !self.is_suspect(batch) && !batch.has_headers() && self.producer.passes_records();
        let sent = if !passes {
            self.send_each(batch).await?
        } else if let Some(sent) = self.send_whole(batch, encoded).await? {
            Some(sent)
        } else {
            self.send_gathered(batch).await?
        };
        if let Some(sent) = sent {
            self.in_flight += sent.memory;
            self.sent.push_back(sent);
        }
        Ok(())
    }

    /// Returns whether the producer may refuse a record of this batch.
    fn is_suspect(&self, batch: &RecordBatch) -> bool {
        batch.first_offset() < self.each_until
    }

    /// Sends a batch with the bytes that it has in the spool, if its size is worth that, all its records go to one
    /// partition, and that holds none of them.
    async fn send_whole(&mut self, batch: &RecordBatch, encoded: EncodedBatch) -> Result<Option<SentBatch>> {
        if !batch.is_whole() || !self.producer.passes_batch(batch.section_len()) {
            return Ok(None);
        }
        let Some(partition) = self.router().of_all(batch) else { return Ok(None) };
        let (index, count) = (partition as usize, batch.len() as u32);
        let mut sent = self.sent_batch(batch);
        let (Some(numbers), Some(counted)) = (self.numbers.get_mut(index), sent.counts.get_mut(index)) else {
            invariant!(false, "a route leads to a known partition, not to {partition}");
            return Ok(None);
        };
        if numbers.distance() < numbers.delivered.end() {
            return Ok(None);
        }
        (numbers.next, *counted, sent.records) = (advance(numbers.next, count), count, u64::from(count));
        sent.deliveries = self.producer.pass_batch(partition, encoded).await?;
        Ok(Some(sent))
    }

    /// Sends records gathered by partition, with the bytes that they have in the spool.
    async fn send_gathered(&mut self, batch: &RecordBatch) -> Result<Option<SentBatch>> {
        let mut groups: Vec<Vec<PassthroughRecord<'_>>> = Vec::new();
        groups.resize_with(self.numbers.len(), Vec::new);
        let mut largest = 0;
        let mut sent = self.plan(batch, |record, partition| {
            let record = PassthroughRecord::new(record);
            largest = largest.max(record.size());
            if let Some(group) = groups.get_mut(partition as usize) {
                group.push(record);
            }
        });
        if self.producer.is_too_large(largest) {
            // The next session finds out which record it is, and sends those before it.
            self.barrier = Some(Barrier::SendEach { until: batch.next_offset() });
            return Ok(None);
        }
        for (partition, group) in (0..).zip(&groups).filter(|(_, group)| !group.is_empty()) {
            self.producer.pass_records(partition, group, &mut sent.deliveries).await?;
        }
        Ok(Some(sent))
    }

    /// Sends records one by one.
    async fn send_each(&mut self, batch: &RecordBatch) -> Result<Option<SentBatch>> {
        let mut wanted = VecDeque::new();
        let mut sent = self.plan(batch, |record, partition| wanted.push_back((record.offset, partition)));
        let mut records = Vec::with_capacity(wanted.len());
        for record in batch.records() {
            match wanted.front() {
                Some((offset, partition)) if *offset == record.offset => {
                    let message = message_of(batch, record);
                    let record = routing::restore(&message).partition(*partition);
                    records.push((message, record));
                    wanted.pop_front();
                }
                Some(_) => {}
                None => break,
            }
        }
        if self.is_suspect(batch) {
            for (message, record) in records {
                match self.producer.enqueue(record).await {
                    Ok(delivery) => sent.deliveries.push_one(&delivery),
                    Err(error) if refuses_record(&error) => {
                        self.end_before(&mut sent, batch, message.offset);
                        self.reject(batch, message, error);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        } else if !records.is_empty() {
            match self.producer.enqueue_all(records.into_iter().map(|(_, record)| record)).await {
                Ok(deliveries) => sent.deliveries = deliveries,
                // The next session finds out which record it is, and which ones before it were sent.
                Err(error) if refuses_record(&error) => {
                    self.barrier = Some(Barrier::SendEach { until: batch.next_offset() });
                    return self.producer.flush().await.map(|()| None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(sent))
    }

    /// Numbers the records of a batch, and shows those to `send` that their partitions do not hold.
    fn plan<'b>(
        &mut self,
        batch: &'b RecordBatch,
        mut send: impl FnMut(&BorrowedRecord<'b>, u32),
    ) -> SentBatch {
        let mut sent = self.sent_batch(batch);
        let router = self.router();
        for record in batch.borrowed() {
            let Some(partition) = router.of(batch, &record) else {
                let error = Error::new(ErrorKind::PartitionNotFound, "the topic has no such partition");
                sent.next = record.offset;
                if let Some(message) = message_at(batch, record.offset) {
                    self.reject(batch, message, error);
                }
                break;
            };
            let index = partition as usize;
            let (Some(numbers), Some(counted)) = (self.numbers.get_mut(index), sent.counts.get_mut(index))
            else {
                invariant!(false, "a route leads to a known partition, not to {partition}");
                break;
            };
            let distance = numbers.distance();
            if distance >= numbers.delivered.prefix() {
                if numbers.delivered.contains(distance) {
                    // The record is there behind others that are not: the session ends before it.
                    sent.next = record.offset;
                    self.barrier = Some(Barrier::Restart);
                    break;
                }
                send(&record, partition);
            }
            numbers.next = advance(numbers.next, 1);
            *counted += 1;
            sent.records += 1;
        }
        sent
    }

    /// Returns an entry for a batch of which no record is sent so far.
    fn sent_batch(&self, batch: &RecordBatch) -> SentBatch {
        SentBatch {
            next: batch.next_offset(),
            records: 0,
            memory: batch.memory(),
            counts: vec![0; self.numbers.len()],
            deliveries: Deliveries::default(),
        }
    }

    fn reject(&mut self, batch: &RecordBatch, message: Message, error: Error) {
        let hint = RouteHint::new(batch, message.headers.borrowed());
        self.barrier = Some(Barrier::Reject(Box::new(RejectedRecord { message, hint, error })));
    }

    /// Counts only the records before an offset as sent.
    fn end_before(&self, sent: &mut SentBatch, batch: &RecordBatch, offset: i64) {
        (sent.next, sent.records) = (offset, 0);
        sent.counts.fill(0);
        let router = self.router();
        for record in batch.borrowed().take_while(|record| record.offset < offset) {
            let partition = router.of(batch, &record);
            if let Some(count) = partition.and_then(|one| sent.counts.get_mut(one as usize)) {
                *count += 1;
                sent.records += 1;
            }
        }
    }

    /// Moves the checkpoint behind the oldest batch, whose records are acknowledged. `ends`: partitions, and the offsets
    /// after the records there.
    async fn acknowledged(&mut self, ends: &[(u32, Option<i64>)]) -> Result<()> {
        let Some(sent) = self.sent.pop_front() else {
            invariant!(false, "an acknowledgement belongs to a batch");
            return Ok(());
        };
        self.in_flight -= sent.memory;
        self.since_checkpoint += sent.memory;
        for (partition, records) in self.at.partitions.iter_mut().zip(&sent.counts) {
            partition.sequence = advance(partition.sequence, *records);
        }
        for (partition, end) in ends {
            let index = *partition as usize;
            let (Some(at), Some(numbers)) = (self.at.partitions.get_mut(index), self.numbers.get(index))
            else {
                invariant!(false, "an acknowledgement names a known partition, not {partition}");
                continue;
            };
            // Records behind those that were there already must be found again, so the offset stays before them.
            let passed = at.sequence.wrapping_sub(numbers.first) % MODULUS;
            if end.is_some() && passed >= numbers.delivered.end() {
                at.settled = at.settled.max(*end);
            }
        }
        self.shared.delivered.fetch_add(sent.records, Ordering::Relaxed);
        *self.shared.last_error.lock() = None;
        self.at.position = sent.next;
        let is_idle = self.sent.is_empty() && self.at.position >= self.shared.spool.end();
        {
            let mut checkpoint = self.shared.checkpoint.lock().await;
            // Records dropped meanwhile have moved the checkpoint further.
            if self.at.position > checkpoint.current.position {
                checkpoint.current.position = self.at.position;
                checkpoint.current.partitions.clone_from(&self.at.partitions);
                self.shared.publish(&checkpoint.current);
            }
        }
        let max_bytes = self.shared.settings.max_bytes;
        let is_tight =
            self.shared.spool.used_bytes() > max_bytes / 2 && self.since_checkpoint as u64 > max_bytes / 16;
        if is_tight || !self.reads_tails {
            self.store_checkpoint().await;
        } else if self.checkpoint_at.is_none() {
            // After a crash an idle outbox with a fresh checkpoint has nothing to look for: worth an early write.
            let wait = if is_idle { CHECKPOINT_INTERVAL / 10 } else { CHECKPOINT_INTERVAL };
            self.checkpoint_at = Some(Instant::now() + wait);
        }
        Ok(())
    }

    /// Writes the checkpoint to disk, and deletes the records before it. A failure is logged only, because the older
    /// checkpoint is as good.
    async fn store_checkpoint(&mut self) {
        self.checkpoint_at = None;
        self.since_checkpoint = 0;
        let mut checkpoint = self.shared.checkpoint.lock().await;
        let stored = match self.shared.store(&mut checkpoint).await {
            Ok(()) => self.shared.trim(&checkpoint).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            let at = self.shared.spool.location();
            tracing::warn!(topic = %self.shared.topic(), %at, %error, "the checkpoint of the outbox was not stored");
        }
    }

    /// Ends the session at a barrier: everything sent is acknowledged.
    async fn pass(self, barrier: Barrier) -> Result<SessionEnd> {
        match barrier {
            Barrier::Restart => Ok(SessionEnd::Restart),
            Barrier::SendEach { until } => Ok(SessionEnd::SendEach { until }),
            Barrier::Reject(rejected) => {
                let RejectedRecord { message, hint, error } = *rejected;
                let mut checkpoint = self.shared.checkpoint.lock().await;
                tracing::error!(topic = %self.shared.topic(), %error, "the outbox rejects a record that can never be delivered");
                self.shared.spool.reject(&message, &error).await?;
                // The record may have been dropped meanwhile.
                if checkpoint.current.position == message.offset {
                    let contents = (message.key.as_deref(), &message.value[..]);
                    self.shared.skip_record(&mut checkpoint.current, hint, contents);
                    checkpoint.current.position = message.offset + 1;
                }
                checkpoint.current.rejected += 1;
                self.shared.store(&mut checkpoint).await?;
                // The suspect records after it are still to be sent one by one.
                Ok(SessionEnd::SendEach { until: self.each_until })
            }
        }
    }
}

/// Returns a record of the spool as a message.
fn message_of(batch: &RecordBatch, record: RecordView) -> Message {
    Message::of_record(batch.topic.clone(), batch.partition, record)
}

fn message_at(batch: &RecordBatch, offset: i64) -> Option<Message> {
    batch.records().find(|record| record.offset == offset).map(|record| message_of(batch, record))
}
