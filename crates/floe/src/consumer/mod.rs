//! Reading topics: prefetching, offsets, groups, gaps.
//!
//! ```text
//!  engine reader ─► fetch task ──► queue ─┐
//!  engine reader ─► fetch task ──► queue ─┼─► round-robin ─► current batch ─► decoder ─► Message
//!  engine reader ─► fetch task ──► queue ─┘         │
//!   one for each     checks batches,   one bound    └─► whole batches ─► RecordBatch
//!   partition        reopens readers   on memory
//!
//!  finished records ─► acknowledgements of each partition ─► committer ─► stored offsets of the group
//! ```
//!
//! A fetch task reads the batches of one partition, checks them, and queues them; it stops at the bound on prefetched memory.
//! The consumer takes batches from the queues round-robin and hands out their records as slices of the received bytes.
//!
//! # Guarantees
//! - Every record is read once and in order within its partition, or a [`Gap`] reports the missing offsets. A reader that
//!   fails is reopened at the next offset; see [`ConsumerBuilder::retry`].
//! - Stored offsets are never ahead of finished records; see [`AckMode`]. After a crash or a dropped consumer, records that
//!   were finished but not stored are read again.
//! - On engines without offsets each consumer numbers the records from 0, drops duplicate batches of producers that identify
//!   themselves, and has no group. Where reading removes records, prefetched records are lost with the consumer.
//!
//! # Growing topics
//! A consumer of all partitions also reads the partitions that are added to the topic, from their beginning or from the
//! stored offset of its group. With [`ConsumerBuilder::partitions`] or [`ConsumerBuilder::stop_at_end`] it keeps to the
//! partitions that existed at its start.
//!
//! # The end of a consumer
//! [`Consumer::try_next`] returns `None`, repeatedly, when all partitions have ended: at the end with
//! [`ConsumerBuilder::stop_at_end`], after a permanent error (returned once; the other partitions continue), after the error
//! [`ErrorKind::TopicNotFound`] when the topic was deleted (records read before it come first), and after
//! [`ErrorKind::Closed`] when the client was closed.

mod ack_tracker;
mod builder;
mod checked_batch;
mod chunk;
mod commit;
pub mod dead_letter;
mod fetch;
mod fetch_range;
mod for_each;
pub(crate) mod group;
mod message;
mod offset_check;
mod partition;
mod partition_discovery;
mod poll;
mod prefetch_queue;
mod process;
mod rate_limit;
mod raw_batch_reader;
mod reconnect;
mod seek;
mod settings;
mod start_position;
mod start_text;
mod task_facts;
mod task_filter;
mod task_lease;
#[cfg(test)]
mod tests;
mod undecodable;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle, time::Instant};

pub use builder::ConsumerBuilder;
pub use fetch_range::FetchLimit;
use floe_core::gap;
pub use floe_core::gap::{Gap, GapReason};
pub use floe_wire::batch::{BorrowedHeaders, BorrowedRecord, Headers, RecordView};
pub use group::{Fence, GroupEvent, Membership};
pub use message::{Message, RecordBatch};
pub use settings::{AckMode, CommitPolicy, GapPolicy};
pub use start_position::StartAt;
pub use undecodable::{OnUndecodable, Undecodable};

use self::{
    chunk::Chunk,
    commit::{CommitTrigger, OffsetCommitter},
    group::MemberHandle,
    partition::{AbortOnDrop, Partition},
    prefetch_queue::{PrefetchQueue, Prefetched},
    rate_limit::RateLimit,
    settings::Settings,
    undecodable::UndecodableHandler,
};
use crate::{
    Error, ErrorKind, Result,
    client_core::ClientComponent,
    engine::SharedEngine,
    health::ComponentHealth,
    payload::{DecodeFailure, PayloadCodec, RecordDecoder, Untyped},
    telemetry::{ConsumerTelemetry, Queue},
    topic::{Topic, TopicPartition},
};

pub(crate) use fetch_range::fetch_range;
pub(crate) use raw_batch_reader::RawBatchReader;
pub(crate) use start_position::resolve_offset;
pub(crate) use task_facts::{TaskFacts, TaskProgress};
pub(crate) use task_lease::{TaskKeeper, TaskLease};

/// Partitions whose watermarks are requested concurrently for [`Consumer::lag`].
const LOOKUPS: usize = 64;

/// Reads the records of a topic; from [`Client::consumer`](crate::Client::consumer).
///
/// The parameter is the codec of the values: [`Untyped`] returns bytes, and [`ConsumerBuilder::json`] and the like choose a
/// [`PayloadCodec`]. Dropping the consumer stops all reading and commits nothing; [`Consumer::close`] commits.
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
pub struct Consumer<C = Untyped> {
    core: ConsumerCore,
    codec: C,
    undecodable: UndecodableHandler,
}

/// The part of a consumer that does not depend on the codec.
struct ConsumerCore {
    shared: Arc<ConsumerShared>,
    group: Option<Arc<str>>,
    settings: Settings,
    partitions: Vec<Partition>,
    /// Number of a partition to its index in `partitions`.
    indexes: HashMap<u32, usize>,
    /// The batch that messages are taken from, and the index of its partition.
    current: Option<(usize, RecordBatch)>,
    /// The position after the record handed out last, which is finished by the next call.
    handed_out: Option<(usize, i64)>,
    /// The records of a chunk.
    chunk: Chunk,
    rate_limit: RateLimit,
    /// With [`CommitPolicy::PerRecord`]: whether a record was handed out since the last commit.
    commit_due: bool,
    /// A commit in flight. It is a task, so that a dropped call does not lose it.
    committing: Option<JoinHandle<Result<()>>>,
    /// Latest gaps, the newest last.
    gaps: VecDeque<Gap>,
    ended: bool,
    deleted: bool,
    telemetry: ConsumerTelemetry,
    /// Commits at the interval.
    _committer: Option<AbortOnDrop>,
    /// Adds new partitions.
    _discovery: Option<AbortOnDrop>,
    /// Measures the lag.
    _lag: AbortOnDrop,
}

/// The part of a consumer that its client closes.
#[derive(Debug)]
struct ConsumerShared {
    engine: SharedEngine,
    topic: Topic,
    group: Option<Arc<str>>,
    queue: Arc<PrefetchQueue>,
    commits: Option<Arc<OffsetCommitter>>,
    /// The member of a shared group, which commits by its heartbeats.
    member: Option<MemberHandle>,
    /// Whether the policy commits, and not only the application.
    by_policy: bool,
}

impl ConsumerShared {
    /// Whether reading removes records for good.
    fn reading_removes(&self) -> bool {
        let capabilities = self.engine.info().capabilities;
        capabilities.consuming_reads && !capabilities.offsets
    }

    /// Closes the queues, and returns the number of records in them if reading has removed these from the topic.
    fn take_lost(&self) -> usize {
        let queued = self.queue.held().1;
        self.queue.close();
        if self.reading_removes() { queued } else { 0 }
    }

    fn report_lost(&self, records: usize) -> Result<()> {
        if records == 0 {
            return Ok(());
        }
        let message =
            format!("{records} records were taken from the topic and not handed out: they are lost");
        Err(Error::new(ErrorKind::Gap, message).with_topic(&self.topic))
    }

    /// Whether the consumer has a group to commit for.
    fn commits(&self) -> bool {
        self.commits.is_some() || self.member.is_some()
    }

    async fn commit(&self, trigger: CommitTrigger) -> Result<()> {
        match (&self.commits, &self.member) {
            (Some(commits), _) => commits.commit(trigger).await,
            (None, Some(member)) => member.commit(trigger).await,
            (None, None) => Ok(()),
        }
    }

    async fn commit_by_policy(&self) -> Result<()> {
        if self.by_policy { self.commit(CommitTrigger::Policy).await } else { Ok(()) }
    }

    /// Commits what the policy still has to commit, and leaves a shared group.
    async fn leave_group(&self) -> Result<()> {
        match &self.member {
            Some(member) => member.close().await,
            None => self.commit_by_policy().await,
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

impl ClientComponent for ConsumerShared {
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let lost = self.take_lost();
            tokio::time::timeout_at(deadline, self.leave_group()).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::RequestTimeout, "the last commit timed out")
                    .with_operation("commit"))
            })?;
            self.report_lost(lost)
        })
    }

    fn health(&self) -> ComponentHealth {
        let topic = &self.topic;
        let mut health = ComponentHealth::new("consumer", topic).queue(self.used(), self.limit());
        health.group = self.group.clone();
        let cut_off = self.member.as_ref().filter(|member| member.is_fenced());
        health.finding = cut_off.map(MemberHandle::group).map(|group| {
            format!(
                "the member of the group {group} on {topic} is cut off: no heartbeat of it came back in time"
            )
        });
        health
    }
}

impl<C: RecordDecoder> Consumer<C> {
    /// Returns the next record; waits for one. `None` when the consumer has ended: see the end of the [module](self).
    ///
    /// With [`AckMode::Auto`] this call finishes the record handed out before.
    ///
    /// # Errors
    /// Most errors concern one record or one partition, and the next call continues: [`ErrorKind::Gap`] with
    /// [`GapPolicy::Fail`]; [`ErrorKind::DeserializationError`] with [`OnUndecodable::Fail`]; an error of the dead-letter
    /// topic, which the next call retries; a permanent error of a partition; [`ErrorKind::BufferFull`] when 65,536 separate
    /// runs of records of a partition await their acknowledgement; a failed commit with [`CommitPolicy::PerRecord`], which
    /// the next call retries. [`ErrorKind::TopicNotFound`] and [`ErrorKind::Closed`] end the consumer.
    ///
    /// # Cancel safety
    /// Dropping the future neither loses nor duplicates a record.
    pub async fn try_next(&mut self) -> Result<Option<Message<C::Value>>> {
        while poll_fn(|cx| self.poll_ready(cx)).await? {
            if let Some(message) = self.take_message() {
                return message.map(Some);
            }
        }
        Ok(None)
    }

    /// Returns at most `max` records, gathered for at most `wait` after the first one, for which the call waits without a
    /// limit. Empty when the consumer has ended. A chunk ends before a record that does not decode.
    ///
    /// With [`AckMode::Auto`] the next call finishes all of them.
    ///
    /// # Errors
    /// As [`Consumer::try_next`]; records gathered before the error come first.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record: the next call of this or of [`Consumer::try_next`] returns the gathered ones.
    pub async fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message<C::Value>>> {
        loop {
            self.send_undecodable().await?;
            self.core.gather_chunk(max, wait).await?;
            match self.core.chunk.decode(&self.codec) {
                Ok(messages) => return Ok(messages),
                Err(refused) => self.handle_undecodable(refused.0, refused.1)?,
            }
        }
    }

    /// Waits until [`Consumer::take_message`] may have a record; `false` at the end.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.undecodable.is_sending() {
            ready!(self.undecodable.poll_sent(cx))?;
        }
        self.core.poll_record(cx)
    }

    /// Takes a record. `None` if the caller has to wait once more.
    #[inline]
    fn take_message(&mut self) -> Option<Result<Message<C::Value>>> {
        match self.core.take_record(&self.codec)? {
            Ok(message) => Some(Ok(message)),
            Err(refused) => self.handle_undecodable(refused.0, refused.1.into()).err().map(Err),
        }
    }

    #[cold]
    fn handle_undecodable(&mut self, message: Message<()>, failure: DecodeFailure) -> Result<()> {
        let DecodeFailure { bytes, cause } = failure;
        self.undecodable.handle(Undecodable::new(message.map(|()| bytes), C::FORMAT, cause))
    }
}

impl<C: PayloadCodec> Consumer<C> {
    /// Returns how many records did not decode.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable.count()
    }
}

impl<C> Consumer<C> {
    /// Returns the next records that were stored together; waits for them. Much faster than single records, and their values
    /// are bytes whatever the codec. Mixes with [`Consumer::try_next`]: the rest of a batch comes first.
    ///
    /// A batch counts as one record for [`AckMode::Auto`] and [`CommitPolicy::PerRecord`].
    ///
    /// # Errors
    /// As [`Consumer::try_next`].
    ///
    /// # Cancel safety
    /// As [`Consumer::try_next`].
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.send_undecodable().await?;
        poll_fn(|cx| self.core.poll_batch(cx)).await.transpose()
    }

    /// Stores the offsets of the group: the end of the finished records, or the start of reading in partitions without
    /// finished records. With [`AckMode::Auto`] all records handed out so far count as finished. After a seek back, this call
    /// moves the stored offset back.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] without a group; errors of the engine and of the dead-letter topic.
    ///
    /// # Cancel safety
    /// If the future is dropped, the offsets may or may not be stored.
    pub async fn commit(&mut self) -> Result<()> {
        self.send_undecodable().await?;
        self.core.finish_handed_out();
        if !self.core.shared.commits() {
            return Err(Error::new(ErrorKind::InvalidCommand, "the consumer has no group to commit for"));
        }
        self.core.shared.commit(CommitTrigger::Application).await?;
        self.core.commit_due = false;
        Ok(())
    }

    /// Hands out no records of these partitions until [`Consumer::resume`]. Prefetched records are kept. Partitions that the
    /// consumer does not read are ignored.
    pub fn pause(&mut self, partitions: &[u32]) {
        let core = &mut self.core;
        for index in core.indexes_of(partitions) {
            core.shared.queue.pause(index);
            if let Some((_, rest)) = core.current.take_if(|(current, _)| *current == index)
                && !rest.is_empty()
            {
                core.shared.queue.put_back(index, Prefetched::Rest(rest));
            }
        }
    }

    /// Ends a [`Consumer::pause`].
    pub fn resume(&mut self, partitions: &[u32]) {
        for index in self.core.indexes_of(partitions) {
            self.core.shared.queue.resume(index);
        }
    }

    /// Returns the offset of the next record of a partition; `None` for a partition that this consumer does not read.
    #[must_use]
    pub fn position(&self, partition: u32) -> Option<i64> {
        let index = self.core.indexes.get(&partition)?;
        self.core.partitions.get(*index).map(|partition| partition.position)
    }

    /// Returns the number of offsets between the positions and the ends of all partitions.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine has no offsets; errors of the engine.
    pub async fn lag(&self) -> Result<u64> {
        let engine = &self.core.shared.engine;
        let info = engine.info();
        if !info.capabilities.offsets {
            return Err(Error::unsupported("offsets", info.name));
        }
        let positions: Vec<_> = self.core.partitions.iter().map(|p| (p.at.clone(), p.position)).collect();
        let lags = positions.into_iter().map(|(at, position)| async move {
            Ok::<_, Error>(engine.watermarks(at).await?.lag(position).unwrap_or(0))
        });
        stream::iter(lags)
            .buffer_unordered(LOOKUPS)
            .try_fold(0u64, |sum, lag| async move { Ok(sum.saturating_add(lag)) })
            .await
    }

    /// Returns the newest 1,000 gaps; none with [`GapPolicy::Skip`].
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.core.gaps.iter().cloned().collect()
    }

    /// Returns the membership in the shared group.
    pub(crate) fn member(&self) -> Option<&MemberHandle> {
        self.core.shared.member.as_ref()
    }

    /// Returns the changes of the partitions of a member of a shared group from now on; none without
    /// [`ConsumerBuilder::shared`]. A stream that is not read for 256 events loses the oldest.
    pub fn group_events(&self) -> impl Stream<Item = GroupEvent> + Send + use<C> {
        let events = self.core.shared.member.as_ref().map(MemberHandle::events);
        stream::unfold(events, async |mut events| {
            loop {
                match events.as_mut()?.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }

    /// Stops reading. With a group, and unless the policy is [`CommitPolicy::Manual`], stores the offsets of finished
    /// records; with [`AckMode::Auto`] these include the record handed out last.
    ///
    /// # Errors
    /// An error of the dead-letter topic, after which nothing is committed; an error of the engine. Where reading removes
    /// records, as on Walrus: [`ErrorKind::Gap`] with the number of records that were removed and not handed out, such as
    /// the rest of a batch. The consumer is closed in all cases.
    pub async fn close(mut self) -> Result<()> {
        self.send_undecodable().await?;
        self.undecodable.close().await?;
        let Self { mut core, .. } = self;
        core.finish_handed_out();
        let lost = core.take_lost();
        core.shared.queue.close();
        // Offsets of a deleted topic are gone with it.
        if !core.deleted {
            core.shared.leave_group().await?;
        }
        core.shared.report_lost(lost)
    }

    /// Returns the records that were handed out and not acknowledged, with [`AckMode::Explicit`]: for each partition that has
    /// some, the offset of the first and their number. Those that another member of the group may have are not among them.
    pub(crate) fn unacknowledged(&self) -> Vec<(TopicPartition, i64, u64)> {
        let of = |partition: &Partition| {
            if partition.acks.is_lost() {
                return None;
            }
            let (first, records) = partition.acks.unacknowledged()?;
            Some((partition.at.clone(), first, records))
        };
        self.core.partitions.iter().filter_map(of).collect()
    }

    /// Waits until no record is on its way to the dead-letter topic.
    async fn send_undecodable(&mut self) -> Result<()> {
        poll_fn(|cx| self.undecodable.poll_sent(cx)).await
    }
}

/// Tells of records that are lost with a consumer that is not closed.
impl Drop for ConsumerCore {
    fn drop(&mut self) {
        let records = self.take_lost();
        if records > 0 {
            let topic = &self.shared.topic;
            tracing::warn!(%topic, records, "records were taken from the topic and not handed out: they are lost");
        }
    }
}

impl ConsumerCore {
    /// Drops the records that wait to be handed out, and returns their number if reading has removed them from the topic.
    fn take_lost(&mut self) -> usize {
        let rest = self.current.take().map_or(0, |(_, rest)| rest.len());
        let rest = rest + self.chunk.take_all();
        if self.shared.reading_removes() { rest + self.shared.take_lost() } else { 0 }
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

/// A codec is never pinned.
impl<C> Unpin for Consumer<C> {}

/// The stream continues after errors of one record or one partition, and ends as [`Consumer::try_next`] does.
impl<C: RecordDecoder> Stream for Consumer<C> {
    type Item = Result<Message<C::Value>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.poll_ready(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if let Some(message) = self.take_message() {
                return Poll::Ready(Some(message));
            }
        }
    }
}

impl<C> fmt::Debug for Consumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions: Vec<_> = self.core.partitions.iter().map(|p| (p.at.partition, p.position)).collect();
        f.debug_struct("Consumer")
            .field("topic", &self.core.shared.topic)
            .field("group", &self.core.group)
            .field("positions", &positions)
            .finish_non_exhaustive()
    }
}
