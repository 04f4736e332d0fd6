//! The fetch task of one partition: reads batches ahead of the application, checks them, and queues them.
//!
//! Checksums and decompression happen here, off the application's task.

use std::{convert::Infallible, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use floe_wire::batch::EncodedBatch;
use tokio::time::timeout;

use super::{
    checked_batch::{Found, ReceivedBatch},
    gap::{Gap, GapReason},
    offset_check::{Holes, OffsetCheck},
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

/// Consecutive refusals of an offset that the engine holds by its own watermarks.
const MAX_CONTRADICTIONS: u32 = 5;

/// Longest wait for records that the engine holds by its own watermarks.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// How long unused memory of the decompressor is kept.
const KEEPS_MEMORY: Duration = Duration::from_secs(1);

/// As [`STALL`], with modules and a reader that reports its progress: modules may take long for a large segment without
/// output.
const MODULES_STALL: Duration = Duration::from_secs(600);

/// Settings of the fetch tasks of a consumer.
#[derive(Debug, Clone)]
pub(super) struct FetchSettings {
    pub(super) fetch_bytes: usize,
    pub(super) isolation: Isolation,
    pub(super) reconnect: RetryPolicy,
    pub(super) smartmodules: Option<SmartModules>,
    /// Whether batches are handed out with the bytes that the engine stores.
    pub(super) keeps_stored: bool,
    pub(super) telemetry: Telemetry,
}

impl FetchSettings {
    /// Holes in the offsets that do not mean a loss.
    pub(super) fn holes(&self, capabilities: Capabilities) -> Holes {
        if self.smartmodules.is_some() { Holes::Made } else { Holes::without_modules(capabilities) }
    }
}

/// Target of a fetch task: the queue of its partition.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) queue: Arc<PrefetchQueue>,
    pub(super) index: usize,
    pub(super) generation: u64,
}

impl Outlet {
    fn push(&self, item: Prefetched) -> Result<(), Stop> {
        if self.queue.push(self.index, self.generation, item) { Ok(()) } else { Err(Stop::Unwanted) }
    }
}

/// The fetch task of one partition.
#[derive(Debug)]
pub(super) struct Fetch {
    engine: SharedEngine,
    at: TopicPartition,
    settings: FetchSettings,
    /// Start of the reader on an engine without offsets. `None` on other engines, where it is the next offset.
    unnumbered: Option<Start>,
    /// Whether reading ends when no record is left. Only without offsets.
    stop_when_empty: bool,
    check: OffsetCheck,
    reader: Option<Box<dyn BatchReader>>,
    backoff: Backoff,
    contradictions: u32,
    stalls: u32,
    /// With an aggregate: its last value.
    aggregated: Option<Bytes>,
    telemetry: FetchTelemetry,
}

/// Reason why a fetch task ends.
#[derive(Debug)]
enum Stop {
    /// The consumer was closed or has moved the partition.
    Unwanted,
    /// Reading has reached the configured end.
    Complete,
    /// The topic was deleted.
    Deleted(Error),
    /// A permanent error.
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
        let telemetry = FetchTelemetry::new(&settings.telemetry, &at);
        Self {
            engine,
            at,
            settings,
            unnumbered: None,
            stop_when_empty: false,
            check,
            reader: None,
            backoff,
            contradictions: 0,
            stalls: 0,
            aggregated: None,
            telemetry,
        }
    }

    /// Reads an engine without offsets. Opens the reader at once, because only that fixes the start of reading.
    pub(super) async fn open_unnumbered(
        engine: SharedEngine,
        at: TopicPartition,
        settings: FetchSettings,
        (start, stop_when_empty): (Start, bool),
    ) -> Result<Self> {
        let mut fetch = Self::new(engine, at, settings, OffsetCheck::numbering());
        fetch.unnumbered = Some(start);
        fetch.stop_when_empty = stop_when_empty;
        fetch.open().await?;
        // A reopened reader must not return earlier records. Where reading removes records, the engine keeps the position.
        if !fetch.engine.info().capabilities.consuming_reads {
            fetch.unnumbered = Some(Start::Latest);
        }
        Ok(fetch)
    }

    /// Reads until the partition ends or the consumer is closed.
    pub(super) async fn run(mut self, outlet: Outlet) {
        let Err(stop) = self.read(&outlet).await;
        let Outlet { queue, index, generation } = outlet;
        self.telemetry.flush();
        queue.wake();
        match stop {
            Stop::Unwanted => {}
            Stop::Complete => queue.end(index, generation, None),
            Stop::Deleted(error) => queue.end(index, generation, Some(error)),
            Stop::Failed(error) => {
                // The application gets the error too: a target of its own lets it leave this out of the log.
                tracing::warn!(
                    target: "floe::consumer::ended",
                    topic = %self.at.topic, partition = self.at.partition, %error, "partition ends"
                );
                queue.push(index, generation, Prefetched::Error(error));
                queue.end(index, generation, None);
            }
        }
    }

    async fn read(&mut self, outlet: &Outlet) -> Result<Infallible, Stop> {
        loop {
            if self.check.is_complete() {
                return Err(Stop::Complete);
            }
            if !outlet.queue.room(outlet.index, outlet.generation).await {
                return Err(Stop::Unwanted);
            }
            let next = if self.reader.is_some() {
                match self.next_batch(outlet).await {
                    Some(next) => next,
                    None => {
                        self.after_stall()?;
                        continue;
                    }
                }
            } else {
                outlet.queue.wake();
                match self.open().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                }
            };
            match next {
                Ok(Some(batch)) => {
                    self.backoff.worked();
                    self.contradictions = 0;
                    self.stalls = 0;
                    self.accept(batch, outlet).await?;
                }
                Ok(None) => {
                    outlet.queue.wake();
                    let looked_up_to = self.reader.take().and_then(|reader| reader.looked_up_to());
                    if self.stop_when_empty {
                        return Err(Stop::Complete);
                    }
                    if looked_up_to.zip(self.check.end()).is_some_and(|(looked, end)| looked >= end) {
                        return Err(Stop::Complete);
                    }
                    self.after_close().await?;
                }
                Err(error) => {
                    outlet.queue.wake();
                    match self.check.accept_gap(&error) {
                        // The reader continues behind the gap.
                        Some(found) if self.reader.is_some() => self.deliver(found, outlet).await?,
                        _ => {
                            if self.reader.take().is_some() {
                                self.backoff.broke();
                            }
                            self.recover(error, outlet).await?;
                        }
                    }
                }
            }
            // An engine that always has a batch at hand must not starve other tasks of the thread, such as the consumer,
            // which has to be awake for that.
            if !tokio::task::coop::has_budget_remaining() {
                outlet.queue.wake();
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Waits for the next batch of the open reader. `None` if the reader stalls before the end.
    async fn next_batch(&mut self, outlet: &Outlet) -> Option<Result<Option<EncodedBatch>>> {
        let reports_progress = self.reports_progress();
        let end = self.check.end();
        let mut next = self.reader.as_mut()?.next();
        // The consumer is not woken for each batch that arrives without waiting.
        if let Poll::Ready(next) = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
            return Some(next);
        }
        self.telemetry.flush();
        outlet.queue.wake();
        if end.is_some() {
            let stall = if reports_progress { MODULES_STALL } else { STALL };
            return timeout(stall, next).await.ok();
        }
        let decompressor = self.check.decompressor();
        if decompressor.keeps_memory()
            && let Ok(next) = timeout(KEEPS_MEMORY, &mut next).await
        {
            return Some(next);
        }
        decompressor.release();
        Some(next.await)
    }

    /// Whether the reader runs modules and reports how far it has read.
    fn reports_progress(&self) -> bool {
        let looked_up_to = self.reader.as_ref().and_then(|reader| reader.looked_up_to());
        self.settings.smartmodules.is_some() && looked_up_to.is_some()
    }

    async fn open(&mut self) -> Result<()> {
        let from = self.unnumbered.unwrap_or(Start::Offset(self.check.expected()));
        let FetchSettings { fetch_bytes, isolation, .. } = self.settings;
        let mut request = ReadRequest::new(self.at.clone(), from).max_bytes(fetch_bytes).isolation(isolation);
        request.smartmodules = self.smartmodules();
        request.until = self.check.end();
        request.stop_when_empty = self.stop_when_empty;
        self.reader = Some(self.engine.open(request).await?);
        self.backoff.opened();
        Ok(())
    }

    /// The modules of the reader. An aggregate continues from the value of its last record.
    fn smartmodules(&self) -> Option<SmartModules> {
        let modules = self.settings.smartmodules.as_ref()?;
        let (Some(value), Some((last, before))) = (&self.aggregated, modules.split_last()) else {
            return Some(Arc::clone(modules));
        };
        let last = last.clone().aggregate(value.clone());
        Some(before.iter().cloned().chain([last]).collect())
    }

    /// Whether the records are values of an aggregate.
    fn aggregates(&self) -> bool {
        let last = self.settings.smartmodules.as_deref().and_then(<[SmartModule]>::last);
        last.is_some_and(|last| matches!(last.module_kind(), SmartModuleKind::Aggregate { .. }))
    }

    async fn accept(&mut self, batch: EncodedBatch, outlet: &Outlet) -> Result<(), Stop> {
        self.telemetry.fetched(&batch);
        let found =
            if self.settings.keeps_stored { self.check_and_keep(batch) } else { self.check.accept(batch) };
        let duplicates = self.check.take_duplicates();
        if duplicates > 0 {
            self.telemetry.dropped_repeats(duplicates);
        }
        self.deliver(found, outlet).await
    }

    fn check_and_keep(&mut self, batch: EncodedBatch) -> Vec<Found<ReceivedBatch>> {
        // With a checksum that is known to be right, neither the check nor an engine that appends the batch reads the bytes
        // for it. A wrong one is found by the check.
        let batch = batch.clone().verified().unwrap_or(batch);
        let mut found = self.check.accept(batch.clone());
        for found in &mut found {
            if let Found::Records(received) = found {
                received.keep(&batch);
            }
        }
        found
    }

    async fn deliver(&mut self, found: Vec<Found<ReceivedBatch>>, outlet: &Outlet) -> Result<(), Stop> {
        for found in found {
            match found {
                Found::Records(batch) => {
                    if self.aggregates() {
                        self.aggregated = batch.last_value();
                    }
                    outlet.push(Prefetched::Records(batch))?;
                }
                Found::Gap(from, to, reason) => {
                    outlet.queue.wake();
                    let (to, reason) = self.judge(from, to, reason).await;
                    self.push_gap(outlet, from, to, reason)?;
                }
            }
        }
        Ok(())
    }

    /// Compares a gap with the watermarks of the engine. Leaves it as it is where there are none.
    pub(super) async fn judge(&mut self, from: i64, to: i64, reason: GapReason) -> (i64, GapReason) {
        if self.unnumbered.is_some() || reason == GapReason::Evicted {
            return (to, reason);
        }
        let Ok(bounds) = self.engine.watermarks(self.at.clone()).await else { return (to, reason) };
        match reason {
            GapReason::Missing if to <= bounds.start => (to, GapReason::Evicted),
            // The header of a damaged batch may give any end.
            GapReason::Corrupt if to > bounds.high => {
                let to = bounds.high.max(from + 1);
                self.check.return_to(to);
                (to, reason)
            }
            _ => (to, reason),
        }
    }

    fn push_gap(&self, outlet: &Outlet, from: i64, to: i64, reason: GapReason) -> Result<(), Stop> {
        outlet.push(Prefetched::Gap(Gap::new(self.at.clone(), from..to, reason)))
    }

    /// Reopens a reader that stalls before the end: it may be stuck. Fails after the second stall.
    fn after_stall(&mut self) -> Result<(), Stop> {
        let reports_progress = self.reports_progress();
        self.reader = None;
        if self.settings.smartmodules.is_some() && !reports_progress {
            // The modules may have dropped all records up to the end.
            return Err(Stop::Complete);
        }
        self.stalls += 1;
        match self.check.end() {
            Some(end) if self.stalls > 1 => Err(Stop::Failed(stalled(&self.at, self.check.expected(), end))),
            Some(_) | None => Ok(()),
        }
    }

    /// Finds out why the engine closed the reader: a deleted topic, or another reason.
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
            // The topic existed when the consumer started.
            ErrorKind::TopicNotFound => Err(Stop::Deleted(self.deleted())),
            ErrorKind::OffsetOutOfRange if self.unnumbered.is_none() => {
                self.reset_position(error, outlet).await
            }
            _ if self.backoff.may_pass(&error) => self.wait(error).await,
            _ => Err(Stop::Failed(error)),
        }
    }

    /// Handles the refusal of the next offset, by the watermarks of the engine.
    async fn reset_position(&mut self, refusal: Error, outlet: &Outlet) -> Result<(), Stop> {
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
            if let Some(Found::Gap(from, to, reason)) =
                self.check.skip_to::<ReceivedBatch>(bounds.start, GapReason::Evicted)
            {
                self.push_gap(outlet, from, to, reason)?;
            }
            return Ok(());
        }
        if next > bounds.high {
            // The partition was truncated, or the topic was recreated: the application decides, by a seek.
            let error = out_of_range(&self.at, "the next offset", next, bounds);
            return Err(Stop::Failed(error.with_source(refusal)));
        }
        self.contradictions += 1;
        if self.contradictions > MAX_CONTRADICTIONS {
            return Err(Stop::Failed(refusal));
        }
        self.wait(refusal).await
    }

    /// Waits before the reader is reopened.
    async fn wait(&mut self, error: Error) -> Result<(), Stop> {
        let Some(delay) = self.backoff.next_delay(&error) else {
            return Err(Stop::Failed(error.with_attempts(self.backoff.attempts())));
        };
        self.settings.telemetry.retried("receive", Some(&self.at.topic), &error);
        // As in the producer, a target of its own for a message that comes with every attempt.
        tracing::warn!(
            target: "floe::consumer::retry",
            topic = %self.at.topic,
            partition = self.at.partition,
            next_offset = self.check.expected(),
            attempt = self.backoff.attempts(),
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            %error,
            "reader failed; it is reopened"
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

/// The error of an engine that does not return records that it holds by its own watermarks.
pub(super) fn stalled(at: &TopicPartition, next: i64, end: i64) -> Error {
    Error::new(
        ErrorKind::RequestTimeout,
        format!("no records arrived from offset {next} on, although the partition ends at {end}"),
    )
    .with_topic(&at.topic)
    .with_partition(at.partition)
}
