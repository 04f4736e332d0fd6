//! One contact with the cluster: finds out what is there already, and delivers the rest in order.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use floe_wire::batch::{BorrowedRecord, EncodedBatch, RecordView};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{
    drain::{Shared, Stop},
    local,
    state::{Delivered, MODULUS, Places, State, advance},
};
use crate::{
    Error, ErrorKind, Message, Producer, Result, RetryPolicy,
    consumer::RecordBatch,
    engine::SharedEngine,
    producer::{Deliveries, DeliveryMode, Identity, Relayed, written},
};

/// Bytes read from the local log and not acknowledged yet.
const MAX_IN_FLIGHT: usize = 8 << 20;

/// How old the state on disk may be while something is delivered: what was delivered since is looked for after a crash.
const STORE_EVERY: Duration = Duration::from_millis(500);

/// Longest look at the ends of the partitions.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// Longer than any outage: batches are given up by nobody but the program.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a session ended, other than by an error.
pub(super) enum Ended {
    /// Another one goes on.
    Again,
    /// The producer refused a record before this one: the next session tells which, one by one.
    Carefully(i64),
    /// Nothing waits, and nothing will come.
    Done,
}

/// Records on their way.
struct Chunk {
    /// Number of the record after it.
    next: i64,
    records: u64,
    memory: usize,
    /// How many records of each partition, those included that are there already.
    counts: Vec<u32>,
    deliveries: Deliveries,
}

/// Why nothing more is read from the log before everything sent is acknowledged.
pub(super) enum Barrier {
    /// Go on with a new count: records are in the partition already, behind others that are not.
    Restart,
    /// The producer refused a record of a run, which ends before this one.
    Careful(i64),
    /// This record can never be sent.
    Reject(Box<Rejected>),
}

pub(super) struct Rejected {
    message: Message,
    /// See [`Places::turn_of`].
    turn: (i64, Option<u32>),
    error: Error,
}

pub(super) struct Session<'a> {
    pub(super) shared: &'a Shared,
    producer: Producer,
    /// Where the count stands at the last acknowledged record.
    pub(super) at: State,
    /// Where it stood at the beginning.
    base: Vec<u32>,
    /// Where it stands at the last record read.
    read: Vec<u32>,
    delivered: Vec<Delivered>,
    sent: VecDeque<Chunk>,
    in_flight: usize,
    /// Records before this one are sent one by one: one of them may be refused.
    careful_until: i64,
    pub(super) barrier: Option<Barrier>,
    /// When the state is to be stored.
    pub(super) store_at: Option<Instant>,
    trimmed: usize,
    /// One request at a time is remembered where nothing can be looked up.
    can_look: bool,
}

/// Boxed, since the compiler cannot see through it that the task around it may move between threads.
pub(super) fn run(shared: &Shared, careful_until: i64) -> BoxFuture<'_, Result<Ended>> {
    Box::pin(open(shared, careful_until))
}

async fn open(shared: &Shared, careful_until: i64) -> Result<Ended> {
    let builder = (shared.settings.connect)().await?;
    let engine = Arc::clone(builder.client().engine());
    let at = begin(shared, &engine).await?;
    let capabilities = engine.info().capabilities;
    let can_look = capabilities.offsets && !capabilities.consuming_reads;
    let delivered = if can_look {
        tokio::time::timeout(LOOK_LIMIT, look(shared, &engine, &at)).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::RequestTimeout, "the ends of the partitions could not be read in time"))
        })?
    } else {
        vec![Delivered::default(); at.partitions.len()]
    };
    let identity = identity_of(&at, &delivered);
    let producer = builder
        .identity(identity)
        .timeout(FOREVER)
        .retries(RetryPolicy::default())
        .delivery(DeliveryMode::AtLeastOnce)
        .batch_queue(usize::MAX)
        .start()
        .await?;
    *shared.active.lock() = Some(producer.clone());
    let base: Vec<_> = at.partitions.iter().map(|place| place.sequence).collect();
    let session = Session {
        shared,
        producer,
        read: base.clone(),
        base,
        at,
        delivered,
        sent: VecDeque::new(),
        in_flight: 0,
        careful_until,
        barrier: None,
        store_at: None,
        trimmed: 0,
        can_look,
    };
    session.run().await
}

/// Under which name, and from where on, the records that are not there yet are sent.
fn identity_of(at: &State, delivered: &[Delivered]) -> Identity {
    let partitions = at.partitions.iter().zip(delivered).map(|(place, delivered)| {
        let next = advance(place.sequence, delivered.prefix());
        (i32::try_from(next).unwrap_or(0), place.settled)
    });
    Identity { producer_id: at.producer_id, partitions: partitions.collect() }
}

/// The state to begin with; on disk before the first record is sent under its name.
async fn begin(shared: &Shared, engine: &SharedEngine) -> Result<State> {
    let info = engine.topic(shared.topic.clone()).await.map_err(|error| error.with_topic(&shared.topic))?;
    let mut marks = Vec::new();
    for partition in 0..info.partitions {
        marks.push(match engine.info().capabilities.offsets {
            true => Some(engine.watermarks(shared.topic.partition(partition)).await?),
            false => None,
        });
    }
    let mut kept = shared.kept.lock().await;
    let known = kept.state.partitions.len();
    let is_idle = kept.state.position >= shared.local.end();
    if known == 0 || known > marks.len() {
        // The first contact, or the topic was made anew.
        kept.state.begin(&marks);
    } else if known < marks.len() && is_idle {
        kept.state.extend(&marks);
    } else {
        return Ok(kept.state.clone());
    }
    shared.store(&mut kept).await?;
    Ok(kept.state.clone())
}

/// What an earlier session sent without learning that it arrived.
async fn look(shared: &Shared, engine: &SharedEngine, at: &State) -> Result<Vec<Delivered>> {
    let mut delivered = Vec::new();
    for (partition, place) in at.partitions.iter().enumerate() {
        let source = shared.topic.partition(partition as u32);
        let batches = written(&**engine, &source, place.settled, at.producer_id).await?;
        delivered.push(Delivered::new(place.sequence, &batches));
    }
    Ok(delivered)
}

impl<'a> Session<'a> {
    fn places(&self) -> Places<'a> {
        let partitioner = &*self.shared.settings.partitioner;
        Places { partitioner, count: self.at.partitions.len() as u32 }
    }

    async fn run(mut self) -> Result<Ended> {
        let mut spooled = self.shared.local.follow(self.at.position).await?;
        let mut stop = self.shared.stop.subscribe();
        loop {
            if self.sent.is_empty() {
                if let Some(barrier) = self.barrier.take() {
                    return self.pass(barrier).await;
                }
                let ends = *stop.borrow_and_update() != Stop::No;
                if ends && self.at.position >= self.shared.local.end() {
                    return Ok(Ended::Done);
                }
            }
            let reads = self.barrier.is_none() && self.in_flight < MAX_IN_FLIGHT;
            let acknowledged = async {
                match self.sent.front_mut() {
                    Some(chunk) => chunk.deliveries.ends().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = acknowledged => {
                    self.acknowledged(&outcome?).await?;
                }
                batch = spooled.next(), if reads => match batch {
                    Ok((batch, of)) => self.send(&batch, of).await?,
                    // Records were given up to make room; those that are left begin elsewhere.
                    Err(error) if matches!(error.kind(), ErrorKind::Gap | ErrorKind::OffsetOutOfRange) => {
                        self.barrier = Some(Barrier::Restart);
                    }
                    Err(error) => return Err(error),
                },
                () = sleep_until(self.store_at.unwrap_or_else(Instant::now)), if self.store_at.is_some() => {
                    self.store().await;
                }
                changed = stop.changed() => if changed.is_err() {
                    return Ok(Ended::Done);
                },
            }
        }
    }

    /// Sends the records of a batch that are not there yet, as far as nothing is in the way. `of`: where they lie.
    async fn send(&mut self, batch: &RecordBatch, of: EncodedBatch) -> Result<()> {
        // Headers say where a record goes, and what it is a part of, so such records go one by one.
        let relays = !self.is_careful(batch) && !batch.has_headers() && self.producer.relays();
        let sent = if !relays {
            self.send_each(batch).await?
        } else if let Some(chunk) = self.send_whole(batch, of).await? {
            Some(chunk)
        } else {
            self.relay(batch).await?
        };
        if let Some(chunk) = sent {
            self.in_flight += chunk.memory;
            self.sent.push_back(chunk);
        }
        Ok(())
    }

    /// Whether a record of this batch may be refused.
    fn is_careful(&self, batch: &RecordBatch) -> bool {
        batch.first_offset() < self.careful_until
    }

    /// Sends a batch as it lies in the log, if it is worth that, goes to one partition, and nothing of it is there.
    async fn send_whole(&mut self, batch: &RecordBatch, of: EncodedBatch) -> Result<Option<Chunk>> {
        if !batch.is_whole() || !self.producer.relays_whole(batch.section_len()) {
            return Ok(None);
        }
        let Some(partition) = self.places().of_all(batch) else { return Ok(None) };
        let (index, count) = (partition as usize, batch.len() as u32);
        let mut chunk = self.chunk(batch);
        let (Some(base), Some(read), Some(delivered), Some(counted)) = (
            self.base.get(index),
            self.read.get_mut(index),
            self.delivered.get(index),
            chunk.counts.get_mut(index),
        ) else {
            return Ok(None);
        };
        let distance = read.wrapping_sub(*base) & (i32::MAX as u32);
        if distance < delivered.end() {
            return Ok(None);
        }
        (*read, *counted, chunk.records) = (advance(*read, count), count, u64::from(count));
        chunk.deliveries = self.producer.relay_whole(partition, of).await?;
        Ok(Some(chunk))
    }

    /// Sends records as they lie in their batch, gathered by partition.
    async fn relay(&mut self, batch: &RecordBatch) -> Result<Option<Chunk>> {
        let mut groups: Vec<Vec<Relayed<'_>>> = Vec::new();
        groups.resize_with(self.at.partitions.len(), Vec::new);
        let mut largest = 0;
        let mut chunk = self.plan(batch, |record, partition| {
            let record = Relayed::new(record);
            largest = largest.max(record.size());
            if let Some(group) = groups.get_mut(partition as usize) {
                group.push(record);
            }
        });
        if self.producer.is_too_large(largest) {
            // Which one, and what of this batch is sent before it, the next session finds out.
            self.barrier = Some(Barrier::Careful(batch.next_offset()));
            return Ok(None);
        }
        for (partition, group) in (0..).zip(&groups).filter(|(_, group)| !group.is_empty()) {
            self.producer.relay(partition, group, &mut chunk.deliveries).await?;
        }
        Ok(Some(chunk))
    }

    /// Sends records one by one.
    async fn send_each(&mut self, batch: &RecordBatch) -> Result<Option<Chunk>> {
        let mut wanted = VecDeque::new();
        let mut chunk = self.plan(batch, |record, partition| wanted.push_back((record.offset, partition)));
        let mut to_send = Vec::with_capacity(wanted.len());
        for record in batch.records() {
            match wanted.front() {
                Some((offset, partition)) if *offset == record.offset => {
                    let message = message_of(batch, record);
                    let record = local::restore(&message).partition(*partition);
                    to_send.push((message, record));
                    wanted.pop_front();
                }
                Some(_) => {}
                None => break,
            }
        }
        if self.is_careful(batch) {
            for (message, record) in to_send {
                match self.producer.enqueue(record).await {
                    Ok(delivery) => chunk.deliveries.push_one(&delivery),
                    Err(error) if refuses_the_record(&error) => {
                        self.reject(batch, message, error);
                        self.cut(&mut chunk, batch);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        } else if !to_send.is_empty() {
            match self.producer.enqueue_all(to_send.into_iter().map(|(_, record)| record)).await {
                Ok(deliveries) => chunk.deliveries = deliveries,
                // Which one it was, and so what of this chunk was sent, the next session finds out.
                Err(error) if refuses_the_record(&error) => {
                    self.barrier = Some(Barrier::Careful(batch.next_offset()));
                    return self.producer.flush().await.map(|()| None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(chunk))
    }

    /// Finds the partitions of records, and which of them have to be sent.
    fn plan<'b>(&mut self, batch: &'b RecordBatch, mut send: impl FnMut(&BorrowedRecord<'b>, u32)) -> Chunk {
        let mut chunk = self.chunk(batch);
        let places = self.places();
        for record in batch.borrowed() {
            let Some(partition) = places.of(batch, &record) else {
                let error = Error::new(ErrorKind::PartitionNotFound, "the topic has no such partition");
                chunk.next = record.offset;
                if let Some(message) = message_at(batch, record.offset) {
                    self.reject(batch, message, error);
                }
                break;
            };
            let index = partition as usize;
            let (Some(base), Some(read), Some(delivered), Some(counted)) = (
                self.base.get(index),
                self.read.get_mut(index),
                self.delivered.get(index),
                chunk.counts.get_mut(index),
            ) else {
                break;
            };
            let distance = read.wrapping_sub(*base) & (i32::MAX as u32);
            if distance >= delivered.prefix() {
                if delivered.contains(distance) {
                    chunk.next = record.offset;
                    self.barrier = Some(Barrier::Restart);
                    break;
                }
                send(&record, partition);
            }
            *read = advance(*read, 1);
            *counted += 1;
            chunk.records += 1;
        }
        chunk
    }

    /// A chunk for a batch, with no record in it so far.
    fn chunk(&self, batch: &RecordBatch) -> Chunk {
        Chunk {
            next: batch.next_offset(),
            records: 0,
            memory: batch.memory(),
            counts: vec![0; self.at.partitions.len()],
            deliveries: Deliveries::default(),
        }
    }

    fn reject(&mut self, batch: &RecordBatch, message: Message, error: Error) {
        let turn = self.places().turn_of(batch, message.headers.borrowed());
        self.barrier = Some(Barrier::Reject(Box::new(Rejected { message, turn, error })));
    }

    /// Ends a chunk before the record that is to be rejected.
    fn cut(&self, chunk: &mut Chunk, batch: &RecordBatch) {
        let Some(Barrier::Reject(rejected)) = &self.barrier else { return };
        let first = rejected.message.offset;
        (chunk.next, chunk.records) = (first, 0);
        chunk.counts.fill(0);
        let places = self.places();
        for record in batch.borrowed().take_while(|record| record.offset < first) {
            let partition = places.of(batch, &record);
            if let Some(count) = partition.and_then(|one| chunk.counts.get_mut(one as usize)) {
                *count += 1;
                chunk.records += 1;
            }
        }
    }

    /// The oldest chunk is in the topic.
    async fn acknowledged(&mut self, ends: &[(u32, Option<i64>)]) -> Result<()> {
        let Some(chunk) = self.sent.pop_front() else { return Ok(()) };
        self.in_flight -= chunk.memory;
        self.trimmed += chunk.memory;
        for (place, records) in self.at.partitions.iter_mut().zip(&chunk.counts) {
            place.sequence = advance(place.sequence, *records);
        }
        for (partition, end) in ends {
            let index = *partition as usize;
            let (Some(place), Some(end)) = (self.at.partitions.get_mut(index), end) else { continue };
            // As long as records are behind those that are there already, they must be found again.
            let passed = place.sequence.wrapping_sub(self.base.get(index).copied().unwrap_or(0)) % MODULUS;
            if self.delivered.get(index).is_none_or(|delivered| passed >= delivered.end()) {
                place.settled = place.settled.max(Some(*end));
            }
        }
        self.shared.delivered.fetch_add(chunk.records, Ordering::Relaxed);
        *self.shared.last_error.lock() = None;
        self.at.position = chunk.next;
        let is_idle = self.sent.is_empty() && self.at.position >= self.shared.local.end();
        {
            let mut kept = self.shared.kept.lock().await;
            // What was given up meanwhile is beyond.
            if self.at.position > kept.state.position {
                kept.state.position = self.at.position;
                kept.state.partitions.clone_from(&self.at.partitions);
                self.shared.tell(&kept.state);
            }
        }
        let max_bytes = self.shared.settings.max_bytes;
        let is_tight = self.shared.local.used() > max_bytes / 2 && self.trimmed as u64 > max_bytes / 16;
        if is_tight || !self.can_look {
            self.store().await;
        } else if self.store_at.is_none() {
            // An idle outbox has nothing to look for after a crash, so that is worth a write soon.
            let wait = if is_idle { STORE_EVERY / 10 } else { STORE_EVERY };
            self.store_at = Some(Instant::now() + wait);
        }
        Ok(())
    }

    /// Writes the state to disk, and frees what was delivered. If that fails, the older state is as good.
    async fn store(&mut self) {
        self.store_at = None;
        self.trimmed = 0;
        let mut kept = self.shared.kept.lock().await;
        let stored = match self.shared.store(&mut kept).await {
            Ok(()) => self.shared.trim(&kept).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            let place = self.shared.local.place();
            tracing::warn!(topic = %self.shared.topic, %place, %error, "the state of the outbox was not stored");
        }
    }

    /// Everything sent is acknowledged, and something is in the way.
    async fn pass(self, barrier: Barrier) -> Result<Ended> {
        let mut kept = self.shared.kept.lock().await;
        match barrier {
            Barrier::Restart => Ok(Ended::Again),
            Barrier::Careful(until) => Ok(Ended::Carefully(until)),
            Barrier::Reject(rejected) => {
                let Rejected { message, turn, error } = *rejected;
                tracing::error!(topic = %self.shared.topic, %error, "a record can never be delivered; it is put aside");
                self.shared.local.reject(&message, &error).await?;
                // Unless it was given up meanwhile.
                if kept.state.position == message.offset {
                    let contents = (message.key.as_deref(), &message.value[..]);
                    self.shared.count_as_sent(&mut kept.state, turn, contents);
                    kept.state.position = message.offset + 1;
                }
                kept.state.rejected += 1;
                self.shared.store(&mut kept).await?;
                // There may be more of them in what was to be looked at.
                Ok(Ended::Carefully(self.careful_until))
            }
        }
    }
}

/// A record of the local log as a message.
pub(super) fn message_of(batch: &RecordBatch, record: RecordView) -> Message {
    Message::of_record(batch.topic.clone(), batch.partition, record)
}

/// The record at an offset, as a message.
fn message_at(batch: &RecordBatch, offset: i64) -> Option<Message> {
    batch.records().find(|record| record.offset == offset).map(|record| message_of(batch, record))
}

/// Whether the producer refused a record for what it is, so that trying again is useless.
fn refuses_the_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::RecordTooLarge
            | ErrorKind::InvalidCommand
            | ErrorKind::PartitionNotFound
            | ErrorKind::SerializationError
            | ErrorKind::Unsupported
    )
}
