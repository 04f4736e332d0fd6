//! Copies one partition of the source.
//!
//! A lane works in rounds: it reads some records, appends them, and waits for the acknowledgements before the next round. After
//! a failure it does the same as another process after a crash: it looks up in the target where it stopped.

use std::{sync::Arc, time::Duration};

use floe::{
    Codec, Error, ErrorKind,
    consumer::{Consumer, Gap, GapPolicy, GapReason, RecordBatch, StartAt},
    engine::{Acks, AppendEpoch, AppendRequest, EncodedBatch, Isolation},
    exchange::RecordFields,
};
use futures_util::{FutureExt as _, future::join_all};
use indicatif::ProgressBar;
use tokio::{sync::watch, time::Instant};

use super::{plan::CopyPlan, position::LanePosition, round::CopyRound};
use crate::{
    commands::gaps::GapTally,
    exit::{Failure, Outcome},
    format::OutputFormat,
};

/// Memory of all lanes for records read ahead.
const PREFETCH_BYTES: usize = 64 << 20;

/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time between two looks at a target on the network: a request that was sent before a failure may still arrive.
const SETTLE: Duration = Duration::from_millis(500);

/// Looks until two of them agree.
const MOST_LOOKS: u32 = 10;

/// Tools that all lanes of a copy share.
#[derive(Debug, Clone)]
pub(super) struct LaneTools {
    pub(super) plan: Arc<CopyPlan>,
    /// Set by Ctrl-C, and by the first failure.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) bar: ProgressBar,
    pub(super) output: OutputFormat,
}

/// Outcome of one partition of the source.
#[derive(Debug, Default)]
pub(super) struct LaneReport {
    pub(super) partition: u32,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) gaps: GapTally,
    /// Offset of the source before which every record was copied or left out.
    pub(super) reached: i64,
    pub(super) failure: Option<Failure>,
}

/// Reason why an attempt ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptEnd {
    Complete,
    Stopped,
}

/// One partition of the source on its way.
#[derive(Debug)]
pub(super) struct CopyLane {
    tools: LaneTools,
    position: LanePosition,
    report: LaneReport,
    /// Offset up to which gaps were told and progress was counted.
    told: i64,
    last_success: Instant,
    failures: u32,
}

impl CopyLane {
    pub(super) fn new(tools: LaneTools, partition: u32, position: LanePosition) -> Self {
        let told = position.last().unwrap_or(0);
        let report = LaneReport { partition, reached: position.start(), ..LaneReport::default() };
        Self { tools, position, report, told, last_success: Instant::now(), failures: 0 }
    }

    pub(super) async fn run(mut self) -> LaneReport {
        loop {
            let Err(mut error) = self.attempt().await else { return self.report };
            loop {
                if !error.is_retriable() || self.gives_up() {
                    self.report.failure = Some(error.into());
                    return self.report;
                }
                let (topic, partition) = (&self.tools.plan.source.name, self.report.partition);
                tracing::warn!(%topic, partition, %error, "copying was interrupted and continues where the target ends");
                match self.recover().await {
                    Ok(AttemptEnd::Complete) => break,
                    Ok(AttemptEnd::Stopped) => return self.report,
                    Err(another) => error = another,
                }
            }
        }
    }

    /// A mirror outlives every outage; any other copy has the patience of a producer.
    fn gives_up(&self) -> bool {
        let plan = &self.tools.plan;
        !plan.choices.follow && self.last_success.elapsed() >= plan.to.settings().producer.timeout
    }

    /// Waits, and looks up where the target ends, until two looks agree. The position of before is worthless: records were
    /// appended since.
    async fn recover(&mut self) -> floe::Result<AttemptEnd> {
        let mut last: Option<LanePosition> = None;
        for _ in 0..MOST_LOOKS {
            let doubled = SETTLE.saturating_mul(2_u32.saturating_pow(self.failures.min(8)));
            self.failures = self.failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(doubled.min(LONGEST_PAUSE)) => {}
                () = stopped(&mut self.tools.stop) => return Ok(AttemptEnd::Stopped),
            }
            let position = self.tools.plan.position(self.report.partition).await?;
            if last.as_ref() == Some(&position) {
                self.position = position;
                return Ok(AttemptEnd::Complete);
            }
            last = Some(position);
        }
        Err(moving_target(&self.tools.plan))
    }

    /// Copies until the end of the source, a failure, or a stop.
    async fn attempt(&mut self) -> floe::Result<AttemptEnd> {
        let plan = Arc::clone(&self.tools.plan);
        let at = plan.source_at(self.report.partition);
        let marks = plan.from.admin().watermarks(at.clone()).await?;
        if let Some(last) = self.position.last().filter(|last| *last > marks.high) {
            let message =
                format!("the target has its records up to offset {last}, but it ends at {}", marks.high);
            return Err(Error::new(ErrorKind::OffsetOutOfRange, message)
                .with_topic(&at.topic)
                .with_partition(at.partition));
        }
        if self.position.last().is_none() {
            self.told = self.told.max(marks.start);
        } else if self.told < marks.start {
            let gap = Gap::new(at.clone(), self.told..marks.start, GapReason::Evicted);
            self.tell_gap(gap.into_error());
        }
        let from = self.position.start().max(marks.start);
        self.report.reached = from;
        let lanes = plan.source.partitions.max(1) as usize;
        let mut builder = plan.from.consumer(plan.source.name.clone());
        builder = builder.partition(self.report.partition).from(StartAt::Offset(from));
        // A record that a new leader may not have must not outlive it in the target.
        builder = builder.on_gap(GapPolicy::Fail).isolation(Isolation::ReadCommitted);
        builder = builder.prefetch_bytes((PREFETCH_BYTES / lanes).clamp(64 << 10, 8 << 20));
        if !plan.choices.follow {
            builder = builder.stop_at_end();
        }
        let mut consumer = builder.start().await?;
        let outcome = self.copy_all(&mut consumer, &plan).await;
        let closed = consumer.close().await;
        let end = outcome?;
        closed?;
        Ok(end)
    }

    async fn copy_all(&mut self, consumer: &mut Consumer, plan: &CopyPlan) -> floe::Result<AttemptEnd> {
        let settings = &plan.to.settings().compression;
        let default = if settings.enabled { settings.codec } else { Codec::None };
        let codec = plan.choices.codec.unwrap_or(default);
        let is_marked = plan.reads_target() || plan.choices.filter.is_none();
        let lane = is_marked.then(|| plan.identity.lane(self.report.partition));
        let mut round = CopyRound::new(lane, codec, plan.capabilities.max_batch_bytes);
        loop {
            if *self.tools.stop.borrow() {
                self.deliver(&mut round, plan).await?;
                return Ok(AttemptEnd::Stopped);
            }
            let fetched = match consumer.next_batch().now_or_never() {
                Some(fetched) => fetched,
                None => {
                    // Nothing is ready: what was read is sent before the lane waits.
                    self.deliver(&mut round, plan).await?;
                    tokio::select! {
                        fetched = consumer.next_batch() => fetched,
                        () = stopped(&mut self.tools.stop) => continue,
                    }
                }
            };
            match fetched {
                Ok(Some(batch)) => self.copy_batch(&batch, &mut round, plan).await?,
                Ok(None) => {
                    self.deliver(&mut round, plan).await?;
                    return Ok(AttemptEnd::Complete);
                }
                Err(error) if error.kind() == ErrorKind::Gap => self.tell_gap(error),
                Err(error) => return Err(error),
            }
        }
    }

    async fn copy_batch(
        &mut self,
        batch: &RecordBatch,
        round: &mut CopyRound,
        plan: &CopyPlan,
    ) -> floe::Result<()> {
        for record in batch.borrowed() {
            if round.is_full_before(record.offset) {
                self.deliver(round, plan).await?;
            }
            round.cover(record.offset, record.offset + 1);
            let fields = RecordFields::of_batch(batch, &record);
            if plan.choices.filter.as_ref().is_some_and(|filter| !filter.matches(&fields)) {
                continue;
            }
            let target = plan.route(&fields);
            if !self.position.has(target, record.offset) {
                round.push(target, &record)?;
            }
        }
        Ok(())
    }

    /// Appends the records of a round, and waits for the acknowledgements.
    async fn deliver(&mut self, round: &mut CopyRound, plan: &CopyPlan) -> floe::Result<()> {
        let Some(next) = round.next() else { return Ok(()) };
        let (records, bytes) = (round.records, round.bytes);
        let sends = round.take()?;
        let sends = sends.into_iter().map(|(target, batches)| append_all(plan, target, batches));
        // All of them end before the lane looks at the target, even if one fails.
        let outcomes = join_all(sends).await;
        outcomes.into_iter().collect::<floe::Result<()>>()?;
        if !plan.reads_target() {
            let stored = vec![(plan.source_at(self.report.partition), next)];
            plan.from.engine().commit(plan.identity.group().into(), stored).await?;
        }
        self.report.records += records;
        self.report.bytes += bytes;
        self.report.reached = next;
        self.tools.bar.inc(u64::try_from(next - self.told).unwrap_or(0));
        self.told = self.told.max(next);
        (self.last_success, self.failures) = (Instant::now(), 0);
        Ok(())
    }

    fn tell_gap(&mut self, error: Error) {
        if let Some(gap) = Gap::of(&error) {
            if gap.to <= self.told {
                return;
            }
            self.told = gap.to;
            self.report.reached = self.report.reached.max(gap.to);
        }
        self.report.gaps.tell(error, self.tools.output);
    }
}

/// Appends batches to a partition one after the other.
async fn append_all(plan: &CopyPlan, target: u32, batches: Vec<EncodedBatch>) -> floe::Result<()> {
    let settings = &plan.to.settings().producer;
    let acks = if settings.acks == Acks::None { Acks::Leader } else { settings.acks };
    let (at, epoch) = (plan.target.partition(target), AppendEpoch::begin());
    for batch in batches {
        let request = AppendRequest::new(at.clone(), batch, acks).epoch(&epoch);
        let append = plan.to.engine().append(request);
        match tokio::time::timeout(settings.timeout, append).await {
            Ok(outcome) => outcome.map(drop)?,
            Err(_) => {
                let message = format!("not acknowledged within {:?}", settings.timeout);
                return Err(Error::new(ErrorKind::RequestTimeout, message)
                    .with_topic(&at.topic)
                    .with_partition(at.partition));
            }
        }
    }
    Ok(())
}

/// Waits until the copy is stopped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the lanes.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Reads where the copy stopped. On the network, requests of a process that was killed may still be on their way: the
/// positions count once they no longer change.
pub(super) async fn settled_positions(plan: &CopyPlan, is_network: bool) -> Outcome<Vec<LanePosition>> {
    let mut positions = plan.positions().await?;
    let is_new = positions.iter().all(|position| position.last().is_none());
    if !is_network || is_new || !plan.reads_target() {
        return Ok(positions);
    }
    for _ in 0..MOST_LOOKS {
        tokio::time::sleep(SETTLE).await;
        let before = std::mem::replace(&mut positions, plan.positions().await?);
        if before == positions {
            return Ok(positions);
        }
    }
    Err(moving_target(plan).into())
}

/// Two processes that run one copy would both append its records.
fn moving_target(plan: &CopyPlan) -> Error {
    let message =
        "another process seems to run the same copy: the records of this copy in the target become more";
    Error::new(ErrorKind::Fenced, message).with_topic(&plan.target)
}

/// Number of offsets that the lanes have before them.
pub(super) async fn distance(plan: &CopyPlan, positions: &[LanePosition]) -> floe::Result<u64> {
    let mut total = 0;
    for (partition, position) in (0..).zip(positions) {
        let marks = plan.from.admin().watermarks(plan.source_at(partition)).await?;
        let from = position.last().unwrap_or(marks.start).max(marks.start);
        total += u64::try_from(marks.high - from).unwrap_or(0);
    }
    Ok(total)
}
