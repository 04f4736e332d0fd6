//! Engine below the simulated server: one that lives as long as the run, or incarnations of a log on disk.

use std::{collections::BTreeMap, sync::Arc};

use floe::{
    Error, ErrorKind, Result, Topic, TopicPartition, TopicSpec,
    engine::{
        AppendAck, AppendRequest, BatchReader, CommittedOffset, Engine, EngineInfo, Health, ReadRequest,
        SharedEngine, Watermarks,
    },
    topic::{TopicEvent, TopicInfo},
};
use futures_util::{future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;
use tokio::time::Instant;

/// First offsets of acknowledged batches with the times of their acknowledgement, by partition.
pub(crate) type Acknowledged = BTreeMap<u32, Vec<(i64, Instant)>>;

/// Engine that can be replaced. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Backing {
    info: EngineInfo,
    present: Arc<Mutex<Present>>,
}

#[derive(Debug)]
struct Present {
    /// `None` while the machine is down.
    engine: Option<SharedEngine>,
    acknowledged: BTreeMap<TopicPartition, Vec<(i64, Instant)>>,
}

impl Backing {
    pub(crate) fn new(engine: SharedEngine) -> Self {
        let info = engine.info();
        let present = Present { engine: Some(engine), acknowledged: BTreeMap::new() };
        Self { info, present: Arc::new(Mutex::new(present)) }
    }

    /// Replaces the engine; `None` while there is none.
    pub(crate) fn replace(&self, engine: Option<SharedEngine>) {
        let replaced = std::mem::replace(&mut self.present.lock().engine, engine);
        // Its tasks wake as it goes, and may ask for the present engine.
        drop(replaced);
    }

    /// Returns the batches of a topic that were acknowledged since the last call.
    pub(crate) fn take_acknowledged(&self, topic: &str) -> Acknowledged {
        let all = std::mem::take(&mut self.present.lock().acknowledged);
        let of_topic = all.into_iter().filter(|(at, _)| at.topic.as_str() == topic);
        of_topic.map(|(at, batches)| (at.partition, batches)).collect()
    }

    fn engine(&self) -> Result<SharedEngine> {
        let engine = self.present.lock().engine.clone();
        engine.ok_or_else(|| Error::new(ErrorKind::Closed, "the machine is down"))
    }

    async fn append_batch(&self, request: AppendRequest) -> Result<AppendAck> {
        let (engine, at) = (self.engine()?, request.target.clone());
        let ack = engine.append(request).await?;
        let mut present = self.present.lock();
        if let Some(offset) = ack.base_offset
            && present.engine.as_ref().is_some_and(|present| Arc::ptr_eq(present, &engine))
        {
            present.acknowledged.entry(at).or_default().push((offset, Instant::now()));
        }
        Ok(ack)
    }
}

macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> BoxFuture<'_, Result<$output>> {
            Box::pin(async move { self.engine()?.$name($($argument),*).await })
        })*
    };
}

impl Engine for Backing {
    fn info(&self) -> EngineInfo {
        self.info
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendAck>> {
        Box::pin(self.append_batch(request))
    }

    forward! {
        fn append_at(request: AppendRequest, end: i64) -> AppendAck;
        fn open(request: ReadRequest) -> Box<dyn BatchReader>;
        fn watermarks(of: TopicPartition) -> Watermarks;
        fn offset_for_time(of: TopicPartition, timestamp: i64) -> Option<i64>;
        fn commit(group: Arc<str>, positions: Vec<(TopicPartition, i64)>) -> ();
        fn committed(group: Arc<str>, at: TopicPartition) -> Option<i64>;
        fn list_committed(group: Option<Arc<str>>) -> Vec<CommittedOffset>;
        fn forget(group: Arc<str>, at: TopicPartition) -> ();
        fn topics() -> Vec<TopicInfo>;
        fn topic(name: Topic) -> TopicInfo;
        fn create_topic(spec: TopicSpec) -> ();
        fn delete_topic(name: Topic) -> ();
        fn watch() -> BoxStream<'static, Result<TopicEvent>>;
        fn health() -> Health;
        fn close() -> ();
    }
}
