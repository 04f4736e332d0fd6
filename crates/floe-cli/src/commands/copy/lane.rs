//! Copies one partition of the source.
//!
//! A lane works in rounds: it gathers one while the one before is appended, and sends it after the acknowledgements of that. After a
//! failure it does the same as another process after a crash: it looks up in the target where it stopped.

use std::{sync::Arc, time::Duration};

use floe::{
    Codec, Error, ErrorKind,
    consumer::{Consumer, Gap, GapPolicy, GapReason, RecordBatch, StartAt},
    engine::Isolation,
    exchange::RecordFields,
};
use futures_util::FutureExt as _;
use indicatif::ProgressBar;
use tokio::{sync::watch, time::Instant};

use super::{
    delivery::{DeliveredRound, RoundInFlight},
    plan::CopyPlan,
    position::LanePosition,
    round::CopyRound,
    whole_batch::WholeBatch,
};
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
    in_flight: RoundInFlight,
    /// Codec of the last batch of the source.
    codec: Codec,
    /// Offset up to which gaps were told and progress was counted.
    told: i64,
    last_success: Instant,
    failures: u32,
}

impl CopyLane {
    pub(super) fn new(tools: LaneTools, partition: u32, position: LanePosition) -> Self {
        let told = position.last().unwrap_or(0);
        let report = LaneReport { partition, reached: position.start(), ..LaneReport::default() };
        let in_flight = RoundInFlight::default();
        let last_success = Instant::now();
        Self { tools, position, report, in_flight, codec: Codec::None, told, last_success, failures: 0 }
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
        builder = builder.on_gap(GapPolicy::Fail).isolation(Isolation::ReadCommitted).keep_stored();
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

    async fn copy_all(&mut self, consumer: &mut Consumer, plan: &Arc<CopyPlan>) -> floe::Result<AttemptEnd> {
        let outcome = self.copy_rounds(consumer, plan).await;
        // Everything in flight ends before the lane looks at the target.
        let settled = self.settle().await;
        let end = outcome?;
        settled.map(|()| end)
    }

    async fn copy_rounds(
        &mut self,
        consumer: &mut Consumer,
        plan: &Arc<CopyPlan>,
    ) -> floe::Result<AttemptEnd> {
        let is_marked = plan.reads_target() || plan.choices.filter.is_none();
        let lane = is_marked.then(|| plan.identity.lane(self.report.partition));
        let mut round = CopyRound::new(lane, plan.capabilities.max_batch_bytes);
        loop {
            if *self.tools.stop.borrow() {
                self.send(&mut round).await?;
                return Ok(AttemptEnd::Stopped);
            }
            let fetched = match consumer.next_batch().now_or_never() {
                Some(fetched) => fetched,
                None => {
                    // Nothing is ready: what was read is sent before the lane waits.
                    if self.in_flight.is_none() {
                        self.send(&mut round).await?;
                    }
                    tokio::select! {
                        fetched = consumer.next_batch() => fetched,
                        ended = self.in_flight.ended(), if !self.in_flight.is_none() => {
                            self.account(ended.transpose()?);
                            continue;
                        }
                        () = stopped(&mut self.tools.stop) => continue,
                    }
                }
            };
            match fetched {
                Ok(Some(batch)) => self.copy_batch(&batch, &mut round, plan).await?,
                Ok(None) => {
                    self.send(&mut round).await?;
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
        let (first, next) = (batch.first_offset(), batch.next_offset());
        if let Some(whole) =
            WholeBatch::of(plan, batch).filter(|whole| !self.position.has(whole.target, first))
        {
            if round.is_full_before(next - 1) {
                self.send(round).await?;
            }
            round.cover(first, next);
            round.push_whole(&whole, next);
            return Ok(());
        }
        // Parts of a batch get the codec of the batches around it.
        let stored = batch.stored().and_then(|stored| stored.header().attributes.codec().ok());
        self.codec = stored.unwrap_or(self.codec);
        let codec = plan.choices.codec.unwrap_or(self.codec);
        for record in batch.borrowed() {
            if round.is_full_before(record.offset) {
                self.send(round).await?;
            }
            round.cover(record.offset, record.offset + 1);
            let fields = RecordFields::of_batch(batch, &record);
            if plan.choices.filter.as_ref().is_some_and(|filter| !filter.matches(&fields)) {
                continue;
            }
            let target = plan.route(&fields);
            if !self.position.has(target, record.offset) {
                round.push(target, &record, codec)?;
            }
        }
        Ok(())
    }

    /// Sends a round after the one before is acknowledged.
    async fn send(&mut self, round: &mut CopyRound) -> floe::Result<()> {
        self.settle().await?;
        if let Some(closed) = round.take() {
            self.in_flight.begin(&self.tools.plan, self.report.partition, closed);
        }
        Ok(())
    }

    /// Waits until nothing is in flight.
    async fn settle(&mut self) -> floe::Result<()> {
        let ended = self.in_flight.ended().await;
        self.account(ended.transpose()?);
        Ok(())
    }

    /// Counts a round of which everything is acknowledged.
    fn account(&mut self, ended: Option<DeliveredRound>) {
        let Some(DeliveredRound { next, records, bytes }) = ended else { return };
        self.report.records += records;
        self.report.bytes += bytes;
        self.report.reached = next;
        self.tools.bar.inc(u64::try_from(next - self.told).unwrap_or(0));
        self.told = self.told.max(next);
        (self.last_success, self.failures) = (Instant::now(), 0);
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

/// Waits until the copy is stopped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the lanes.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Reads where the copy stopped. On the network, requests of a process that was killed may still be on their way: the
/// positions count once they no longer change.
pub(super) async fn settled_positions(plan: &CopyPlan) -> Outcome<Vec<LanePosition>> {
    let mut positions = plan.positions().await?;
    let is_new = positions.iter().all(|position| position.last().is_none());
    if !plan.is_network || is_new || !plan.reads_target() {
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
