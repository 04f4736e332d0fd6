//! What the handles of an outbox and its deliveries share: room, progress, and the end.

use std::{
    convert::Infallible,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use floe_wire::batch::BatchBuilder;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    OutboxReport, OutboxStats, WhenOutboxFull,
    builder::{Connect, OwnClient},
    local::{self, Local},
    session::{self, Ended},
    state::{Places, State, advance},
};
use crate::{
    Error, ErrorKind, Producer, Record, Result, RetryPolicy, consumer::RecordBatch, producer::Partitioner,
    topic::Topic,
};

/// Bytes that records may take before the room is looked at again, as long as there is plenty.
const GRANT: u64 = 64 * 1024;

/// How long the batches of a session that ends may take to get their answer.
const GRACE: Duration = Duration::from_secs(2);

/// What was decided before the start.
pub(super) struct Settings {
    pub(super) topic: Topic,
    pub(super) when_full: WhenOutboxFull,
    pub(super) max_bytes: u64,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) connect: Connect,
    pub(super) own_client: OwnClient,
}

/// What the deliveries are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Go on.
    No,
    /// End when nothing waits, or at this time.
    By(Instant),
    /// End.
    Now,
}

/// How far it is; told to whoever waits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) position: i64,
    dropped: u64,
    rejected: u64,
    ended: bool,
}

/// The state, and how much of it is on disk.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state: State,
    /// Position of the state on disk.
    stored: i64,
}

/// See the module.
pub(super) struct Shared {
    pub(super) topic: Topic,
    pub(super) local: Local,
    pub(super) settings: Settings,
    pub(super) kept: tokio::sync::Mutex<Kept>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) stop: watch::Sender<Stop>,
    room: Notify,
    /// Bytes that may be accepted without a look at the room.
    granted: AtomicU64,
    /// No more records are accepted.
    closed: AtomicBool,
    pub(super) delivered: AtomicU64,
    pub(super) last_error: parking_lot::Mutex<Option<Error>>,
    /// The producer of the session that runs.
    pub(super) active: parking_lot::Mutex<Option<Producer>>,
    task: tokio::sync::Mutex<Option<JoinHandle<Result<()>>>>,
    report: tokio::sync::Mutex<Option<OutboxReport>>,
}

impl Shared {
    pub(super) async fn start(settings: Settings, local: Local, disk_full: Arc<Notify>) -> Result<Arc<Self>> {
        let topic = settings.topic.clone();
        let mut state = local.stored()?.unwrap_or_else(|| State::new(topic.as_str()));
        if state.topic != topic.as_str() {
            let problem = format!("this is the outbox of the topic {:?}", state.topic);
            return Err(Error::new(ErrorKind::InvalidConfig, problem).with_topic(&topic));
        }
        // Only a loss of power takes the end of the log away.
        state.position = state.position.min(local.end());
        if state.position < local.start() {
            tracing::error!(%topic, from = state.position, to = local.start(), "records of the outbox are missing");
            state.position = local.start();
            // Their numbers are not known, so those of the others are not.
            state.partitions.clear();
        }
        let progress = Progress {
            position: state.position,
            dropped: state.dropped,
            rejected: state.rejected,
            ended: false,
        };
        let stored = state.position;
        let shared = Arc::new(Self {
            topic,
            local,
            settings,
            kept: tokio::sync::Mutex::new(Kept { state, stored }),
            progress: watch::Sender::new(progress),
            stop: watch::Sender::new(Stop::No),
            room: Notify::new(),
            granted: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            last_error: parking_lot::Mutex::default(),
            active: parking_lot::Mutex::default(),
            task: tokio::sync::Mutex::default(),
            report: tokio::sync::Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&shared).run(disk_full));
        *shared.task.lock().await = Some(task);
        Ok(shared)
    }

    /// Takes from what was granted. Never for one that is closed, or more than it ever holds.
    pub(super) fn is_granted(&self, size: u64) -> bool {
        let take = |granted: u64| granted.checked_sub(size);
        !self.closed.load(Ordering::Relaxed)
            && self.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Waits for, or makes, room for a record, as was asked for.
    #[cold]
    pub(super) async fn make_room(&self, size: u64) -> Result<()> {
        if size > self.settings.max_bytes {
            let message =
                format!("a record of about {size} bytes; the outbox holds {}", self.settings.max_bytes);
            return Err(Error::new(ErrorKind::RecordTooLarge, message).with_topic(&self.topic));
        }
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Err(Error::closed("outbox").with_topic(&self.topic));
            }
            let fits = |used: u64| used.saturating_add(size) <= self.settings.max_bytes;
            let used = self.local.used();
            if fits(used) {
                if self.local.is_ahead(self.progress.borrow().position) {
                    // Lets the deliveries keep up: from memory they cost half as much as from disk.
                    tokio::task::yield_now().await;
                }
                // Only where what others do meanwhile does not matter.
                if used < self.settings.max_bytes / 2 {
                    self.granted.store(GRANT.min(self.settings.max_bytes / 8), Ordering::Relaxed);
                }
                return Ok(());
            }
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            // Room that was made in between woke nobody.
            let used = self.local.used();
            if fits(used) {
                return Ok(());
            }
            match self.settings.when_full {
                WhenOutboxFull::Fail => {
                    let most = self.settings.max_bytes;
                    let message = format!("the outbox is full: it has {used} of {most} bytes");
                    return Err(Error::new(ErrorKind::BufferFull, message).with_topic(&self.topic));
                }
                WhenOutboxFull::Wait => room.await,
                WhenOutboxFull::DropOldest => {
                    if !self.drop_oldest().await? {
                        // What fills it is not in the log yet.
                        self.local.flush().await?;
                    }
                }
            }
        }
    }

    /// Gives up about an eighth of the log. False if there was nothing to give up.
    async fn drop_oldest(&self) -> Result<bool> {
        let mut kept = self.kept.lock().await;
        let before = self.local.used();
        let goal = self.settings.max_bytes / 8;
        let mut reader = self.local.read(kept.state.position).await?;
        let (mut read, mut dropped) = (0, 0);
        loop {
            let batch = reader.next_batch().await?;
            if let Some(batch) = &batch {
                dropped += self.give_up(&mut kept.state, batch);
                read += batch.memory() as u64;
                if read < goal {
                    continue;
                }
            }
            if dropped == 0 {
                return Ok(false);
            }
            kept.state.dropped += dropped;
            tracing::warn!(topic = %self.topic, records = dropped, "the outbox is full: its oldest records are given up");
            dropped = 0;
            self.store(&mut kept).await?;
            self.trim(&kept).await?;
            if batch.is_none() || self.local.used() < before {
                return Ok(true);
            }
        }
    }

    /// Passes over the records of a batch.
    fn give_up(&self, state: &mut State, batch: &RecordBatch) -> u64 {
        for record in batch.borrowed() {
            let place = self.places(state).turn_of(batch, record.headers);
            self.count_as_sent(state, place, (record.key, record.value));
        }
        state.position = batch.next_offset();
        batch.len() as u64
    }

    /// A record that is passed over keeps its number. As [`Places::partition_of`].
    pub(super) fn count_as_sent(
        &self,
        state: &mut State,
        place: (i64, Option<u32>),
        contents: (Option<&[u8]>, &[u8]),
    ) {
        let partition = self.places(state).partition_of(place, contents);
        if let Some(place) = partition.and_then(|partition| state.partitions.get_mut(partition as usize)) {
            place.sequence = advance(place.sequence, 1);
        }
    }

    fn places(&self, state: &State) -> Places<'_> {
        let partitioner = &*self.settings.partitioner;
        Places { partitioner, count: state.partitions.len() as u32 }
    }

    /// Writes the state to disk, and tells how far it is.
    pub(super) async fn store(&self, kept: &mut Kept) -> Result<()> {
        self.tell(&kept.state);
        self.local.store(&kept.state).await?;
        kept.stored = kept.state.position;
        Ok(())
    }

    pub(super) fn tell(&self, state: &State) {
        self.progress.send_modify(|progress| {
            progress.position = state.position;
            progress.dropped = state.dropped;
            progress.rejected = state.rejected;
        });
    }

    /// Frees what is behind the state on disk: an older state must always find its records.
    pub(super) async fn trim(&self, kept: &Kept) -> Result<()> {
        self.local.trim(kept.stored).await?;
        self.room.notify_waiters();
        Ok(())
    }

    /// Delivers until it is stopped.
    async fn run(self: Arc<Self>, disk_full: Arc<Notify>) -> Result<()> {
        let mut failures = 0;
        let policy = RetryPolicy::default();
        let mut careful_until = 0;
        let mut stop = self.stop.subscribe();
        loop {
            let outcome = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                never = self.drop_when(&disk_full) => match never {},
                outcome = session::run(&self, careful_until) => outcome,
            };
            self.end_session().await;
            match outcome {
                Ok(Ended::Again) => failures = 0,
                Ok(Ended::Carefully(until)) => careful_until = until,
                Ok(Ended::Done) => break,
                Err(error) => {
                    if self.clears_failures(&error) {
                        failures = 0;
                    }
                    failures += 1;
                    tracing::warn!(topic = %self.topic, %error, "the outbox cannot deliver; it tries again");
                    let delay = policy.delay(failures, Some(&error));
                    *self.last_error.lock() = Some(error);
                    let until = Instant::now().checked_add(delay).unwrap_or_else(Instant::now);
                    tokio::select! {
                        biased;
                        () = stopped(&mut stop) => break,
                        never = self.drop_when(&disk_full) => match never {},
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
        self.end_session().await;
        self.finish().await
    }

    /// Whether something was delivered since the last failure.
    fn clears_failures(&self, _error: &Error) -> bool {
        self.last_error.lock().is_none()
    }

    /// Makes room each time the disk is found to be full. A session finds out by itself what was given up.
    fn drop_when<'a>(&'a self, disk_full: &'a Notify) -> BoxFuture<'a, Infallible> {
        Box::pin(async move {
            loop {
                disk_full.notified().await;
                if let Err(error) = self.drop_oldest().await {
                    tracing::error!(topic = %self.topic, %error, "no room could be made on the full disk");
                }
            }
        })
    }

    /// Stops the producer of a session that was cut off or failed: nothing of it may be sent after the next one has
    /// looked at what is there.
    async fn end_session(&self) {
        let active = self.active.lock().take();
        if let Some(producer) = active
            && let Err(error) = producer.close_within(GRACE).await
        {
            tracing::debug!(%error, "the producer of the outbox did not close");
        }
    }

    async fn finish(&self) -> Result<()> {
        // Whoever waits for room must not hold up the flush.
        self.closed.store(true, Ordering::Relaxed);
        self.stop.send_if_modified(|stop| std::mem::replace(stop, Stop::Now) == Stop::No);
        self.room.notify_waiters();
        let mut kept = self.kept.lock().await;
        let stored = self.store(&mut kept).await;
        if stored.is_ok()
            && let Err(error) = self.trim(&kept).await
        {
            tracing::warn!(%error, "the local log of the outbox was not shortened");
        }
        self.progress.send_modify(|progress| progress.ended = true);
        let flushed = self.local.flush().await;
        if let Some(client) = self.settings.own_client.lock().await.take()
            && let Err(error) = client.close().await
        {
            tracing::warn!(%error, "the client of the outbox did not close");
        }
        stored.and(flushed).and(self.local.close().await)
    }

    pub(super) fn stop_now(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.stop.send_replace(Stop::Now);
        self.room.notify_waiters();
    }

    pub(super) async fn flush(&self) -> Result<()> {
        self.local.flush().await
    }

    /// Waits until everything that is in the log now has its end.
    pub(super) async fn drained(&self) -> Result<()> {
        let goal = self.local.end();
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.position >= goal || progress.ended).await;
        match reached {
            Ok(progress) if progress.position >= goal => Ok(()),
            Ok(_) | Err(_) => Err(Error::closed("outbox").with_topic(&self.topic)),
        }
    }

    pub(super) async fn close(&self, deadline: Instant) -> Result<OutboxReport> {
        let mut report = self.report.lock().await;
        if let Some(report) = *report {
            return Ok(report);
        }
        self.closed.store(true, Ordering::Relaxed);
        self.stop.send_if_modified(|stop| {
            let begins = *stop == Stop::No;
            if begins {
                *stop = Stop::By(deadline);
            }
            begins
        });
        self.room.notify_waiters();
        let ended = match self.task.lock().await.take() {
            Some(task) => task.await.unwrap_or_else(|_| Err(Error::closed("runtime"))),
            None => Ok(()),
        };
        let stats = self.stats();
        let done = OutboxReport {
            delivered: stats.delivered,
            waiting: stats.waiting,
            dropped: stats.dropped,
            rejected: stats.rejected,
        };
        *report = Some(done);
        ended.map(|()| done)
    }

    pub(super) fn stats(&self) -> OutboxStats {
        let progress = *self.progress.borrow();
        OutboxStats {
            accepted: self.local.appended(),
            delivered: self.delivered.load(Ordering::Relaxed),
            waiting: u64::try_from(self.local.end() - progress.position).unwrap_or(0),
            bytes: self.local.used(),
            dropped: progress.dropped,
            rejected: progress.rejected,
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Bytes that a record may take in the log.
pub(super) fn size_of<V: AsRef<[u8]>>(record: &Record<V>) -> u64 {
    let (key, value) = (record.key.as_deref(), record.value.as_ref());
    if record.headers.is_empty() {
        return BatchBuilder::record_len(key, value, &[]) as u64;
    }
    let headers: Vec<_> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    BatchBuilder::record_len(key, value, &headers) as u64
}

/// Ready when the deliveries must end, whatever waits.
async fn stopped(stop: &mut watch::Receiver<Stop>) {
    loop {
        let now = *stop.borrow_and_update();
        match now {
            Stop::Now => return,
            Stop::By(deadline) => tokio::select! {
                () = sleep_until(deadline) => return,
                changed = stop.changed() => if changed.is_err() { return },
            },
            Stop::No => {
                if stop.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("topic", &self.topic)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}
