//! Topics that get partitions while a producer runs.

use std::{collections::BTreeSet, time::Duration};

use super::{over, values};
use crate::{ErrorKind, Record, engine::Capabilities, fake_engine::FakeEngine};

#[tokio::test(start_paused = true)]
async fn new_partitions_are_used_within_five_minutes() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 2));
    let orders = builder.start().await.unwrap();
    engine.grow("orders", 10);
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(orders.partitions(), 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(orders.partitions(), 10);
    // The partition that a new producer would choose.
    for (key, partition) in [("a", 7), ("b", 0), ("hello", 4)] {
        assert_eq!(orders.send(Record::keyed(key, key)).await.unwrap().partition, partition);
    }
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        seen.insert(orders.send("x").await.unwrap().partition);
    }
    assert_eq!(seen.len(), 10, "records without a key reach all partitions");
    // A topic created again with fewer partitions: the old ones stay known, and sends to them fail with the reason.
    engine.grow("orders", 3);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(orders.partitions(), 10);
    assert!(orders.close().await.unwrap().undelivered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_for_an_unknown_partition_causes_a_refresh() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1));
    let orders = builder.start().await.unwrap();
    let to = |partition| Record::new("x").partition(partition);
    assert_eq!(orders.send(to(2)).await.unwrap_err().kind(), ErrorKind::PartitionNotFound);
    engine.grow("orders", 3);
    let error = orders.send(to(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound, "the last refresh is too recent");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(orders.send(to(2)).await.unwrap().partition, 2);
    assert_eq!(values(&engine, 2), ["x"]);
    // The same for runs of records; earlier records stay in order.
    engine.grow("orders", 5);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let placed = orders.send_all([to(0), to(4), to(4), to(1)]).await.unwrap();
    assert_eq!(placed.iter().map(|placed| placed.partition).collect::<Vec<_>>(), [0, 4, 4, 1]);
    let error = orders.send(to(5)).await.unwrap_err();
    assert!(error.to_string().contains("partition 5 of a topic with 5"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn records_for_new_partitions_are_flushed_and_closed_too() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1));
    let orders = builder.linger(Duration::from_secs(3600)).start().await.unwrap();
    engine.grow("orders", 2);
    drop(orders.enqueue(Record::new("a").partition(1)).await.unwrap());
    orders.flush().await.unwrap();
    assert_eq!(values(&engine, 1), ["a"]);
    drop(orders.enqueue(Record::new("b").partition(1)).await.unwrap());
    let report = orders.close().await.unwrap();
    assert_eq!((report.delivered, report.undelivered.len()), (2, 0));
    engine.grow("orders", 3);
    let error = orders.send(Record::new("c").partition(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound, "a closed producer adds no partition");
    assert_eq!(orders.partitions(), 2);
}

#[tokio::test(start_paused = true)]
async fn engines_with_one_partition_get_no_refresh() {
    let one = Capabilities::FULL.with(|it| it.partitions = false);
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(one));
    let orders = builder.start().await.unwrap();
    engine.grow("orders", 2);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    let error = orders.send(Record::new("x").partition(1)).await.unwrap_err();
    assert_eq!((error.kind(), orders.partitions()), (ErrorKind::PartitionNotFound, 1));
}
