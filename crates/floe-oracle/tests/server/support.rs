//! A server with an official client connected to it.

use std::{collections::BTreeMap, time::Duration};

use floe_server::testkit::TestServer;
use fluvio::{
    Fluvio, FluvioAdmin, FluvioClusterConfig, Offset, RecordKey, TopicProducerPool,
    consumer::ConsumerConfigExt, metadata::topic::TopicSpec,
};
use futures_util::StreamExt as _;

/// Time limit of each wait; the client's own limits are minutes.
const LIMIT: Duration = Duration::from_secs(60);

/// Offset, key and value of a record.
pub(crate) type Seen = (i64, Option<Vec<u8>>, Vec<u8>);

/// A server and clients of it.
pub(crate) struct Cluster {
    pub(crate) server: TestServer,
    pub(crate) fluvio: Fluvio,
    pub(crate) admin: FluvioAdmin,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::over(TestServer::start().await.unwrap()).await
    }

    pub(crate) async fn over(server: TestServer) -> Self {
        let config = FluvioClusterConfig::new(server.fluvio_address());
        let fluvio = within(Fluvio::connect_with_config(&config)).await.unwrap();
        let admin = within(fluvio.admin()).await;
        Self { server, fluvio, admin }
    }

    /// Creates a topic.
    pub(crate) async fn topic(&self, name: &str, partitions: u32) {
        self.create(name, TopicSpec::new_computed(partitions, 1, None)).await;
    }

    /// Creates a topic and waits until the client knows it: the client uses only metadata from its watches, which it
    /// processes on tasks of its own.
    pub(crate) async fn create(&self, name: &str, spec: TopicSpec) {
        within(self.admin.create(name.to_owned(), false, spec)).await.unwrap();
        let known = async {
            while self.fluvio.topic_producer(name).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(known).await;
    }

    pub(crate) async fn producer(&self, topic: &str) -> TopicProducerPool {
        within(self.fluvio.topic_producer(topic)).await.unwrap()
    }

    /// Sends values without keys, and waits until they are stored.
    pub(crate) async fn send(&self, topic: &str, values: impl IntoIterator<Item = String>) {
        let producer = self.producer(topic).await;
        for value in values {
            within(producer.send(RecordKey::NULL, value)).await.unwrap();
        }
        within(producer.flush()).await.unwrap();
    }

    /// Reads from `start` to the current end, by partition.
    pub(crate) async fn read_to_end(&self, topic: &str, start: Offset) -> BTreeMap<u32, Vec<Seen>> {
        let config = ConsumerConfigExt::builder()
            .topic(topic)
            .offset_start(start)
            .disable_continuous(true)
            .build()
            .unwrap();
        let mut stream = within(self.fluvio.consumer_with_config(config)).await.unwrap();
        let mut seen: BTreeMap<u32, Vec<Seen>> = BTreeMap::new();
        while let Some(record) = within(stream.next()).await {
            let record = record.unwrap();
            let key = record.key().map(<[u8]>::to_vec);
            seen.entry(record.partition()).or_default().push((record.offset(), key, record.value().to_vec()));
        }
        seen
    }

    /// Returns offsets and values of a topic with one partition.
    pub(crate) async fn values(&self, topic: &str, start: Offset) -> Vec<(i64, String)> {
        let mut seen = self.read_to_end(topic, start).await;
        let records = seen.remove(&0).unwrap_or_default();
        records.into_iter().map(|(offset, _, value)| (offset, String::from_utf8(value).unwrap())).collect()
    }
}

/// Fails the test when a future takes longer than the limit.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("no result within a minute")
}
