//! Reads one partition ahead of the application: pulls batches, checks them, queues them.
//!
//! Checksums and decompression happen here, off the application's task.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use floe_wire::batch::EncodedBatch;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    Gap, GapReason, RecordBatch,
    offset_check::{Found, Holes, OffsetCheck},
    prefetch_queue::{PrefetchQueue, Prefetched},
    reconnect::Backoff,
    start_position::out_of_range,
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, SmartModule, SmartModuleKind, SmartModules,
    engine::{BatchReader, Capabilities, Isolation, ReadRequest, SharedEngine, Start},
    telemetry::{FetchTelemetry, Telemetry},
    topic::TopicPartition,
};

/// How often in a row an engine may refuse an offset that by its own watermarks it has.
const MAX_CONTRADICTIONS: u32 = 5;

/// How long to wait for records that the engine said it has.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// How long memory for decompressed records is kept while none come.
const KEEPS_MEMORY: Duration = Duration::from_secs(1);

/// As [`STALL`], where modules work on the records and the reader tells when nothing more can come: modules may take
/// long for a large segment of which they pass nothing.
const MODULES_STALL: Duration = Duration::from_secs(600);

/// How to read, the same for all partitions of a consumer.
#[derive(Debug, Clone)]
pub(super) struct FetchSettings {
    pub(super) fetch_bytes: usize,
    pub(super) isolation: Isolation,
    pub(super) reconnect: RetryPolicy,
    pub(super) smartmodules: Option<SmartModules>,
    pub(super) telemetry: Telemetry,
}

impl FetchSettings {
    /// Which holes in the offsets are no loss.
    pub(super) fn holes(&self, capabilities: Capabilities) -> Holes {
        if self.smartmodules.is_some() { Holes::Made } else { Holes::without_modules(capabilities) }
    }
}

/// Where the records of one partition go.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) queue: Arc<PrefetchQueue>,
    pub(super) index: usize,
    pub(super) generation: u64,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads one partition.
#[derive(Debug)]
pub(super) struct Fetch {
    engine: SharedEngine,
    at: TopicPartition,
    settings: FetchSettings,
    /// Where to open on engines without offsets; `None` on the others, which open at the next offset.
    unnumbered: Option<Start>,
    check: OffsetCheck,
    reader: Option<Box<dyn BatchReader>>,
    backoff: Backoff,
    contradictions: u32,
    stalls: u32,
    /// With an aggregate: its last state that came.
    aggregated: Option<Bytes>,
    told: FetchTelemetry,
}

/// Why reading ended.
#[derive(Debug)]
enum Stop {
    /// Nobody wants more.
    Unwanted,
    /// The end that was set is reached.
    Complete,
    /// The topic is gone.
    Deleted(Error),
    /// An error that does not pass.
    Failed(Error),
}

impl Fetch {
    /// Reads an engine with offsets.
    pub(super) fn new(
        engine: SharedEngine,
        at: TopicPartition,
        settings: FetchSettings,
        check: OffsetCheck,
    ) -> Self {
        let backoff = Backoff::new(settings.reconnect.clone());
        let told = FetchTelemetry::new(&settings.telemetry, &at);
        Self {
            engine,
            at,
            settings,
            unnumbered: None,
            check,
            reader: None,
            backoff,
            contradictions: 0,
            stalls: 0,
            aggregated: None,
            told,
        }
    }

    /// Reads an engine without offsets. Opens at once, because without offsets the place is only fixed by that.
    pub(super) async fn open_unnumbered(
        engine: SharedEngine,
        at: TopicPartition,
        settings: FetchSettings,
        start: Start,
    ) -> Result<Self> {
        let mut fetch = Self::new(engine, at, settings, OffsetCheck::numbering());
        fetch.unnumbered = Some(start);
        fetch.open().await?;
        // Opened again, the records read before must not come again. A read that takes records away has its place in
        // the engine.
        if !fetch.engine.info().capabilities.consuming_reads {
            fetch.unnumbered = Some(Start::Latest);
        }
        Ok(fetch)
    }

    /// Reads until nothing more comes or is wanted.
    pub(super) async fn run(mut self, outlet: Outlet) {
        let stop = match self.read(&outlet).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        let Outlet { queue, index, generation } = outlet;
        self.told.flush();
        queue.tell();
        match stop {
            Stop::Unwanted => {}
            Stop::Complete => queue.end(index, generation, None),
            Stop::Deleted(error) => queue.end(index, generation, Some(error)),
            Stop::Failed(error) => {
                tracing::warn!(topic = %self.at.topic, partition = self.at.partition, %error, "partition ends");
                queue.push(index, generation, Prefetched::Error(error));
                queue.end(index, generation, None);
            }
        }
    }

    async fn read(&mut self, outlet: &Outlet) -> Result<std::convert::Infallible, Stop> {
        loop {
            if self.check.is_complete() {
                return Err(Stop::Complete);
            }
            if !outlet.queue.room(outlet.index, outlet.generation).await {
                return Err(Stop::Unwanted);
            }
            let next = match (&mut self.reader, self.check.end()) {
                (Some(reader), end) => {
                    let tells_its_end =
                        self.settings.smartmodules.is_some() && reader.looked_up_to().is_some();
                    let mut next = reader.next();
                    // What comes without waiting is handed over without waking the consumer each time.
                    let at_once = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
                    if at_once.is_pending() {
                        self.told.flush();
                    }
                    match (at_once, end) {
                        (Poll::Ready(next), _) => next,
                        (Poll::Pending, None) => {
                            outlet.queue.tell();
                            let decompressor = self.check.decompressor();
                            let soon = match decompressor.keeps_memory() {
                                true => timeout(KEEPS_MEMORY, &mut next).await.ok(),
                                false => None,
                            };
                            match soon {
                                Some(next) => next,
                                None => {
                                    decompressor.release();
                                    next.await
                                }
                            }
                        }
                        (Poll::Pending, Some(end)) => {
                            outlet.queue.tell();
                            let stall = if tells_its_end { MODULES_STALL } else { STALL };
                            match timeout(stall, next).await {
                                Ok(next) => next,
                                Err(_) => {
                                    self.after_stall(end, tells_its_end)?;
                                    continue;
                                }
                            }
                        }
                    }
                }
                (None, _) => {
                    outlet.queue.tell();
                    match self.open().await {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
            };
            match next {
                Ok(Some(batch)) => {
                    self.backoff.worked();
                    self.contradictions = 0;
                    self.stalls = 0;
                    self.take(batch, outlet).await?;
                }
                Ok(None) => {
                    outlet.queue.tell();
                    let looked_up_to = self.reader.take().and_then(|reader| reader.looked_up_to());
                    if looked_up_to.zip(self.check.end()).is_some_and(|(looked, end)| looked >= end) {
                        return Err(Stop::Complete);
                    }
                    self.after_close().await?;
                }
                Err(error) => {
                    outlet.queue.tell();
                    if self.reader.take().is_some() {
                        self.backoff.broke();
                    }
                    self.recover(error, outlet).await?;
                }
            }
            // An engine that always has a batch at hand must not keep the thread from others, such as the consumer,
            // which has to be awake for that.
            if !tokio::task::coop::has_budget_remaining() {
                outlet.queue.tell();
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn open(&mut self) -> Result<()> {
        let from = self.unnumbered.unwrap_or(Start::Offset(self.check.expected()));
        let FetchSettings { fetch_bytes, isolation, .. } = self.settings;
        let mut request = ReadRequest::new(self.at.clone(), from).max_bytes(fetch_bytes).isolation(isolation);
        request.smartmodules = self.smartmodules();
        request.until = self.check.end();
        self.reader = Some(self.engine.open(request).await?);
        self.backoff.opened();
        Ok(())
    }

    /// The modules to open with. An aggregate goes on from what it came to, which is the value of its last record.
    fn smartmodules(&self) -> Option<SmartModules> {
        let modules = self.settings.smartmodules.as_ref()?;
        let (Some(value), Some((last, before))) = (&self.aggregated, modules.split_last()) else {
            return Some(Arc::clone(modules));
        };
        let last = last.clone().aggregate(value.clone());
        Some(before.iter().cloned().chain([last]).collect())
    }

    /// Whether what comes are the states of an aggregate.
    fn aggregates(&self) -> bool {
        let last = self.settings.smartmodules.as_deref().and_then(<[SmartModule]>::last);
        last.is_some_and(|last| matches!(last.module_kind(), SmartModuleKind::Aggregate { .. }))
    }

    async fn take(&mut self, batch: EncodedBatch, outlet: &Outlet) -> Result<(), Stop> {
        self.told.fetched(&batch);
        let found = self.check.accept(batch);
        let repeats = self.check.take_repeats();
        if repeats > 0 {
            self.told.dropped_repeats(repeats);
        }
        for found in found {
            match found {
                Found::Records(part) => {
                    if self.aggregates() {
                        let last = part.records.clone().take(part.count).last();
                        self.aggregated = last.and_then(Result::ok).map(|record| record.value);
                    }
                    let batch = RecordBatch::new(self.at.topic.clone(), self.at.partition, part);
                    deliver(outlet, Prefetched::Records(batch))?;
                }
                Found::Gap(from, to, reason) => {
                    outlet.queue.tell();
                    let (to, reason) = self.judge(from, to, reason).await;
                    self.deliver_gap(outlet, from, to, reason)?;
                }
            }
        }
        Ok(())
    }

    /// Checks a gap against what the engine says it has; believes the gap where the engine says nothing.
    pub(super) async fn judge(&mut self, from: i64, to: i64, reason: GapReason) -> (i64, GapReason) {
        if self.unnumbered.is_some() || reason == GapReason::Evicted {
            return (to, reason);
        }
        let Ok(bounds) = self.engine.watermarks(self.at.clone()).await else { return (to, reason) };
        match reason {
            GapReason::Missing if to <= bounds.start => (to, GapReason::Evicted),
            // The header of a damaged batch may name any offset as its end.
            GapReason::Corrupt if to > bounds.high => {
                let to = bounds.high.max(from + 1);
                self.check.return_to(to);
                (to, reason)
            }
            GapReason::Missing | GapReason::Corrupt | GapReason::Evicted => (to, reason),
        }
    }

    fn deliver_gap(&self, outlet: &Outlet, from: i64, to: i64, reason: GapReason) -> Result<(), Stop> {
        deliver(outlet, Prefetched::Gap(Gap { at: self.at.clone(), from, to, reason }))
    }

    /// Nothing came, although the end was not reached: perhaps the reader is stuck, so another one gets a chance.
    fn after_stall(&mut self, end: i64, tells_its_end: bool) -> Result<(), Stop> {
        self.reader = None;
        if self.settings.smartmodules.is_some() && !tells_its_end {
            // Perhaps modules dropped everything up to the end.
            return Err(Stop::Complete);
        }
        self.stalls += 1;
        if self.stalls == 1 {
            Ok(())
        } else {
            Err(Stop::Failed(stalled(&self.at, self.check.expected(), end)))
        }
    }

    /// The engine closed the reader: because the topic is gone, or for reasons of its own.
    async fn after_close(&mut self) -> Result<(), Stop> {
        match self.engine.topic(self.at.topic.clone()).await {
            Err(error) if error.kind() == ErrorKind::TopicNotFound => Err(Stop::Deleted(self.deleted())),
            Err(error) if !self.backoff.may_pass(&error) => Err(Stop::Failed(error)),
            Err(error) => self.wait(error).await,
            Ok(_) => self.wait(Error::new(ErrorKind::NetworkError, "the engine closed the reader")).await,
        }
    }

    async fn recover(&mut self, error: Error, outlet: &Outlet) -> Result<(), Stop> {
        match error.kind() {
            // It was there when the consumer started.
            ErrorKind::TopicNotFound => Err(Stop::Deleted(self.deleted())),
            ErrorKind::OffsetOutOfRange if self.unnumbered.is_none() => self.find_place(error, outlet).await,
            _ if self.backoff.may_pass(&error) => self.wait(error).await,
            _ => Err(Stop::Failed(error)),
        }
    }

    /// The engine does not have the next offset.
    async fn find_place(&mut self, refusal: Error, outlet: &Outlet) -> Result<(), Stop> {
        let bounds = match self.engine.watermarks(self.at.clone()).await {
            Ok(bounds) => bounds,
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                return Err(Stop::Deleted(self.deleted()));
            }
            Err(error) if self.backoff.may_pass(&error) => return self.wait(error).await,
            Err(error) => return Err(Stop::Failed(error)),
        };
        let next = self.check.expected();
        if next < bounds.start {
            if let Some(Found::Gap(from, to, reason)) = self.check.skip_to(bounds.start, GapReason::Evicted) {
                self.deliver_gap(outlet, from, to, reason)?;
            }
            return Ok(());
        }
        if next > bounds.high {
            // Cut back, or another topic of the same name: what to do is for the application to say, by a seek.
            let error = out_of_range(&self.at, "the next offset", next, bounds);
            return Err(Stop::Failed(error.with_source(refusal)));
        }
        self.contradictions += 1;
        if self.contradictions > MAX_CONTRADICTIONS {
            return Err(Stop::Failed(refusal));
        }
        self.wait(refusal).await
    }

    /// Waits before the reader is opened again.
    async fn wait(&mut self, error: Error) -> Result<(), Stop> {
        let Some(delay) = self.backoff.next_delay(&error) else {
            return Err(Stop::Failed(error.with_attempts(self.backoff.attempts())));
        };
        self.settings.telemetry.retried("receive", Some(&self.at.topic), &error);
        tracing::warn!(
            topic = %self.at.topic,
            partition = self.at.partition,
            next_offset = self.check.expected(),
            attempt = self.backoff.attempts(),
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            %error,
            "reader broke; it is opened again"
        );
        tokio::time::sleep(delay).await;
        Ok(())
    }

    fn deleted(&self) -> Error {
        Error::new(ErrorKind::TopicNotFound, "the topic was deleted")
            .with_engine(self.engine.info().name)
            .with_operation("read")
            .with_topic(&self.at.topic)
    }
}

/// The engine has records by its own word and does not give them.
pub(super) fn stalled(at: &TopicPartition, next: i64, end: i64) -> Error {
    Error::new(
        ErrorKind::RequestTimeout,
        format!("nothing came from offset {next} on, although the partition reaches to {end}"),
    )
    .with_topic(&at.topic)
    .with_partition(at.partition)
}

fn deliver(outlet: &Outlet, item: Prefetched) -> Result<(), Stop> {
    if outlet.queue.push(outlet.index, outlet.generation, item) { Ok(()) } else { Err(Stop::Unwanted) }
}
