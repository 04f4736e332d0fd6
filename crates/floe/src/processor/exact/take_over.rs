//! The begin of a task: the numbering that it goes on with, and the records that an earlier owner has written since.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use floe_core::producer_id::task_id;
use floe_wire::batch::ProducerIdentity;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{BoxFuture, ready},
    stream,
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    changelog::{self, ChangelogTail},
    context::TaskContext,
    fingerprint::Fingerprint,
    numbering::{Numbering, OutputNumbers, PartitionNumbers},
    patience::{RETRY_DELAY, patiently},
    written_tail::{WrittenRecord, read_written},
};
use crate::{
    Error, ErrorKind, Result,
    consumer::{TaskFacts, TaskLease, TaskProgress},
    engine::SharedEngine,
};

/// Output partitions that are read concurrently.
const LOOKUPS: usize = 16;

/// Where a task stands: the records that are done, and the numbers of the records made from them.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Standing>);

#[derive(Debug)]
pub(super) struct Standing {
    /// Offset of the next input record.
    pub(super) next: i64,
    pub(super) numbering: Numbering,
    /// Input records whose outputs are under way.
    pub(super) in_flight: usize,
    /// Whether the task sends nothing more.
    pub(super) stopped: bool,
}

impl Progress {
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(&mut self.0.lock())
    }
}

impl TaskProgress for Progress {
    fn commit(&self, settled: bool) -> (i64, String) {
        let mut standing = self.0.lock();
        standing.numbering.is_clean = (settled || standing.stopped) && standing.in_flight == 0;
        (standing.next, standing.numbering.to_string())
    }
}

/// Records of a task in each partition of each output.
pub(super) type Written = Vec<Vec<VecDeque<WrittenRecord>>>;

/// A task that may go on.
pub(super) struct Begun {
    pub(super) progress: Arc<Progress>,
    pub(super) producer_id: i64,
    /// The records that are written beyond the commit, in the order of their numbers. None of the changelog.
    pub(super) written: Written,
    /// What the changelog has beyond the commit; nothing if outputs are not recorded.
    pub(super) recorded: ChangelogTail,
}

/// Takes a task over: stores the own epoch in the group, waits for appends of the owner before, and reads what it has written.
///
/// # Errors
/// [`ErrorKind::InvalidConfig`] where the task belongs to another processor or its outputs have changed; errors of the look-up,
/// see [`read_written`].
pub(super) async fn take_over(
    context: &TaskContext,
    engine: &SharedEngine,
    lease: &TaskLease,
    facts: &TaskFacts,
) -> Result<Begun> {
    let stored = stored_numbering(context, lease, facts)?;
    patiently(|| Box::pin(changelog::ensure_partition(context, lease.partition()))).await?;
    let (before, needs_wait) = match stored {
        Some(numbering) => (numbering.clone().take_over(), !numbering.is_clean),
        None => {
            let ends = patiently(|| Box::pin(ends(context, lease.partition()))).await?;
            (Numbering::begin(ends), false)
        }
    };
    let standing =
        Standing { next: facts.next.unwrap_or(facts.start), numbering: before, in_flight: 0, stopped: false };
    let progress = Arc::new(Progress(Mutex::new(standing)));
    lease.store(Arc::clone(&progress) as _);
    let wait = if needs_wait { late_appends(context, facts) } else { Duration::ZERO };
    begin(context, engine, lease, (progress, wait)).await
}

/// Begins the same task once more, after an append of it has failed.
///
/// # Errors
/// As [`take_over`].
pub(super) async fn begin_again(
    context: &TaskContext,
    engine: &SharedEngine,
    lease: &TaskLease,
    progress: Arc<Progress>,
) -> Result<Begun> {
    progress.update(|standing| {
        standing.numbering = standing.numbering.clone().take_over();
        standing.in_flight = 0;
    });
    begin(context, engine, lease, (progress, context.late)).await
}

/// Stores the epoch, waits for appends under earlier ones, and reads what is written.
async fn begin(
    context: &TaskContext,
    engine: &SharedEngine,
    lease: &TaskLease,
    (progress, wait): (Arc<Progress>, Duration),
) -> Result<Begun> {
    store(context, lease).await;
    sleep(wait).await;
    let numbering = progress.update(|standing| standing.numbering.clone());
    let task = lease.partition();
    let producer_id =
        task_id(&context.topics.group, context.topics.from.as_str(), numbering.incarnation, task);
    let mut recorded = ChangelogTail::default();
    // Before the outputs: what an earlier owner has sent comes from what it has recorded.
    if let (Some(settings), Some(numbers)) = (context.changelog(), numbering.outputs.last()) {
        let (at, numbers) = (settings.at(0, task), numbers.partitions.first().copied());
        let identity = ProducerIdentity { id: producer_id, epoch: numbering.epoch, first_sequence: 0 };
        let numbers = numbers.unwrap_or(PartitionNumbers { next: 0, hint: 0 });
        recorded = changelog::read(context, engine, &at, (identity, numbers)).await?;
        if recorded.entries.is_empty() {
            // Nothing waits for what is there, so that retention may remove it.
            let unused = std::mem::take(&mut recorded);
            progress.update(|standing| {
                let numbers =
                    standing.numbering.outputs.last_mut().and_then(|output| output.partitions.first_mut());
                if let Some(numbers) = numbers {
                    numbers.advance(unused.records, unused.end);
                }
            });
        }
    }
    let written = patiently(|| Box::pin(read_all(context, &numbering.outputs, (producer_id, task)))).await?;
    Ok(Begun { progress, producer_id, written, recorded })
}

/// Stores the numbering and the epoch, before the first append under them.
async fn store(context: &TaskContext, lease: &TaskLease) {
    while let Err(error) = context.member.store_tasks().await {
        tracing::debug!(partition = lease.partition(), %error, "the begin of a task is not stored yet");
        // The caller ends with the lease.
        sleep(RETRY_DELAY).await;
    }
}

/// The time that appends of the owner before may still be on their way.
fn late_appends(context: &TaskContext, facts: &TaskFacts) -> Duration {
    // A restart under the same name takes over while its predecessor may go on until it fences itself.
    let fence = if facts.by_join { context.session * 4 / 5 } else { Duration::ZERO };
    if context.late.is_zero() { Duration::ZERO } else { context.late + fence }
}

/// Returns the numbering that the group has stored, if there is one.
fn stored_numbering(
    context: &TaskContext,
    lease: &TaskLease,
    facts: &TaskFacts,
) -> Result<Option<Numbering>> {
    let refuse = |message: String| {
        Err(Error::new(ErrorKind::InvalidConfig, message)
            .with_topic(&context.topics.from)
            .with_partition(lease.partition()))
    };
    if facts.metadata.is_empty() {
        return match facts.in_engine {
            Some(stored) => refuse(format!(
                "the group {:?} has no progress of the partition, but an older stored offset, {stored}: the records of the group \
                 have expired, or it was not shared before. `floe group reset` says where to begin, which may write records a \
                 second time",
                context.topics.group
            )),
            None => Ok(None),
        };
    }
    let numbering = context.topics.read_numbering(context.topics.from.as_str(), &facts.metadata)?;
    for (known, now) in numbering.outputs.iter().zip(&context.outputs) {
        if known.partitions.len() != now.partitions as usize {
            return refuse(format!(
                "the topic {} has {} partitions and had {} when the processor began: keys would change their partition. Let it \
                 write to a new topic under another group, or reset the group",
                now.topic,
                now.partitions,
                known.partitions.len()
            ));
        }
    }
    Ok(Some(numbering))
}

/// Returns the ends of all output partitions, as the numbers of a task that has written nothing.
async fn ends(context: &TaskContext, task: u32) -> Result<Vec<OutputNumbers>> {
    let mut outputs = Vec::new();
    for output in &context.outputs {
        let end = |number: u32| -> BoxFuture<'_, Result<PartitionNumbers>> {
            let at = output.at(number, task);
            Box::pin(async move {
                Ok(PartitionNumbers { next: 0, hint: context.client.engine().watermarks(at).await?.high })
            })
        };
        let lookups: Vec<_> = (0..output.partitions).map(end).collect();
        let partitions = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        outputs.push(OutputNumbers { topic: output.topic.clone(), partitions });
    }
    Ok(outputs)
}

async fn read_all(
    context: &TaskContext,
    outputs: &[OutputNumbers],
    (producer_id, task): (i64, u32),
) -> Result<Written> {
    let from = context.topics.from.as_str();
    let mut written = Vec::new();
    for (output, settings) in outputs.iter().zip(&context.outputs) {
        let read = |(number, numbers): (u32, &PartitionNumbers)| -> BoxFuture<'_, Result<VecDeque<_>>> {
            let (at, numbers) = (settings.at(number, task), *numbers);
            if settings.per_task {
                return Box::pin(ready(Ok(VecDeque::new())));
            }
            Box::pin(async move {
                let engine = &**context.client.engine();
                // The first record of a number is the one that readers have.
                read_written(engine, &at, (producer_id, numbers), |known, _, record| {
                    let contents = (record.key.as_deref(), &record.value[..]);
                    known.is_none().then(|| Fingerprint::of((from, task), contents, record.headers.iter()))
                })
                .await
            })
        };
        let lookups: Vec<_> = (0..).zip(&output.partitions).map(read).collect();
        written.push(stream::iter(lookups).buffered(LOOKUPS).try_collect().await?);
    }
    Ok(written)
}
