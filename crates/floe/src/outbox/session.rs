//! One contact with the cluster: finds out what is there already, and delivers the rest in order.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use floe_wire::batch::RecordView;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::{
    drain::{Shared, Stop},
    local,
    state::{Delivered, State, advance, partition_of},
};
use crate::{
    Error, ErrorKind, Message, Producer, Record, Result, RetryPolicy,
    consumer::RecordBatch,
    engine::SharedEngine,
    producer::{Deliveries, DeliveryMode, Identity, written},
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
    /// The producer refused a record: the next session tells which, one by one.
    Carefully,
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
enum Barrier {
    /// Go on with a new count: records are in the partition already, behind others that are not.
    Restart,
    /// The producer refused a record of a run.
    Careful,
    /// This record can never be sent.
    Reject(Box<Message>, Error),
}

struct Session<'a> {
    shared: &'a Shared,
    producer: Producer,
    /// Where the count stands at the last acknowledged record.
    at: State,
    /// Where it stood at the beginning.
    base: Vec<u32>,
    /// Where it stands at the last record read.
    read: Vec<u32>,
    delivered: Vec<Delivered>,
    sent: VecDeque<Chunk>,
    in_flight: usize,
    careful: bool,
    barrier: Option<Barrier>,
    /// When the state is to be stored.
    store_at: Option<Instant>,
    trimmed: usize,
    /// One request at a time is remembered where nothing can be looked up.
    can_look: bool,
}

/// Boxed, since the compiler cannot see through it that the task around it may move between threads.
pub(super) fn run(shared: &Shared, careful: bool) -> BoxFuture<'_, Result<Ended>> {
    Box::pin(open(shared, careful))
}

async fn open(shared: &Shared, careful: bool) -> Result<Ended> {
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
        careful,
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

impl Session<'_> {
    async fn run(mut self) -> Result<Ended> {
        let mut reader = self.shared.local.read(self.at.position, false).await?;
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
                    Some(chunk) => (&mut chunk.deliveries).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = acknowledged => {
                    let placed = outcome?;
                    self.acknowledged(&placed).await?;
                }
                batch = reader.next_batch(), if reads => match batch {
                    Ok(Some(batch)) => self.send(&batch).await?,
                    // Records were given up to make room; those that are left begin elsewhere.
                    Err(error) if error.kind() == ErrorKind::Gap => self.barrier = Some(Barrier::Restart),
                    Err(error) => return Err(error),
                    Ok(None) => return Err(crate::client::closed("local log")),
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

    /// Sends the records of a batch that are not there yet, as far as nothing is in the way.
    async fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let (mut chunk, to_send) = self.plan(batch);
        if self.careful {
            for (message, record) in to_send {
                match self.producer.enqueue(record).await {
                    Ok(delivery) => chunk.deliveries.push_one(&delivery),
                    Err(error) if refuses_the_record(&error) => {
                        self.barrier = Some(Barrier::Reject(Box::new(message), error));
                        self.cut(&mut chunk, batch);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        } else if !to_send.is_empty() {
            let records: Vec<_> = to_send.into_iter().map(|(_, record)| record).collect();
            match self.producer.enqueue_all(records).await {
                Ok(deliveries) => chunk.deliveries = deliveries,
                // Which one it was, and so what of this chunk was sent, the next session finds out.
                Err(error) if refuses_the_record(&error) => {
                    self.barrier = Some(Barrier::Careful);
                    return self.producer.flush().await;
                }
                Err(error) => return Err(error),
            }
        }
        self.in_flight += chunk.memory;
        self.sent.push_back(chunk);
        Ok(())
    }

    /// Finds the partitions of records, and which of them have to be sent.
    fn plan(&mut self, batch: &RecordBatch) -> (Chunk, Vec<(Message, Record)>) {
        let mut chunk = Chunk {
            next: batch.next_offset(),
            records: 0,
            memory: batch.memory(),
            counts: vec![0; self.at.partitions.len()],
            deliveries: Deliveries::default(),
        };
        let mut to_send = Vec::new();
        for record in batch.records() {
            let message = message_of(batch, record);
            let Some(partition) = self.partition_of(&message) else {
                let error = Error::new(ErrorKind::PartitionNotFound, "the topic has no such partition");
                chunk.next = message.offset;
                self.barrier = Some(Barrier::Reject(Box::new(message), error));
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
                    chunk.next = message.offset;
                    self.barrier = Some(Barrier::Restart);
                    break;
                }
                let record = local::restore(&message).partition(partition);
                to_send.push((message, record));
            }
            *read = advance(*read, 1);
            *counted += 1;
            chunk.records += 1;
        }
        (chunk, to_send)
    }

    fn partition_of(&self, message: &Message) -> Option<u32> {
        let count = self.at.partitions.len() as u32;
        let place = (message.offset, local::fixed_partition(message));
        let contents = (message.key.as_deref(), &message.value[..]);
        partition_of(&*self.shared.settings.partitioner, count, place, contents)
    }

    /// Ends a chunk before the record that is to be rejected.
    fn cut(&self, chunk: &mut Chunk, batch: &RecordBatch) {
        let Some(Barrier::Reject(rejected, _)) = &self.barrier else { return };
        (chunk.next, chunk.records) = (rejected.offset, 0);
        chunk.counts.fill(0);
        for record in batch.records().take_while(|record| record.offset < rejected.offset) {
            let partition = self.partition_of(&message_of(batch, record));
            if let Some(count) = partition.and_then(|one| chunk.counts.get_mut(one as usize)) {
                *count += 1;
                chunk.records += 1;
            }
        }
    }

    /// The oldest chunk is in the topic.
    async fn acknowledged(&mut self, placed: &[crate::producer::Placed]) -> Result<()> {
        let Some(chunk) = self.sent.pop_front() else { return Ok(()) };
        self.in_flight -= chunk.memory;
        self.trimmed += chunk.memory;
        for (place, records) in self.at.partitions.iter_mut().zip(&chunk.counts) {
            place.sequence = advance(place.sequence, *records);
        }
        for placed in placed {
            if let (Some(place), Some(offset)) =
                (self.at.partitions.get_mut(placed.partition as usize), placed.offset)
            {
                place.settled = place.settled.max(Some(offset.saturating_add(1)));
            }
        }
        self.at.position = chunk.next;
        self.shared.delivered.fetch_add(chunk.records, Ordering::Relaxed);
        *self.shared.last_error.lock() = None;
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
            Barrier::Careful => Ok(Ended::Carefully),
            Barrier::Reject(message, error) => {
                tracing::error!(topic = %self.shared.topic, %error, "a record can never be delivered; it is put aside");
                self.shared.local.reject(&message, &error).await?;
                // Unless it was given up meanwhile.
                if kept.state.position == message.offset {
                    self.shared.count_as_sent(&mut kept.state, &message);
                    kept.state.position = message.offset + 1;
                }
                kept.state.rejected += 1;
                self.shared.store(&mut kept).await?;
                Ok(Ended::Carefully)
            }
        }
    }
}

/// A record of the local log as a message.
pub(super) fn message_of(batch: &RecordBatch, record: RecordView) -> Message {
    Message::of_record(batch.topic.clone(), batch.partition, record)
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
