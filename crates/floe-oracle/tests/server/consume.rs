//! Consuming: start positions, many partitions, a backlog with default settings, new records.

use std::collections::BTreeSet;

use fluvio::{
    Offset, RecordKey,
    consumer::{ConsumerConfigExt, PartitionSelectionStrategy},
    metadata::topic::TopicSpec,
};
use futures_util::StreamExt as _;

use crate::support::{Cluster, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_start() {
    let cluster = Cluster::start().await;
    cluster.topic("starts", 1).await;
    let value = |number: i64| (number, format!("value {number}"));
    // Several batches, and starts within one.
    for batch in 0..4 {
        cluster.send("starts", (batch * 5..batch * 5 + 5).map(|number| value(number).1)).await;
    }
    for (start, first) in [
        (Offset::beginning(), 0),
        (Offset::from_beginning(3), 3),
        (Offset::absolute(12).unwrap(), 12),
        (Offset::from_end(4), 16),
        (Offset::end(), 20),
    ] {
        let expected: Vec<_> = (first..20).map(value).collect();
        assert_eq!(cluster.values("starts", start.clone()).await, expected, "{start:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_outside_of_the_topic_are_moved_to_its_ends() {
    let cluster = Cluster::start().await;
    cluster.topic("starts", 1).await;
    cluster.send("starts", (0..5).map(|number| number.to_string())).await;
    let offsets = async |start| -> Vec<_> {
        cluster.values("starts", start).await.into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(offsets(Offset::from_end(99)).await, [0, 1, 2, 3, 4]);
    assert!(offsets(Offset::from_beginning(99)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_partitions_of_a_topic() {
    let cluster = Cluster::start().await;
    cluster.topic("chosen", 4).await;
    let producer = cluster.producer("chosen").await;
    for number in 0..400 {
        within(producer.send(number.to_string(), number.to_string())).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let all = cluster.read_to_end("chosen", Offset::beginning()).await;
    let config = ConsumerConfigExt::builder()
        .topic("chosen")
        .partition(1)
        .partition(3)
        .offset_start(Offset::beginning())
        .disable_continuous(true)
        .build()
        .unwrap();
    let stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
    let mut seen = std::collections::BTreeMap::<_, Vec<_>>::new();
    for record in within(stream.collect::<Vec<_>>()).await {
        let record = record.unwrap();
        seen.entry(record.partition()).or_default().push(record.value().to_vec());
    }
    let values =
        |partition: u32| all[&partition].iter().map(|(_, _, value)| value.clone()).collect::<Vec<_>>();
    assert_eq!(seen, [(1, values(1)), (3, values(3))].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(deprecated, reason = "applications use it still")]
async fn the_older_ways_to_consume() {
    let cluster = Cluster::start().await;
    cluster.topic("old", 2).await;
    let producer = cluster.producer("old").await;
    for number in 0..100 {
        within(producer.send(number.to_string(), number.to_string())).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let all = cluster.read_to_end("old", Offset::beginning()).await;
    for partition in [0, 1] {
        let consumer = within(cluster.fluvio.partition_consumer("old", partition)).await.unwrap();
        let stream = within(consumer.stream(Offset::beginning())).await.unwrap();
        let expected: Vec<_> = all[&partition].iter().map(|(_, _, value)| value.clone()).collect();
        let seen: Vec<_> = within(stream.take(expected.len()).collect::<Vec<_>>()).await;
        let seen: Vec<_> = seen.into_iter().map(|record| record.unwrap().value().to_vec()).collect();
        assert_eq!(seen, expected);
    }
    let consumer = within(cluster.fluvio.consumer(PartitionSelectionStrategy::All("old".to_owned())));
    let stream = within(consumer.await.unwrap().stream(Offset::beginning())).await.unwrap();
    let seen = within(stream.take(100).collect::<Vec<_>>()).await;
    assert_eq!(seen.into_iter().filter(Result::is_ok).count(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_read_without_loss_by_a_client_with_default_settings() {
    let cluster = Cluster::start().await;
    cluster.topic("backlog", 1).await;
    // Far more than one reply holds, in batches that do not fill it evenly.
    let value = |number: usize| format!("{number:07} {}", "x".repeat(number % 1500));
    let producer = cluster.producer("backlog").await;
    for number in 0..12_000 {
        within(producer.send(RecordKey::NULL, value(number))).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let seen = cluster.values("backlog", Offset::beginning()).await;
    assert_eq!(seen.len(), 12_000);
    for (number, (offset, read)) in seen.into_iter().enumerate() {
        assert_eq!((usize::try_from(offset).unwrap(), read), (number, value(number)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_little_at_once_loses_nothing() {
    let cluster = Cluster::start().await;
    cluster.topic("small", 1).await;
    for batch in 0..6 {
        cluster
            .send("small", (batch * 10..batch * 10 + 10).map(|number| format!("record {number:060}")))
            .await;
    }
    // A real server cuts replies within batches, and the client loses most records.
    let config = ConsumerConfigExt::builder()
        .topic("small")
        .offset_start(Offset::beginning())
        .max_bytes(300)
        .disable_continuous(true)
        .build()
        .unwrap();
    let stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
    let records: Vec<_> = within(stream.collect()).await;
    let offsets: Vec<_> = records.into_iter().map(|record| record.unwrap().offset()).collect();
    assert_eq!(offsets, (0..60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_later_are_delivered() {
    let cluster = Cluster::start().await;
    cluster.topic("live", 3).await;
    let config =
        ConsumerConfigExt::builder().topic("live").offset_start(Offset::beginning()).build().unwrap();
    let mut stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..10 {
        cluster.send("live", (0..6).map(|number| format!("{round}-{number}"))).await;
        for _ in 0..6 {
            let record = within(stream.next()).await.unwrap().unwrap();
            seen.insert(String::from_utf8(record.value().to_vec()).unwrap());
        }
    }
    assert_eq!(seen.len(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_are_read_together() {
    let cluster = Cluster::start().await;
    cluster.topic("wide", 40).await;
    let producer = cluster.producer("wide").await;
    for number in 0..2000 {
        within(producer.send(number.to_string(), number.to_string())).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let seen = cluster.read_to_end("wide", Offset::beginning()).await;
    assert_eq!(seen.len(), 40, "all partitions have records");
    let values: BTreeSet<_> = seen.values().flatten().map(|(_, _, value)| value.clone()).collect();
    assert_eq!(values.len(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_ends_its_streams() {
    let cluster = Cluster::start().await;
    cluster.topic("doomed", 1).await;
    cluster.send("doomed", ["last".to_owned()]).await;
    let config = ConsumerConfigExt::builder()
        .topic("doomed")
        .offset_start(Offset::beginning())
        .retry_mode(fluvio::consumer::RetryMode::Disabled)
        .build()
        .unwrap();
    let mut stream = within(cluster.fluvio.consumer_with_config(config)).await.unwrap();
    within(stream.next()).await.unwrap().unwrap();
    within(cluster.admin.delete::<TopicSpec>("doomed".to_owned())).await.unwrap();
    let end = within(stream.next()).await;
    assert!(end.is_none_or(|record| record.is_err()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_other_clients_of_the_same_server_are_read() {
    let cluster = Cluster::start().await;
    let client = cluster.server.client();
    client.admin().create_topic(floe::TopicSpec::new("shared")).await.unwrap();
    let producer = client.producer("shared").compression(floe::Codec::Lz4).start().await.unwrap();
    let record = |number: i64| floe::Record::keyed("k", number.to_string()).header("name", "value");
    producer.send_all((0..100).map(record)).await.unwrap();
    let seen = cluster.values("shared", Offset::beginning()).await;
    let expected: Vec<_> = (0..100).map(|number| (number, number.to_string())).collect();
    assert_eq!(seen, expected, "official clients ignore the trailer with the headers");
}
