//! An engine for unit tests: batches in memory, and faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use floe_core::producer_id;
use floe_wire::batch::EncodedBatch;
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::{
    AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
    ReadRequest, Start, Watermarks,
};
use crate::{
    Error, ErrorKind, Result,
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec},
};

/// Outcome of an append.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Fails without effect.
    Refuse(Error),
    /// Takes effect, and fails nevertheless.
    LoseAnswer(Error),
    /// Waits for [`FakeEngine::release`] and then succeeds.
    Hold,
    /// Waits for [`FakeEngine::release`], then has another fault.
    HoldThen(Box<Self>),
    /// Succeeds.
    Pass,
}

#[derive(Debug, Default)]
struct Log {
    start: i64,
    end: i64,
    batches: Vec<EncodedBatch>,
}

impl Log {
    /// Returns where the records of a task are stored already, and refuses those of a replaced owner, as `floe-log` does.
    fn fence(&self, batch: &EncodedBatch) -> Result<Option<i64>> {
        let producer = batch.header().producer;
        let own = || self.batches.iter().filter(|known| known.header().producer.id == producer.id);
        let Some(last) = own().last().filter(|_| producer_id::is_task(producer.id)) else { return Ok(None) };
        let header = last.header();
        if producer_id::is_older(producer.epoch, header.producer.epoch) {
            return Err(Error::new(ErrorKind::Fenced, "a newer epoch is stored"));
        }
        let next = producer_id::sequence_after(header.producer.first_sequence, header.offset_span());
        let known = producer_id::sequences_between(producer.first_sequence, next);
        if known <= 0 {
            return Ok(None);
        }
        let first = own().find_map(|known| {
            let from = known.header().producer.first_sequence;
            let delta = producer_id::sequences_between(from, producer.first_sequence);
            let is_in = (0..i64::from(known.header().offset_span())).contains(&delta);
            is_in.then(|| known.base_offset() + delta)
        });
        match first.filter(|_| known >= i64::from(batch.header().offset_span())) {
            Some(stored) => Ok(Some(stored)),
            None => Err(Error::new(ErrorKind::ConditionFailed, "stored in part")),
        }
    }
}

/// The server of a partition.
type Endpoints = fn(Option<&TopicPartition>) -> Option<&'static str>;

#[derive(Debug, Default)]
struct FakeState {
    endpoints: Option<Endpoints>,
    topics: BTreeMap<Topic, Vec<Log>>,
    committed: BTreeMap<(Arc<str>, TopicPartition), i64>,
    append_faults: VecDeque<Fault>,
    read_faults: VecDeque<Error>,
    commit_faults: VecDeque<Error>,
    open_faults: VecDeque<Error>,
    partition_faults: BTreeMap<u32, VecDeque<Error>>,
    closed_reads: usize,
    opened_at: Vec<tokio::time::Instant>,
    appends: usize,
    commits: usize,
    /// Appends to this topic land late.
    delayed: Option<Topic>,
    late: Vec<AppendRequest>,
    /// High watermarks that stay behind the ends of their logs.
    held_marks: BTreeMap<TopicPartition, i64>,
}

/// An engine with faults on demand; see the module.
#[derive(Debug, Clone)]
pub(crate) struct FakeEngine {
    state: Arc<Mutex<FakeState>>,
    changed: Arc<Notify>,
    released: Arc<tokio::sync::Semaphore>,
    capabilities: Capabilities,
}

impl FakeEngine {
    /// Creates an engine with one topic.
    pub(crate) fn with_topic(name: &str, partitions: u32) -> Self {
        let engine = Self {
            state: Arc::default(),
            changed: Arc::default(),
            released: Arc::new(tokio::sync::Semaphore::new(0)),
            capabilities: Capabilities::FULL.with(|it| {
                it.append_window = 4;
                it.smartmodules = false;
            }),
        };
        engine
            .state
            .lock()
            .topics
            .insert(Topic::from(name), (0..partitions).map(|_| Log::default()).collect());
        engine
    }

    /// Sets the number of partitions of a topic.
    pub(crate) fn grow(&self, name: &str, partitions: usize) {
        let mut state = self.state.lock();
        state.topics.get_mut(&Topic::from(name)).unwrap().resize_with(partitions, Log::default);
    }

    pub(crate) fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the servers of partitions.
    pub(crate) fn set_endpoints(&self, endpoints: Endpoints) {
        self.state.lock().endpoints = Some(endpoints);
    }

    /// Sets the faults of the next appends, one each, in order.
    pub(crate) fn fail_appends(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().append_faults.extend(faults);
    }

    /// Clears the faults of appends.
    pub(crate) fn forget_append_faults(&self) {
        self.state.lock().append_faults.clear();
    }

    /// Sets the errors of the next reads that would return a batch, one each, in order.
    pub(crate) fn fail_reads(&self, errors: impl IntoIterator<Item = Error>) {
        self.state.lock().read_faults.extend(errors);
        self.changed.notify_waiters();
    }

    /// Sets the errors of the next reads of one partition, one each, in order.
    pub(crate) fn fail_reads_of(&self, partition: u32, errors: impl IntoIterator<Item = Error>) {
        self.state.lock().partition_faults.entry(partition).or_default().extend(errors);
        self.changed.notify_waiters();
    }

    /// Makes the next reads find that the engine has closed the reader.
    pub(crate) fn close_reads(&self, count: usize) {
        self.state.lock().closed_reads += count;
        self.changed.notify_waiters();
    }

    /// Sets the errors of the next readers to be opened, one each, in order.
    pub(crate) fn fail_opens(&self, errors: impl IntoIterator<Item = Error>) {
        self.state.lock().open_faults.extend(errors);
    }

    /// Returns the times at which readers were opened, or failed to open.
    pub(crate) fn opened_at(&self) -> Vec<tokio::time::Instant> {
        self.state.lock().opened_at.clone()
    }

    /// Replaces a batch, as a failing disk does.
    pub(crate) fn replace_batch(
        &self,
        topic: &str,
        partition: u32,
        index: usize,
        change: impl FnOnce(EncodedBatch) -> EncodedBatch,
    ) {
        let mut state = self.state.lock();
        let batches = &mut state.topics.get_mut(&Topic::from(topic)).unwrap()[partition as usize].batches;
        batches[index] = change(batches[index].clone());
    }

    /// Truncates the log at `offset`, as a new leader that lacks the records does.
    pub(crate) fn truncate(&self, topic: &str, partition: u32, offset: i64) {
        let mut state = self.state.lock();
        let log = &mut state.topics.get_mut(&Topic::from(topic)).unwrap()[partition as usize];
        log.batches.retain(|batch| batch.next_offset() <= offset);
        log.end = offset;
    }

    /// Sets the errors of the next commits, one each, in order.
    pub(crate) fn fail_commits(&self, errors: impl IntoIterator<Item = Error>) {
        self.state.lock().commit_faults.extend(errors);
    }

    /// Releases `count` held appends.
    pub(crate) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }

    /// Lets appends to a topic hang until [`FakeEngine::land`] stores them, whatever becomes of their callers.
    pub(crate) fn delay_appends(&self, topic: Option<&str>) {
        self.state.lock().delayed = topic.map(Topic::from);
    }

    /// Stores the delayed appends, in order. Returns their number.
    pub(crate) fn land(&self) -> usize {
        let late = std::mem::take(&mut self.state.lock().late);
        let count = late.len();
        // Some may be refused.
        late.into_iter().for_each(|request| drop(self.store(request)));
        count
    }

    /// Returns whether there is a topic.
    pub(crate) fn has_topic(&self, name: &str) -> bool {
        self.state.lock().topics.contains_key(&Topic::from(name))
    }

    /// Holds the high watermark of a partition at an offset, or lets it follow the end of the log.
    pub(crate) fn hold_mark(&self, at: &TopicPartition, high: Option<i64>) {
        let mut state = self.state.lock();
        match high {
            Some(high) => _ = state.held_marks.insert(at.clone(), high),
            None => _ = state.held_marks.remove(at),
        }
    }

    /// Returns the number of append calls.
    pub(crate) fn appends(&self) -> usize {
        self.state.lock().appends
    }

    /// Returns the number of commit calls.
    pub(crate) fn commits(&self) -> usize {
        self.state.lock().commits
    }

    /// Returns the batches of a partition.
    pub(crate) fn batches(&self, topic: &str, partition: u32) -> Vec<EncodedBatch> {
        let state = self.state.lock();
        state.topics[&Topic::from(topic)][partition as usize].batches.clone()
    }

    /// Drops batches below `offset`, as retention does.
    pub(crate) fn evict(&self, topic: &str, partition: u32, offset: i64) {
        let mut state = self.state.lock();
        let log = &mut state.topics.get_mut(&Topic::from(topic)).unwrap()[partition as usize];
        log.batches.retain(|batch| batch.next_offset() > offset);
        log.start = log.start.max(offset);
    }

    /// Removes one batch from the middle, as a faulty server does.
    pub(crate) fn lose_batch(&self, topic: &str, partition: u32, index: usize) {
        let mut state = self.state.lock();
        state.topics.get_mut(&Topic::from(topic)).unwrap()[partition as usize].batches.remove(index);
    }

    fn with_log<T>(&self, at: &TopicPartition, act: impl FnOnce(&mut Log) -> T) -> Result<T> {
        let mut state = self.state.lock();
        let logs = state
            .topics
            .get_mut(&at.topic)
            .ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))?;
        let log = logs
            .get_mut(at.partition as usize)
            .ok_or_else(|| Error::new(ErrorKind::PartitionNotFound, "no such partition"))?;
        Ok(act(log))
    }

    fn store(&self, request: AppendRequest) -> Result<AppendAck> {
        let fences = self.capabilities.conditional_appends;
        let base = self.with_log(&request.target, |log| {
            if fences && let Some(stored) = log.fence(&request.batch)? {
                return Ok(stored);
            }
            let base = log.end;
            let batch = request.batch.with_base_offset(base);
            log.end = batch.next_offset();
            log.batches.push(batch);
            Ok::<_, Error>(base)
        })??;
        self.changed.notify_waiters();
        Ok(AppendAck::new(Some(base)))
    }
}

#[derive(Debug)]
struct FakeReader {
    engine: FakeEngine,
    at: TopicPartition,
    next: i64,
}

impl FakeReader {
    fn take(&mut self) -> Result<Option<EncodedBatch>> {
        {
            let mut state = self.engine.state.lock();
            if let Some(error) = state.read_faults.pop_front() {
                return Err(error);
            }
            let own = state.partition_faults.get_mut(&self.at.partition);
            if let Some(error) = own.and_then(VecDeque::pop_front) {
                return Err(error);
            }
            if state.closed_reads > 0 {
                state.closed_reads -= 1;
                return Err(Error::new(ErrorKind::TopicNotFound, "closed"));
            }
        }
        let (start, batch) = self.engine.with_log(&self.at, |log| {
            (log.start, log.batches.iter().find(|batch| batch.next_offset() > self.next).cloned())
        })?;
        if self.next < start {
            return Err(out_of_range(self.next));
        }
        if let Some(batch) = &batch {
            self.next = batch.next_offset();
        }
        Ok(batch)
    }
}

impl BatchReader for FakeReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            loop {
                let changed = Arc::clone(&self.engine.changed);
                let mut waiting = std::pin::pin!(changed.notified());
                waiting.as_mut().enable();
                match self.take() {
                    Ok(Some(batch)) => return Ok(Some(batch)),
                    Ok(None) => waiting.await,
                    Err(error) if error.kind() == ErrorKind::TopicNotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

fn out_of_range(offset: i64) -> Error {
    Error::new(ErrorKind::OffsetOutOfRange, format!("offset {offset} is not there"))
}

impl Engine for FakeEngine {
    fn info(&self) -> EngineInfo {
        EngineInfo::new("fake", self.capabilities)
    }

    fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        let endpoints = self.state.lock().endpoints?;
        endpoints(at).map(Arc::from)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(async move {
            let fault = {
                let mut state = self.state.lock();
                state.appends += 1;
                state.append_faults.pop_front().unwrap_or(Fault::Pass)
            };
            let epoch = request.epoch.clone();
            epoch.check()?;
            let is_delayed = {
                let mut state = self.state.lock();
                let is_delayed = state.delayed.as_ref() == Some(&request.target.topic);
                state.late.extend(is_delayed.then(|| request.clone()));
                is_delayed
            };
            if is_delayed {
                return std::future::pending().await;
            }
            // A held append was sent: the failure of another does not stop it any more.
            let fault = match fault {
                Fault::Hold => {
                    self.released.acquire().await.unwrap().forget();
                    Fault::Pass
                }
                Fault::HoldThen(fault) => {
                    self.released.acquire().await.unwrap().forget();
                    *fault
                }
                fault => fault,
            };
            let outcome = match fault {
                Fault::Refuse(error) => Err(error),
                Fault::LoseAnswer(error) => self.store(request).and(Err(error)),
                Fault::Pass | Fault::Hold | Fault::HoldThen(_) => self.store(request),
            };
            outcome.inspect_err(|error| epoch.fail(error))
        })
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(async move {
            {
                let mut state = self.state.lock();
                state.opened_at.push(tokio::time::Instant::now());
                if let Some(error) = state.open_faults.pop_front() {
                    return Err(error);
                }
            }
            let (start, end) = self.with_log(&request.source, |log| (log.start, log.end))?;
            let next = match request.from {
                Start::Earliest => start,
                Start::Latest => end,
                Start::Offset(offset) if offset < start || offset > end => return Err(out_of_range(offset)),
                Start::Offset(offset) => offset,
            };
            let reader: Box<dyn BatchReader> =
                Box::new(FakeReader { engine: self.clone(), at: request.source, next });
            Ok(reader)
        })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move {
            let held = self.state.lock().held_marks.get(&of).copied();
            self.with_log(&of, |log| Watermarks::new(log.start, held.unwrap_or(log.end), None))
        })
    }

    fn log_end(&self, of: TopicPartition) -> BoxFuture<'_, Result<i64>> {
        Box::pin(async move { self.with_log(&of, |log| log.end) })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move {
            self.with_log(&of, |log| {
                let batch = log.batches.iter().find(|batch| batch.header().max_timestamp >= timestamp);
                batch.map(EncodedBatch::base_offset)
            })
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut state = self.state.lock();
            state.commits += 1;
            if let Some(error) = state.commit_faults.pop_front() {
                return Err(error);
            }
            for (at, next) in positions {
                state.committed.insert((Arc::clone(&group), at), next);
            }
            Ok(())
        })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(async move { Ok(self.state.lock().committed.get(&(group, at)).copied()) })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move {
            let state = self.state.lock();
            let rows =
                state.committed.iter().filter(|((name, _), _)| group.as_ref().is_none_or(|g| g == name));
            Ok(rows
                .map(|((group, at), next)| CommittedOffset::new(Arc::clone(group), at.clone(), *next))
                .collect())
        })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.state.lock().committed.remove(&(group, at));
            Ok(())
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        Box::pin(async move {
            let state = self.state.lock();
            Ok(state.topics.iter().map(|(name, logs)| TopicInfo::new(name, logs.len() as u32)).collect())
        })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(async move {
            let state = self.state.lock();
            let logs = state
                .topics
                .get(&name)
                .ok_or_else(|| Error::new(ErrorKind::TopicNotFound, "no such topic"))?;
            Ok(TopicInfo::new(name, logs.len() as u32))
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let topics = &mut self.state.lock().topics;
            if topics.contains_key(&spec.name) {
                return Err(Error::new(ErrorKind::TopicAlreadyExists, "it exists"));
            }
            topics.insert(spec.name, (0..spec.partitions).map(|_| Log::default()).collect());
            Ok(())
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.grow(name.as_str(), total as usize);
            Ok(())
        })
    }

    fn trim(&self, at: TopicPartition, before: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.evict(at.topic.as_str(), at.partition, before);
            Ok(())
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.state.lock().topics.remove(&name);
            self.changed.notify_waiters();
            Ok(())
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            let topics = self.topics().await?;
            Ok(stream::iter(topics)
                .map(|info| Ok(TopicEvent::Updated(info)))
                .chain(stream::pending())
                .boxed())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(async move { Ok(Health::new(true, Vec::new())) })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { Ok(()) })
    }
}
