//! Reading topics: prefetching, offsets, groups, gaps.
//!
//! ```text
//!  engine reader ─► fetch task ──► queue ─┐
//!  engine reader ─► fetch task ──► queue ─┼─► round-robin ─► current batch ─► Message
//!  engine reader ─► fetch task ──► queue ─┘         │
//!   one for each     checks batches,   one bound    └─► whole batches ─► RecordBatch
//!   partition        reopens readers   on memory
//!
//!  finished records ─► acks of each partition ─► committer ─► stored offsets of the group
//! ```
//!
//! A fetch task pulls batches from one partition, checks their checksums, that they decode, and that each follows the one
//! before, and queues them; it stops when the bound on prefetched memory is reached. The consumer takes batches from the
//! queues round-robin and hands their records out as slices of the bytes received.
//!
//! # Guarantees
//! - Every record comes once and in order within its partition, or a [`Gap`] tells which offsets did not come. A reader
//!   that breaks is opened again at the next offset; see [`ConsumerBuilder::reconnect`].
//! - Stored offsets are never ahead of finished records; see [`AckMode`]. After a crash or a dropped consumer, what was
//!   finished and not stored yet comes again.
//! - Engines without offsets: records are numbered from 0 in each consumer, repeats of batches that name their producer
//!   are dropped, and there are no groups. Where reading takes records away, records read ahead and not handed out are
//!   lost with the consumer.
//!
//! # Growing topics
//! A consumer of all partitions takes up those that are added to the topic, from their beginning (or from what its group
//! has stored). With [`ConsumerBuilder::partitions`] or [`ConsumerBuilder::stop_at_end`] it keeps to what there was.
//!
//! # Endings
//! [`Consumer::try_next`] gives `None`, again and again, when all partitions have ended: at the end with
//! [`ConsumerBuilder::stop_at_end`], after an error that does not pass (handed out once; the other partitions go on),
//! after the error [`ErrorKind::TopicNotFound`] when the topic was deleted (records read before it come first), and after
//! [`ErrorKind::Closed`] when the client was closed.

mod ack_tracker;
mod builder;
mod chunk;
mod commit;
mod fetch;
mod fetch_range;
mod for_each;
mod gap;
mod message;
mod offset_check;
mod partition_discovery;
mod poll;
mod prefetch_queue;
mod process;
mod rate_limit;
mod raw_batch_reader;
mod reconnect;
mod start_position;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::{task::JoinHandle, time::Instant};

pub use builder::{AckMode, CommitPolicy, ConsumerBuilder, GapPolicy};
pub use fetch_range::FetchLimit;
pub use floe_wire::batch::{BorrowedHeaders, BorrowedRecord, Headers, RecordView};
pub use gap::{Gap, GapReason};
pub use message::{Message, RecordBatch};
pub use start_position::StartAt;

use self::{
    ack_tracker::AckTracker,
    builder::Settings,
    chunk::Chunk,
    commit::{CommitTrigger, OffsetCommitter},
    fetch::{AbortOnDrop, Fetch, Outlet},
    offset_check::OffsetCheck,
    poll::share,
    prefetch_queue::{PrefetchQueue, Prefetched},
    rate_limit::RateLimit,
    start_position::resolve,
};
use crate::{
    Error, ErrorKind, Result,
    client_core::CloseWithClient,
    engine::SharedEngine,
    telemetry::{ConsumerTelemetry, Queue},
    topic::TopicPartition,
};

pub(crate) use fetch_range::fetch_range;
pub(crate) use for_each::handle_each;
pub(crate) use raw_batch_reader::RawBatchReader;

/// Partitions asked at the same time for [`Consumer::lag`].
const LOOKUPS: usize = 64;

/// Reads the records of a topic; from [`Client::consumer`](crate::Client::consumer).
///
/// Dropping it stops all reading and commits nothing: [`Consumer::close`] does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec, consumer::StartAt};
///
/// let client = Client::connect("memory:").await?;
/// client.admin().create_topic(TopicSpec::new("orders")).await?;
/// client.producer("orders").start().await?.send("one coffee").await?;
///
/// let mut orders = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
/// while let Some(message) = orders.try_next().await? {
///     assert_eq!((message.offset, &message.value[..]), (0, &b"one coffee"[..]));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    shared: Arc<ConsumerShared>,
    group: Option<Arc<str>>,
    settings: Settings,
    partitions: Vec<Partition>,
    /// Number of a partition to its index in `partitions`.
    indexes: HashMap<u32, usize>,
    /// The batch that messages are taken from, and the index of its partition.
    current: Option<(usize, RecordBatch)>,
    /// What was handed out last: it is finished when the next one is asked for.
    handed_out: Option<(usize, i64)>,
    /// The records of a chunk.
    chunk: Chunk,
    /// How fast records are handed out.
    pace: RateLimit,
    /// With [`CommitPolicy::PerRecord`]: something was handed out since the last commit.
    commit_due: bool,
    /// A commit under way. It is a task so that a call that is dropped while waiting does not lose it.
    committing: Option<JoinHandle<Result<()>>>,
    /// The newest last.
    gaps: VecDeque<Gap>,
    ended: bool,
    deleted: bool,
    telemetry: ConsumerTelemetry,
    /// OffsetCommitter on the interval, until dropped.
    _committer: Option<AbortOnDrop>,
    /// Takes up new partitions, until dropped.
    _follower: Option<AbortOnDrop>,
    /// Looks up how far behind the consumer is, until dropped.
    _lag: AbortOnDrop,
}

/// One partition of a consumer.
#[derive(Debug)]
struct Partition {
    at: TopicPartition,
    /// Offset of the next record to hand out.
    position: i64,
    /// Where to stop.
    end: Option<i64>,
    acks: Arc<AckTracker>,
    /// The fetch task.
    task: AbortOnDrop,
}

/// What the client closes.
#[derive(Debug)]
struct ConsumerShared {
    engine: SharedEngine,
    queue: Arc<PrefetchQueue>,
    commits: Option<Arc<OffsetCommitter>>,
    /// Whether anything but the application commits.
    by_policy: bool,
}

impl ConsumerShared {
    async fn commit_by_policy(&self) -> Result<()> {
        match &self.commits {
            Some(commits) if self.by_policy => commits.commit(CommitTrigger::Policy).await,
            _ => Ok(()),
        }
    }
}

impl Queue for ConsumerShared {
    fn used(&self) -> u64 {
        self.queue.held().0 as u64
    }

    fn limit(&self) -> u64 {
        self.queue.max_bytes() as u64
    }
}

impl CloseWithClient for ConsumerShared {
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.queue.close();
            tokio::time::timeout_at(deadline, self.commit_by_policy()).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::RequestTimeout, "the last commit took too long")
                    .with_operation("commit"))
            })
        })
    }
}

impl Consumer {
    /// The next record; waits for one. `None` when nothing more comes: see the end of the [module](self).
    ///
    /// With [`AckMode::Auto`] this call finishes the record handed out before.
    ///
    /// # Errors
    /// Most errors concern one partition, and the next call goes on: [`ErrorKind::Gap`] with [`GapPolicy::Fail`];
    /// whatever keeps a partition from being read for good; [`ErrorKind::BufferFull`] when 65,536 separate records of a
    /// partition wait for their acknowledgement; a failed commit with [`CommitPolicy::PerRecord`], which the next call
    /// tries again. [`ErrorKind::TopicNotFound`] and [`ErrorKind::Closed`] end the consumer.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record and repeats none.
    pub async fn try_next(&mut self) -> Result<Option<Message>> {
        while poll_fn(|cx| self.poll_record(cx)).await? {
            if let Some(message) = self.take_record(share) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The next records as they were stored together; waits for some. Much faster than single records. Mixes with
    /// [`Consumer::try_next`]: what that left of a batch comes first.
    ///
    /// A batch counts as one record for [`AckMode::Auto`] and [`CommitPolicy::PerRecord`].
    ///
    /// # Errors
    /// As [`Consumer::try_next`].
    ///
    /// # Cancel safety
    /// As [`Consumer::try_next`].
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        poll_fn(|cx| self.poll_batch(cx)).await.transpose()
    }

    /// Stores the offsets of the group: where everything before is finished, and where reading began in partitions of
    /// which nothing is. With [`AckMode::Auto`] everything handed out so far counts as finished. After a seek back,
    /// this is what moves the stored offset back.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] without a group; whatever kept the engine from storing.
    ///
    /// # Cancel safety
    /// Dropped, it may or may not have stored.
    pub async fn commit(&mut self) -> Result<()> {
        self.finish_handed_out();
        let Some(commits) = &self.shared.commits else {
            return Err(Error::new(ErrorKind::InvalidCommand, "the consumer has no group to commit for"));
        };
        commits.commit(CommitTrigger::Application).await?;
        self.commit_due = false;
        Ok(())
    }

    /// Hands out no records of these partitions until [`Consumer::resume`]. What was read ahead is kept. Partitions
    /// that the consumer does not read are passed over.
    pub fn pause(&mut self, partitions: &[u32]) {
        for index in self.indexes_of(partitions) {
            self.shared.queue.pause(index);
            if let Some((_, rest)) = self.current.take_if(|(current, _)| *current == index)
                && !rest.is_empty()
            {
                self.shared.queue.put_back(index, Prefetched::Records(rest));
            }
        }
    }

    /// Ends a [`Consumer::pause`].
    pub fn resume(&mut self, partitions: &[u32]) {
        for index in self.indexes_of(partitions) {
            self.shared.queue.resume(index);
        }
    }

    /// Goes on elsewhere in one partition, also in one that has ended. What was read ahead of it is dropped, and
    /// acknowledgements of records handed out before no longer count. The stored offset only moves back by
    /// [`Consumer::commit`]; what was finished before is committed first, unless the policy is
    /// [`CommitPolicy::Manual`].
    ///
    /// # Errors
    /// [`ErrorKind::PartitionNotFound`] for one that this consumer does not read, [`ErrorKind::OffsetOutOfRange`],
    /// [`ErrorKind::Unsupported`] where the engine has no offsets, [`ErrorKind::Closed`]. The position has not changed
    /// then.
    ///
    /// # Cancel safety
    /// Dropped, the position has not changed.
    pub async fn seek(&mut self, partition: u32, to: StartAt) -> Result<()> {
        let info = self.shared.engine.info();
        if !info.capabilities.offsets {
            return Err(Error::unsupported("offsets", info.name));
        }
        if to.needs_group() && self.group.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                "the consumer has no group with a stored offset",
            ));
        }
        let found =
            self.indexes.get(&partition).and_then(|index| Some((*index, self.partitions.get(*index)?)));
        let Some((index, moved)) = found else {
            return Err(Error::new(
                ErrorKind::PartitionNotFound,
                format!("the consumer does not read partition {partition}"),
            ));
        };
        if self.shared.queue.is_closed() {
            return Err(Error::closed("consumer"));
        }
        let at = moved.at.clone();
        self.shared.commit_by_policy().await?;
        let place = resolve(&self.shared.engine, &at, to, self.group.as_ref()).await?;

        let queue = &self.shared.queue;
        let generation = queue.restart(index);
        self.current.take_if(|(current, _)| *current == index);
        self.handed_out.take_if(|(handed_out, _)| *handed_out == index);
        self.chunk.forget(index);
        self.ended = false;
        if let Some(from) = place.wanted {
            let gap = Gap { at: at.clone(), from, to: place.next, reason: GapReason::Evicted };
            queue.push(index, generation, Prefetched::Gap(gap));
        }
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.acks.restart(place.next);
            partition.position = place.next;
            self.telemetry.stands_at(index, place.next);
            let check =
                OffsetCheck::new(place.next, partition.end, self.settings.fetch.holes(info.capabilities));
            let fetch = Fetch::new(Arc::clone(&self.shared.engine), at, self.settings.fetch.clone(), check);
            partition.task =
                AbortOnDrop::spawn(fetch.run(Outlet { queue: Arc::clone(queue), index, generation }));
        }
        Ok(())
    }

    /// Offset of the next record that will be handed out; `None` for a partition that this consumer does not read.
    #[must_use]
    pub fn position(&self, partition: u32) -> Option<i64> {
        let index = self.indexes.get(&partition)?;
        self.partitions.get(*index).map(|partition| partition.position)
    }

    /// Records between the positions and the ends of all partitions, by offsets.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine has no offsets; whatever kept it from answering.
    pub async fn lag(&self) -> Result<u64> {
        let engine = &self.shared.engine;
        let info = engine.info();
        if !info.capabilities.offsets {
            return Err(Error::unsupported("offsets", info.name));
        }
        let positions: Vec<_> = self.partitions.iter().map(|p| (p.at.clone(), p.position)).collect();
        let lags = positions.into_iter().map(|(at, position)| async move {
            let high = engine.watermarks(at).await?.high;
            Ok::<_, Error>(u64::try_from(high.saturating_sub(position)).unwrap_or(0))
        });
        stream::iter(lags)
            .buffer_unordered(LOOKUPS)
            .try_fold(0u64, |sum, lag| async move { Ok(sum.saturating_add(lag)) })
            .await
    }

    /// The gaps met so far, the newest 1,000; none with [`GapPolicy::Skip`].
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps.iter().cloned().collect()
    }

    /// Stops reading. With a group, and unless the policy is [`CommitPolicy::Manual`], stores what is finished; with
    /// [`AckMode::Auto`] that includes the record handed out last.
    ///
    /// # Errors
    /// Whatever kept the engine from storing. The consumer is closed all the same.
    pub async fn close(mut self) -> Result<()> {
        self.finish_handed_out();
        self.shared.queue.close();
        // Offsets of a deleted topic are gone with it.
        if self.deleted { Ok(()) } else { self.shared.commit_by_policy().await }
    }

    /// Records handed out and not acknowledged, with [`AckMode::Explicit`]: for each partition that has some, the offset of
    /// the first and how many.
    pub(crate) fn unacknowledged(&self) -> Vec<(TopicPartition, i64, u64)> {
        let of = |partition: &Partition| {
            let (first, records) = partition.acks.unacknowledged()?;
            Some((partition.at.clone(), first, records))
        };
        self.partitions.iter().filter_map(of).collect()
    }

    fn indexes_of(&self, partitions: &[u32]) -> Vec<usize> {
        partitions.iter().filter_map(|partition| self.indexes.get(partition).copied()).collect()
    }

    #[inline]
    fn finish_handed_out(&mut self) {
        if let Some((index, next)) = self.handed_out.take()
            && let Some(partition) = self.partitions.get(index)
        {
            partition.acks.finish_below(next);
        }
        for (index, next) in self.chunk.take_handed_out() {
            if let Some(partition) = self.partitions.get(index) {
                partition.acks.finish_below(next);
            }
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions: Vec<_> = self.partitions.iter().map(|p| (p.at.partition, p.position)).collect();
        f.debug_struct("Consumer")
            .field("topic", &self.partitions.first().map(|p| &p.at.topic))
            .field("group", &self.group)
            .field("positions", &positions)
            .finish_non_exhaustive()
    }
}
