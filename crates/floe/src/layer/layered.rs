//! Forwards all methods of an engine through a layer.

use std::sync::Arc;

use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{Layer, Operation, OperationKind};
use crate::{
    Result,
    engine::{
        AppendAck, AppendRequest, BatchReader, CommittedOffset, Engine, EngineInfo, Health, Placement,
        ReadRequest, SharedEngine, Watermarks,
    },
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec, TopicUpdate},
};

/// An engine whose calls pass a layer.
#[derive(Debug)]
pub struct Layered<L> {
    layer: L,
    inner: SharedEngine,
    name: &'static str,
}

impl<L: Layer> Layered<L> {
    /// Wraps `inner` in `layer`.
    #[must_use]
    pub fn new(layer: L, inner: SharedEngine) -> Self {
        let name = inner.info().name;
        Self { layer, inner, name }
    }

    fn call(&self, kind: OperationKind) -> Operation {
        Operation::new(self.name, kind)
    }

    fn on_topic(&self, kind: OperationKind, topic: &Topic) -> Operation {
        self.call(kind).with_topic(topic)
    }

    fn on_partition(&self, kind: OperationKind, at: &TopicPartition) -> Operation {
        self.on_topic(kind, &at.topic).with_partition(at.partition)
    }

    fn on_append(&self, request: &AppendRequest) -> Operation {
        self.on_partition(OperationKind::Append, &request.target)
            .with_payload(request.batch.len(), request.batch.header().offset_span())
    }

    fn run<'a, T, F>(&'a self, operation: Operation, attempt: F) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync + 'a,
    {
        Box::pin(async move { self.layer.around(&operation, attempt).await })
    }
}

#[deny(clippy::missing_trait_methods)]
impl<L: Layer> Engine for Layered<L> {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn endpoint(&self, at: Option<&TopicPartition>) -> Option<Arc<str>> {
        self.inner.endpoint(at)
    }

    fn placement(&self, of: &TopicPartition) -> Option<Placement> {
        self.inner.placement(of)
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        self.run(self.on_append(&request), move || self.inner.append(request.clone()))
    }

    fn append_at(&self, request: AppendRequest, end: i64) -> BoxFuture<'_, Result<AppendAck>> {
        self.run(self.on_append(&request), move || self.inner.append_at(request.clone(), end))
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        let operation = self.on_partition(OperationKind::Open, &request.source);
        Box::pin(async move {
            let reader = self.layer.around(&operation, move || self.inner.open(request.clone())).await?;
            Ok(self.layer.wrap_reader(&operation, reader))
        })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        self.run(self.on_partition(OperationKind::Watermarks, &of), move || self.inner.watermarks(of.clone()))
    }

    fn log_end(&self, of: TopicPartition) -> BoxFuture<'_, Result<i64>> {
        self.run(self.on_partition(OperationKind::LogEnd, &of), move || self.inner.log_end(of.clone()))
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        self.run(self.on_partition(OperationKind::OffsetForTime, &of), move || {
            self.inner.offset_for_time(of.clone(), timestamp)
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        let operation = match positions.as_slice() {
            [(only, _)] => self.on_partition(OperationKind::Commit, only),
            [(first, _), ..] => self.on_topic(OperationKind::Commit, &first.topic),
            [] => self.call(OperationKind::Commit),
        };
        self.run(operation, move || self.inner.commit(Arc::clone(&group), positions.clone()))
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        self.run(self.on_partition(OperationKind::Committed, &at), move || {
            self.inner.committed(Arc::clone(&group), at.clone())
        })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        self.run(self.call(OperationKind::ListCommitted), move || self.inner.list_committed(group.clone()))
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_partition(OperationKind::Forget, &at), move || {
            self.inner.forget(Arc::clone(&group), at.clone())
        })
    }

    fn trim(&self, at: TopicPartition, before: i64) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_partition(OperationKind::Trim, &at), move || self.inner.trim(at.clone(), before))
    }

    fn update_topic(&self, name: Topic, update: TopicUpdate) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic(OperationKind::UpdateTopic, &name), move || {
            self.inner.update_topic(name.clone(), update)
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        self.run(self.call(OperationKind::Topics), move || self.inner.topics())
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        self.run(self.on_topic(OperationKind::Topic, &name), move || self.inner.topic(name.clone()))
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic(OperationKind::CreateTopic, &spec.name), move || {
            self.inner.create_topic(spec.clone())
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic(OperationKind::AddPartitions, &name), move || {
            self.inner.add_partitions(name.clone(), total)
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic(OperationKind::DeleteTopic, &name), move || {
            self.inner.delete_topic(name.clone())
        })
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        self.run(self.call(OperationKind::Watch), move || self.inner.watch())
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        self.run(self.call(OperationKind::Health), move || self.inner.health())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.run(self.call(OperationKind::Close), move || self.inner.close())
    }
}
