//! The only place that forwards the engine's methods through a layer.

use std::sync::Arc;

use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{Layer, Operation};
use crate::{
    Result,
    engine::{
        AppendAck, AppendRequest, BatchReader, CommittedOffset, Engine, EngineInfo, Health, ReadRequest,
        SharedEngine, Watermarks,
    },
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec},
};

/// An engine with a layer around every call.
#[derive(Debug)]
pub struct Layered<L> {
    layer: L,
    inner: SharedEngine,
    name: &'static str,
}

impl<L: Layer> Layered<L> {
    /// Puts `layer` around `inner`.
    #[must_use]
    pub fn new(layer: L, inner: SharedEngine) -> Self {
        let name = inner.info().name;
        Self { layer, inner, name }
    }

    fn call(&self, name: &'static str, repeatable: bool) -> Operation {
        Operation {
            engine: self.name,
            name,
            repeatable,
            ordered: false,
            topic: None,
            partition: None,
            bytes: 0,
            records: 0,
        }
    }

    fn on_topic(&self, name: &'static str, repeatable: bool, topic: &Topic) -> Operation {
        Operation { topic: Some(topic.clone()), ..self.call(name, repeatable) }
    }

    fn on_partition(&self, name: &'static str, at: &TopicPartition) -> Operation {
        Operation { partition: Some(at.partition), ..self.on_topic(name, true, &at.topic) }
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

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        let operation = Operation {
            repeatable: false,
            ordered: true,
            bytes: request.batch.len(),
            records: request.batch.header().offset_span(),
            ..self.on_partition("append", &request.target)
        };
        self.run(operation, move || self.inner.append(request.clone()))
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn BatchReader>>> {
        let operation = self.on_partition("open", &request.source);
        Box::pin(async move {
            let reader = self.layer.around(&operation, move || self.inner.open(request.clone())).await?;
            Ok(self.layer.wrap_reader(&operation, reader))
        })
    }

    fn watermarks(&self, of: TopicPartition) -> BoxFuture<'_, Result<Watermarks>> {
        self.run(self.on_partition("watermarks", &of), move || self.inner.watermarks(of.clone()))
    }

    fn log_end(&self, of: TopicPartition) -> BoxFuture<'_, Result<i64>> {
        self.run(self.on_partition("log_end", &of), move || self.inner.log_end(of.clone()))
    }

    fn offset_for_time(&self, of: TopicPartition, timestamp: i64) -> BoxFuture<'_, Result<Option<i64>>> {
        self.run(self.on_partition("offset_for_time", &of), move || {
            self.inner.offset_for_time(of.clone(), timestamp)
        })
    }

    fn commit(&self, group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<()>> {
        let operation = match positions.as_slice() {
            [(only, _)] => self.on_partition("commit", only),
            [(first, _), ..] => self.on_topic("commit", true, &first.topic),
            [] => self.call("commit", true),
        };
        self.run(operation, move || self.inner.commit(Arc::clone(&group), positions.clone()))
    }

    fn committed(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<Option<i64>>> {
        self.run(self.on_partition("committed", &at), move || {
            self.inner.committed(Arc::clone(&group), at.clone())
        })
    }

    fn list_committed(&self, group: Option<Arc<str>>) -> BoxFuture<'_, Result<Vec<CommittedOffset>>> {
        self.run(self.call("list_committed", true), move || self.inner.list_committed(group.clone()))
    }

    fn forget(&self, group: Arc<str>, at: TopicPartition) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_partition("forget", &at), move || self.inner.forget(Arc::clone(&group), at.clone()))
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>>> {
        self.run(self.call("topics", true), move || self.inner.topics())
    }

    fn topic(&self, name: Topic) -> BoxFuture<'_, Result<TopicInfo>> {
        self.run(self.on_topic("topic", true, &name), move || self.inner.topic(name.clone()))
    }

    fn create_topic(&self, spec: TopicSpec) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic("create_topic", false, &spec.name), move || {
            self.inner.create_topic(spec.clone())
        })
    }

    fn add_partitions(&self, name: Topic, total: u32) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic("add_partitions", true, &name), move || {
            self.inner.add_partitions(name.clone(), total)
        })
    }

    fn delete_topic(&self, name: Topic) -> BoxFuture<'_, Result<()>> {
        self.run(self.on_topic("delete_topic", false, &name), move || self.inner.delete_topic(name.clone()))
    }

    fn watch(&self) -> BoxFuture<'_, Result<BoxStream<'static, Result<TopicEvent>>>> {
        self.run(self.call("watch", true), move || self.inner.watch())
    }

    fn health(&self) -> BoxFuture<'_, Result<Health>> {
        self.run(self.call("health", true), move || self.inner.health())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.run(self.call("close", true), move || self.inner.close())
    }
}
