//! The model with one injected fault.

mod reader;
mod rewrite;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use floe::{
    Error, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    engine::{
        AppendAck, AppendRequest, BatchReader, Capabilities, CommittedOffset, Engine, EngineInfo, Health,
        ReadRequest, Start, Watermarks,
    },
    topic::{TopicEvent, TopicInfo},
};
use floe_conformance::Model;
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use reader::LyingReader;

/// The fault of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    // Appends.
    DropEveryTenth,
    RepeatEveryTenth,
    SwapNeighbours,
    WrongOffsetInAck,
    AckBeforeStore,
    StoreInAnyOrder,
    IgnoreEpochs,
    IgnoreConditions,
    StoreAgainWhenDropped,
    EverythingInPartition0,
    Decompress,
    // Reads.
    HangAfterFive,
    HangAfterFirstLook,
    EndInsteadOfWaiting,
    LoseBatchWhenDropped,
    SkipBatchAtStart,
    SkipToNextBatch,
    AcceptAnyOffset,
    LatestIsEarliest,
    NeverLargerThanAsked,
    HangWhenDeleted,
    OneCursorForAll,
    // Contents.
    FlipByte,
    FlipByteKeepChecksum,
    TextOnly,
    SpaceForEmpty,
    DropHeaders,
    LastHeaderWins,
    ZeroTimestamps,
    EmptyKeyIsNone,
    // Offsets and times.
    HighTooHigh,
    TimeOfBatch,
    StoreOneAhead,
    LoseCommits,
    ForgetNothing,
    OneGroup,
    // Topics and life.
    DeleteNothing,
    DeleteKeepsRecords,
    DeleteKeepsOffsets,
    CreateAgain,
    CreateUnknown,
    AddNothing,
    ListBackwards,
    SilentWatch,
    NeverReady,
    WorkAfterClose,
}

/// The model with one fault.
#[derive(Debug, Clone)]
pub(crate) struct Liar {
    lie: Lie,
    model: Model,
    appends: Arc<AtomicUsize>,
    /// A batch held back by [`Lie::SwapNeighbours`].
    held: Arc<Mutex<Option<AppendRequest>>>,
    /// Topics that are reported as deleted and are not.
    hidden: Arc<Mutex<Vec<Topic>>>,
    /// Committed offsets of deleted topics.
    stale: Arc<Mutex<Vec<CommittedOffset>>>,
}

impl Liar {
    pub(crate) fn new(lie: Lie) -> Self {
        let mut capabilities = Capabilities::FULL;
        capabilities.append_window = 4;
        capabilities.consuming_reads = lie == Lie::OneCursorForAll;
        Self {
            lie,
            model: Model::with_capabilities(capabilities),
            appends: Arc::default(),
            held: Arc::default(),
            hidden: Arc::default(),
            stale: Arc::default(),
        }
    }

    fn check_hidden(&self, topic: &Topic) -> Result<()> {
        if self.hidden.lock().contains(topic) {
            return Err(Error::new(ErrorKind::TopicNotFound, "no such topic"));
        }
        Ok(())
    }

    async fn lying_append(&self, mut request: AppendRequest) -> Result<AppendAck> {
        self.check_hidden(&request.target.topic)?;
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        let at = request.target.clone();
        let pretend = |offset| Ok(AppendAck::new(Some(offset)));
        match self.lie {
            Lie::DropEveryTenth if number.is_multiple_of(10) => {
                pretend(self.model.watermarks(at).await?.high)
            }
            Lie::RepeatEveryTenth if number.is_multiple_of(10) => {
                self.model.append(request.clone()).await?;
                self.model.append(request).await
            }
            Lie::SwapNeighbours if number % 4 == 2 => {
                let offset = self.model.watermarks(at).await?.high;
                *self.held.lock() = Some(request);
                pretend(offset)
            }
            Lie::SwapNeighbours => {
                let ack = self.model.append(request).await?;
                let held = self.held.lock().take();
                if let Some(held) = held {
                    self.model.append(held).await?;
                }
                Ok(ack)
            }
            Lie::WrongOffsetInAck if number.is_multiple_of(7) => {
                let ack = self.model.append(request).await?;
                Ok(AppendAck::new(ack.base_offset.map(|offset| offset + 1)))
            }
            Lie::AckBeforeStore | Lie::StoreInAnyOrder | Lie::StoreAgainWhenDropped => {
                self.append_at_the_wrong_time(number, request).await
            }
            Lie::IgnoreEpochs => {
                request.epoch = floe::engine::AppendEpoch::default();
                self.model.append(request).await
            }
            Lie::EverythingInPartition0 => {
                request.target.partition = 0;
                self.model.append(request).await
            }
            Lie::Decompress => {
                request.batch = rewrite::rewritten(&request.batch, |_| {})?;
                self.model.append(request).await
            }
            Lie::CreateUnknown => {
                // An error means that the topic exists.
                let _ = self.model.create_topic(TopicSpec::new(&at.topic)).await;
                self.model.append(request).await
            }
            _ => self.model.append(request).await,
        }
    }

    /// Stores the batch after its acknowledgement, after later batches, or once more when the call is dropped.
    async fn append_at_the_wrong_time(&self, number: usize, request: AppendRequest) -> Result<AppendAck> {
        match self.lie {
            Lie::AckBeforeStore => {
                let offset = self.model.watermarks(request.target.clone()).await?.high;
                let model = self.model.clone();
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    model.append(request).await
                });
                Ok(AppendAck::new(Some(offset)))
            }
            Lie::StoreInAnyOrder => {
                for _ in 0..(4 - number % 4) {
                    tokio::task::yield_now().await;
                }
                self.model.append(request).await
            }
            _ => {
                let mut again = StoreAgain { model: self.model.clone(), request: Some(request.clone()) };
                let ack = self.model.append(request).await?;
                tokio::task::yield_now().await;
                again.request = None;
                Ok(ack)
            }
        }
    }

    async fn lying_open(&self, mut request: ReadRequest) -> Result<Box<dyn BatchReader>> {
        self.check_hidden(&request.source.topic)?;
        let high = self.model.watermarks(request.source.clone()).await?.high;
        match (self.lie, &mut request.from) {
            (Lie::AcceptAnyOffset, Start::Offset(offset)) => *offset = (*offset).min(high),
            (Lie::LatestIsEarliest, start @ Start::Latest) => *start = Start::Earliest,
            _ => {}
        }
        let (from, max_bytes) = (request.from, request.max_bytes);
        let reader = self.model.open(request).await?;
        Ok(Box::new(LyingReader::new(self.lie, reader, from, max_bytes)))
    }

    async fn lying_delete(&self, name: Topic) -> Result<()> {
        match self.lie {
            Lie::DeleteNothing => self.model.topic(name).await.map(drop),
            Lie::DeleteKeepsRecords => {
                self.check_hidden(&name)?;
                self.model.topic(name.clone()).await?;
                self.hidden.lock().push(name);
                Ok(())
            }
            Lie::DeleteKeepsOffsets => {
                let rows = self.model.list_committed(None).await?;
                self.stale.lock().extend(rows.into_iter().filter(|row| row.at.topic == name));
                self.model.delete_topic(name).await
            }
            _ => self.model.delete_topic(name).await,
        }
    }

    async fn lying_create(&self, spec: TopicSpec) -> Result<()> {
        let hidden = {
            let mut hidden = self.hidden.lock();
            let before = hidden.len();
            hidden.retain(|name| *name != spec.name);
            before != hidden.len()
        };
        if hidden {
            return Ok(());
        }
        match self.model.create_topic(spec).await {
            Err(error) if self.lie == Lie::CreateAgain && error.kind() == ErrorKind::TopicAlreadyExists => {
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn lying_time(&self, of: TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let exact = self.model.offset_for_time(of.clone(), timestamp).await?;
        let Some(exact) = exact.filter(|_| self.lie == Lie::TimeOfBatch) else { return Ok(exact) };
        let request = ReadRequest::new(of, Start::Offset(exact)).max_bytes(1);
        let batch = self.model.open(request).await?.next().await?;
        Ok(batch.map(|batch| batch.base_offset()))
    }

    fn group(&self, group: Arc<str>) -> Arc<str> {
        if self.lie == Lie::OneGroup { "all".into() } else { group }
    }
}

/// Appends again when the append that owns it is dropped.
struct StoreAgain {
    model: Model,
    request: Option<AppendRequest>,
}

impl Drop for StoreAgain {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            let model = self.model.clone();
            // The model stores at the first poll.
            drop(tokio::spawn(async move { model.append(request).await }));
        }
    }
}

impl Engine for Liar {
    fn info(&self) -> EngineInfo {
        let mut info = self.model.info();
        info.capabilities.consuming_reads = false;
        info
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.lying_append(request))
    }

    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        match self.lie {
            Lie::IgnoreConditions => self.model.append(request),
            _ => self.model.append_at(request, end),
        }
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        Box::pin(self.lying_open(request))
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        Box::pin(async move {
            self.check_hidden(&of.topic)?;
            let mut marks = self.model.watermarks(of).await?;
            marks.high += i64::from(self.lie == Lie::HighTooHigh);
            Ok(marks)
        })
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        Box::pin(self.lying_time(of, timestamp))
    }

    fn commit(
        &self,
        group: Arc<str>,
        mut positions: Vec<(TopicPartition, i64)>,
    ) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.lie == Lie::LoseCommits {
                return Ok(());
            }
            for (_, next) in &mut positions {
                *next += i64::from(self.lie == Lie::StoreOneAhead);
            }
            self.model.commit(self.group(group), positions).await
        })
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        self.model.committed(self.group(group), at)
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        Box::pin(async move {
            let mut rows = self.model.list_committed(group.clone().map(|group| self.group(group))).await?;
            rows.extend(self.stale.lock().iter().cloned());
            if let (Lie::OneGroup, Some(group)) = (self.lie, group) {
                for row in &mut rows {
                    row.group = Arc::clone(&group);
                }
            }
            Ok(rows)
        })
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.lie == Lie::ForgetNothing {
                return Ok(());
            }
            self.model.forget(self.group(group), at).await
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        Box::pin(async move {
            let mut topics = self.model.topics().await?;
            topics.retain(|topic| !self.hidden.lock().contains(&topic.name));
            if self.lie == Lie::ListBackwards {
                topics.reverse();
            }
            Ok(topics)
        })
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        Box::pin(async move {
            self.check_hidden(&name)?;
            self.model.topic(name).await
        })
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.lying_create(spec))
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.lie == Lie::AddNothing {
                return self.model.topic(name).await.map(drop);
            }
            self.model.add_partitions(name, total).await
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.lying_delete(name))
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        Box::pin(async move {
            if self.lie == Lie::SilentWatch {
                let now = self.model.topics().await?.into_iter().map(|info| Ok(TopicEvent::Updated(info)));
                return Ok(stream::iter(now.collect::<Vec<_>>()).chain(stream::pending()).boxed());
            }
            self.model.watch().await
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        Box::pin(async move {
            let mut health = self.model.health().await?;
            health.ready &= self.lie != Lie::NeverReady;
            Ok(health)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(
            async move { if self.lie == Lie::WorkAfterClose { Ok(()) } else { self.model.close().await } },
        )
    }
}
