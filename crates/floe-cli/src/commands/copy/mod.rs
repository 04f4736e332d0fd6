//! `floe copy`: copies topics between any two engines, and goes on where it stopped.
//!
//! ```text
//! consumer of one partition ──stored batches as they are──► round ──batches with marks──► partitions of the target
//!          ▲    └──records──► filter ──► partition ──────────►                                           │
//!          └───────────────── at a start and after a failure: where the marks end ◄──────────────────────┘
//! ```
//!
//! The target is the only memory of a copy: [`stamp`] explains the marks, [`position`] why they suffice.

mod address;
mod delivery;
mod lane;
mod plan;
mod position;
mod round;
mod stamp;
mod summary;
mod tail;
mod verify;
mod whole_batch;

use std::{sync::Arc, time::Instant};

use clap::Args;
use floe::{Client, Codec, filter::Filter};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use self::{
    address::{CopyEnd, engine_of, parse_url},
    lane::{CopyLane, LaneReport, LaneTools, distance, settled_positions},
    plan::{CopyChoices, CopyPlan},
    summary::{CopyNames, CopyTotals, progress_bar, summarise},
};
use super::{
    name_pattern::NamePattern,
    selection::{FILTER_HELP, parse_filter},
    with_client, with_reader,
};
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::stdout::note,
};

/// Partitions that are copied at once, unless all have to be followed.
const LANES_AT_ONCE: usize = 16;

#[derive(Debug, Args)]
#[command(after_long_help = FILTER_HELP)]
pub(crate) struct CopyArgs {
    /// Topic to read: TOPIC at --url, or URL#TOPIC, such as embedded:./a#orders; with --all a URL
    #[arg(value_name = "FROM")]
    from: String,
    /// Topic to write: TOPIC at --url, or URL#TOPIC; with --all a URL. A missing topic is created with the settings of FROM
    #[arg(value_name = "TO")]
    to: String,
    /// Copy all topics whose name matches PATTERN, in which * stands for any text and ? for one character; they keep their names
    #[arg(long, value_name = "PATTERN", value_parser = NamePattern::parse)]
    all: Option<NamePattern>,
    /// Copy only the records that this expression selects, such as 'key = "ada" and .total > 10'
    #[arg(long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Keep the partition of each record; batches are then copied as they are stored [default: by key, and in turn without a key]
    #[arg(long)]
    keep_partitions: bool,
    /// Keep copying new records until Ctrl-C
    #[arg(short, long, conflicts_with = "verify")]
    follow: bool,
    /// Compare both sides at the end: number and checksum of the records of each partition
    #[arg(long)]
    verify: bool,
    /// Write behind the records of a target that this copy did not write
    #[arg(long)]
    append: bool,
    /// Codec of batches: none, gzip, snappy, lz4 or zstd [default: that of the batches of FROM]
    #[arg(long, value_name = "CODEC")]
    compression: Option<Codec>,
}

/// Tools of all topics of one command.
struct CopySession<'a> {
    global: &'a Global,
    args: &'a CopyArgs,
    filter: Option<Filter>,
    interrupt: Interrupt,
}

pub(crate) async fn run(global: &Global, args: CopyArgs) -> Outcome {
    let filter = args.expression.as_deref().map(parse_filter).transpose()?;
    let (from_url, to_url, names) = match &args.all {
        Some(_) => (parse_url(&args.from)?, parse_url(&args.to)?, None),
        None => {
            let from = CopyEnd::parse(&args.from, &global.url)?;
            let to = CopyEnd::parse(&args.to, &global.url)?;
            (from.url, to.url, Some((from.topic, to.topic)))
        }
    };
    let is_same = engine_of(&from_url)? == engine_of(&to_url)?;
    if is_same && names.as_ref().is_none_or(|(from, to)| from == to) {
        return Err(Failure::usage("FROM and TO are the same: a topic cannot be copied onto itself"));
    }
    let session = CopySession { global, args: &args, filter, interrupt: Interrupt::listen()? };
    let from = Global { url: from_url, ..global.clone() };
    let to = Global { url: to_url, ..global.clone() };
    with_reader(&from, async |source| {
        let names = match names {
            Some(names) => vec![names],
            None => session.matching(source).await?,
        };
        // A source that cannot be copied must not leave a new store behind.
        for (name, _) in &names {
            CopyPlan::source_of(source, name).await?;
        }
        if is_same {
            // Two clients could not open one store.
            return session.copy_topics((source, source), &names).await;
        }
        with_client(&to, async |target| session.copy_topics((source, target), &names).await).await
    })
    .await
}

impl CopySession<'_> {
    /// Lists the topics that --all selects.
    async fn matching(&self, source: &Client) -> Outcome<Vec<(String, String)>> {
        let Some(pattern) = &self.args.all else { return Ok(Vec::new()) };
        let groups = &source.settings().groups.topic;
        let topics = source.admin().topics().await?.into_iter().map(|info| info.name.to_string());
        // The members of groups find each other in a topic of their own, which means nothing elsewhere.
        let names: Vec<_> = topics.filter(|name| pattern.matches(name) && name != groups).collect();
        if names.is_empty() {
            return Err(Failure::not_found(format!("no topic matches {pattern}")));
        }
        Ok(names.into_iter().map(|name| (name.clone(), name)).collect())
    }

    async fn copy_topics(&self, clients: (&Client, &Client), names: &[(String, String)]) -> Outcome {
        // All of them are checked before the first record is written.
        let mut plans = Vec::new();
        for (from, to) in names {
            let choices = CopyChoices {
                filter: self.filter.clone(),
                keep_partitions: self.args.keep_partitions,
                follow: self.args.follow,
                append: self.args.append,
                codec: self.args.compression,
            };
            let plan = Arc::new(CopyPlan::prepare(clients, (from, to), choices).await?);
            tokio::select! {
                brought = plan.bring_in_source() => brought?,
                () = self.interrupt.pressed() => return Err(Failure::interrupted()),
            }
            let positions = settled_positions(&plan).await?;
            plans.push((plan, positions));
        }
        if !plans.iter().all(|(plan, _)| plan.reads_target()) {
            note(
                "the target cannot be searched for records of this copy: after a crash, the last records of each \
                 partition may be copied twice",
            );
        }
        let (stop, stopped) = watch::channel(false);
        let interrupted = self.interrupt.clone();
        let begun = Instant::now();
        let mut totals = CopyTotals::default();
        let copying = async {
            if self.args.follow {
                let all = plans.iter().map(|(plan, at)| self.copy_topic(plan, at, (&stop, &stopped)));
                futures_util::future::join_all(all).await
            } else {
                let mut all = Vec::new();
                for (plan, at) in &plans {
                    all.push(self.copy_topic(plan, at, (&stop, &stopped)).await);
                }
                all
            }
        };
        tokio::pin!(copying);
        let outcomes = tokio::select! {
            outcomes = &mut copying => outcomes,
            () = interrupted.pressed() => {
                stop.send_replace(true);
                copying.await
            }
        };
        let names = CopyNames { from: &self.args.from, to: &self.args.to };
        for ((plan, _), lanes) in plans.iter().zip(outcomes) {
            totals.add(plan, lanes?);
        }
        totals.interrupted = self.interrupt.is_pressed();
        if self.args.verify && totals.is_complete() {
            totals.verify(&plans).await?;
        }
        summarise(self.global.output, &names, &totals, begun.elapsed());
        totals.verdict()
    }

    /// Copies one topic.
    async fn copy_topic(
        &self,
        plan: &Arc<CopyPlan>,
        positions: &[position::LanePosition],
        (stop, stopped): (&watch::Sender<bool>, &watch::Receiver<bool>),
    ) -> Outcome<Vec<LaneReport>> {
        let total = distance(plan, positions).await?;
        let bar = progress_bar((!self.args.follow).then_some(total));
        let slots =
            Arc::new(Semaphore::new(if self.args.follow { Semaphore::MAX_PERMITS } else { LANES_AT_ONCE }));
        let mut lanes = JoinSet::new();
        for (partition, position) in (0..).zip(positions) {
            let output: OutputFormat = self.global.output;
            let tools = LaneTools { plan: Arc::clone(plan), stop: stopped.clone(), bar: bar.clone(), output };
            let (lane, slots) = (CopyLane::new(tools, partition, position.clone()), Arc::clone(&slots));
            lanes.spawn(async move {
                // The semaphore is never closed.
                let _slot = slots.acquire().await;
                lane.run().await
            });
        }
        let mut reports = Vec::new();
        while let Some(joined) = lanes.join_next().await {
            let report = joined.map_err(|error| Failure::io("a partition was not copied", &error.into()))?;
            if report.failure.is_some() {
                stop.send_replace(true);
            }
            reports.push(report);
        }
        bar.finish_and_clear();
        reports.sort_by_key(|report| report.partition);
        Ok(reports)
    }
}
