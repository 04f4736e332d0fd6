//! Stored offsets of consumers.

use fluvio::{
    Offset,
    consumer::{ConsumerConfigExt, ConsumerStream as _, OffsetManagementStrategy},
    dataplane::record::ReplicaKey,
};
use futures_util::StreamExt as _;

use crate::support::{Cluster, within};

/// Reads `count` records as `consumer`, stores how far it came, and returns the offsets.
async fn read_some(cluster: &Cluster, consumer: &str, count: usize) -> Vec<i64> {
    let config = ConsumerConfigExt::builder()
        .topic("stored")
        .offset_consumer(consumer)
        .offset_start(Offset::beginning())
        .offset_strategy(OffsetManagementStrategy::Manual)
        .build()
        .unwrap();
    let mut stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
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

    // The same place, seen by floe: the next record to read.
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
