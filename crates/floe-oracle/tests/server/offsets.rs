//! Committed offsets of consumers.

use fluvio::{
    Offset,
    consumer::{ConsumerConfigExt, ConsumerStream, OffsetManagementStrategy},
    dataplane::{
        link::ErrorCode,
        record::{ConsumerRecord, ReplicaKey},
    },
};
use futures_util::StreamExt as _;

use crate::support::{Cluster, within};

async fn open(
    cluster: &Cluster,
    consumer: &str,
    start: Offset,
    strategy: OffsetManagementStrategy,
) -> impl ConsumerStream<Item = Result<ConsumerRecord, ErrorCode>> + use<> {
    let config = ConsumerConfigExt::builder()
        .topic("stored")
        .offset_consumer(consumer)
        .offset_start(start)
        .offset_strategy(strategy)
        .build()
        .unwrap();
    within(cluster.fluvio.consumer_with_config(config)).await.unwrap()
}

/// Returns the offsets of the next two records, and commits unless the client does.
async fn read_from(
    cluster: &Cluster,
    consumer: &str,
    start: Offset,
    strategy: OffsetManagementStrategy,
) -> [i64; 2] {
    let mut stream = open(cluster, consumer, start, strategy).await;
    let mut offsets = [0; 2];
    for offset in &mut offsets {
        *offset = within(stream.next()).await.unwrap().unwrap().offset();
    }
    if strategy == OffsetManagementStrategy::Manual {
        within(stream.offset_commit()).await.unwrap();
        within(stream.offset_flush()).await.unwrap();
    }
    offsets
}

/// Reads `count` records as `consumer`, commits, and returns the offsets.
async fn read_some(cluster: &Cluster, consumer: &str, count: usize) -> Vec<i64> {
    let manual = OffsetManagementStrategy::Manual;
    let mut stream = open(cluster, consumer, Offset::beginning(), manual).await;
    let mut offsets = Vec::new();
    for _ in 0..count {
        offsets.push(within(stream.next()).await.unwrap().unwrap().offset());
        within(stream.offset_commit()).await.unwrap();
    }
    within(stream.offset_flush()).await.unwrap();
    offsets
}

async fn stored(cluster: &Cluster) -> Vec<(String, String, u32, i64)> {
    let rows = within(cluster.fluvio.consumer_offsets()).await.unwrap();
    rows.into_iter().map(|row| (row.consumer_id, row.topic, row.partition, row.offset)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_goes_on_where_it_stopped() {
    let cluster = Cluster::start().await;
    cluster.topic("stored", 1).await;
    cluster.send("stored", (0..10).map(|number| number.to_string())).await;
    assert_eq!(read_some(&cluster, "one", 3).await, [0, 1, 2]);
    assert_eq!(read_some(&cluster, "one", 4).await, [3, 4, 5, 6]);
    assert_eq!(read_some(&cluster, "two", 1).await, [0]);
    let row = |consumer: &str, offset| (consumer.to_owned(), "stored".to_owned(), 0, offset);
    assert_eq!(stored(&cluster).await, [row("one", 6), row("two", 0)], "the last record that is done with");

    // The same committed offset in floe: the next record to read.
    let groups = cluster.server.client().engine().list_committed(Some("one".into())).await.unwrap();
    assert_eq!(groups[0].next, 7);

    let replica = || ReplicaKey::new("stored", 0_u32);
    within(cluster.fluvio.delete_consumer_offset("one", replica())).await.unwrap();
    within(cluster.fluvio.delete_consumer_offset("never", replica())).await.unwrap();
    assert_eq!(stored(&cluster).await, [row("two", 0)]);
    assert_eq!(read_some(&cluster, "one", 1).await, [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_offsets_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let start =
        async || Cluster::over(floe_server::testkit::TestServer::at(folder.path()).await.unwrap()).await;
    let cluster = start().await;
    cluster.topic("stored", 1).await;
    cluster.send("stored", (0..10).map(|number| number.to_string())).await;
    assert_eq!(read_some(&cluster, "one", 5).await, [0, 1, 2, 3, 4]);
    let Cluster { server, fluvio, admin } = cluster;
    drop((fluvio, admin));
    within(server.stop()).await.unwrap();

    let cluster = start().await;
    assert_eq!(cluster.values("stored", Offset::beginning()).await.len(), 10);
    assert_eq!(read_some(&cluster, "one", 2).await, [5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_start_of_a_consumer_with_a_stored_place() {
    let cluster = Cluster::start().await;
    cluster.topic("stored", 1).await;
    cluster.send("stored", (0..10).map(|number| number.to_string())).await;
    // With a committed offset, the official client counts from it, forwards or backwards.
    for (name, start, places) in [
        ("beginning", Offset::beginning(), [0, 2, 4]),
        ("fourth", Offset::from_beginning(3), [3, 8, 10]),
        ("absolute", Offset::absolute(5).unwrap(), [5, 5, 5]),
        ("last", Offset::from_end(4), [6, 4, 2]),
    ] {
        for next in places.into_iter().filter(|place| *place < 10) {
            let seen = read_from(&cluster, name, start.clone(), OffsetManagementStrategy::Manual).await;
            assert_eq!(seen, [next, next + 1], "{name}");
        }
    }
    // A start at the end delivers later records.
    let mut stream = open(&cluster, "end", Offset::end(), OffsetManagementStrategy::Manual).await;
    cluster.send("stored", ["10".to_owned()]).await;
    assert_eq!(within(stream.next()).await.unwrap().unwrap().offset(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_stored_by_the_client_itself() {
    let cluster = Cluster::start().await;
    cluster.topic("stored", 1).await;
    cluster.send("stored", (0..10).map(|number| number.to_string())).await;
    let auto = OffsetManagementStrategy::Auto;
    assert_eq!(read_from(&cluster, "auto", Offset::beginning(), auto).await, [0, 1]);
    // The client commits on a task of its own when the stream is dropped. A record counts as finished when the next one is
    // requested, so the second record may be redelivered.
    let is_stored = async {
        while stored(&cluster).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within(is_stored).await;
    let again = read_from(&cluster, "auto", Offset::beginning(), auto).await;
    assert!(again == [1, 2] || again == [2, 3], "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_has_its_place() {
    let cluster = Cluster::start().await;
    cluster.topic("stored", 3).await;
    let producer = cluster.producer("stored").await;
    for number in 0..60 {
        within(producer.send(number.to_string(), number.to_string())).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let mut values = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let manual = OffsetManagementStrategy::Manual;
        let mut stream = open(&cluster, "all", Offset::beginning(), manual).await;
        for _ in 0..20 {
            let record = within(stream.next()).await.unwrap().unwrap();
            assert!(values.insert(record.value().to_vec()), "twice");
            within(stream.offset_commit()).await.unwrap();
        }
        within(stream.offset_flush()).await.unwrap();
    }
    assert_eq!(values.len(), 60);
    let partitions: Vec<_> =
        stored(&cluster).await.into_iter().map(|(_, _, partition, _)| partition).collect();
    assert_eq!(partitions, [0, 1, 2]);
}
