//! Producing: every codec, single and batched records, keys, nulls, binary values.

use fluvio::{
    Compression, DeliverySemantic, Isolation, Offset, RecordKey, RetryPolicy, TopicProducerConfigBuilder,
    metadata::topic::{CompressionAlgorithm, TopicSpec},
};

use crate::support::{Cluster, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_records_are_stored_in_order_and_told_their_offsets() {
    let cluster = Cluster::start().await;
    cluster.topic("single", 1).await;
    let producer = cluster.producer("single").await;
    for expected in 0..20 {
        let output = within(producer.send(RecordKey::NULL, format!("value {expected}"))).await.unwrap();
        let metadata = within(output.wait()).await.unwrap();
        assert_eq!(metadata.offset(), expected);
        assert_eq!(metadata.partition_id(), 0);
    }
    let expected: Vec<_> = (0..20).map(|offset| (offset, format!("value {offset}"))).collect();
    assert_eq!(cluster.values("single", Offset::beginning()).await, expected);
}

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_comes_back_record_by_record() {
    let cluster = Cluster::start().await;
    for (name, codec) in CODECS {
        cluster.topic(name, 1).await;
        let config = TopicProducerConfigBuilder::default().compression(codec).build().unwrap();
        let producer = within(cluster.fluvio.topic_producer_with_config(name, config)).await.unwrap();
        let shapes: [(Option<&[u8]>, &[u8]); 4] =
            [(None, b""), (Some(b"key"), &[0, 255, 7]), (Some(b""), b"value"), (None, &[b'x'; 5000])];
        for (offset, (key, value)) in (0..).zip(shapes) {
            let key = key.map_or(RecordKey::NULL, RecordKey::from);
            let output = within(producer.send(key, value)).await.unwrap();
            within(producer.flush()).await.unwrap();
            assert_eq!(within(output.wait()).await.unwrap().offset(), offset);
        }
        let seen = cluster.read_to_end(name, Offset::beginning()).await.remove(&0).unwrap();
        let expected: Vec<_> = (0..)
            .zip(shapes)
            .map(|(offset, (key, value))| (offset, key.map(<[u8]>::to_vec), value.to_vec()))
            .collect();
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_comes_back() {
    let cluster = Cluster::start().await;
    for (name, codec) in CODECS {
        cluster.topic(name, 1).await;
        let config = TopicProducerConfigBuilder::default().compression(codec).build().unwrap();
        let producer = within(cluster.fluvio.topic_producer_with_config(name, config)).await.unwrap();
        let values =
            |count: usize| (0..count).map(|number| format!("{name} {number} {}", "x".repeat(number % 90)));
        let records = values(1000).map(|value| (RecordKey::NULL, value));
        let outputs = within(producer.send_all(records)).await.unwrap();
        within(producer.flush()).await.unwrap();
        let last = within(outputs.into_iter().last().unwrap().wait()).await.unwrap();
        assert_eq!(last.offset(), 999);
        let expected: Vec<_> = (0..).zip(values(1000)).collect();
        assert_eq!(cluster.values(name, Offset::beginning()).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_nulls_empty_and_binary_values_come_back() {
    let cluster = Cluster::start().await;
    cluster.topic("shapes", 1).await;
    let binary: Vec<u8> = (0..=255).collect();
    let records: Vec<(Option<Vec<u8>>, Vec<u8>)> = vec![
        (None, Vec::new()),
        (None, b"value".to_vec()),
        (Some(Vec::new()), b"empty key".to_vec()),
        (Some(b"key".to_vec()), Vec::new()),
        (Some(binary.clone()), binary),
        (Some("schl\u{fc}ssel".into()), "\u{2603}".into()),
    ];
    let producer = cluster.producer("shapes").await;
    for (key, value) in records.clone() {
        let key = key.map_or(RecordKey::NULL, RecordKey::from);
        within(producer.send(key, value)).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let seen = cluster.read_to_end("shapes", Offset::beginning()).await.remove(&0).unwrap();
    let expected: Vec<_> = (0..).zip(records).map(|(offset, (key, value))| (offset, key, value)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_key_stay_in_one_partition_and_in_order() {
    let cluster = Cluster::start().await;
    cluster.topic("keyed", 10).await;
    let producer = cluster.producer("keyed").await;
    for number in 0..500 {
        let key = format!("key-{}", number % 7);
        within(producer.send(key, number.to_string())).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let seen = cluster.read_to_end("keyed", Offset::beginning()).await;
    let mut places = std::collections::BTreeMap::new();
    let mut count = 0;
    for (partition, records) in seen {
        let mut last = std::collections::BTreeMap::new();
        for (index, (offset, key, value)) in (0..).zip(records) {
            assert_eq!(offset, index, "offsets have no holes");
            let number: i32 = String::from_utf8(value).unwrap().parse().unwrap();
            let key = key.unwrap();
            assert_eq!(*places.entry(key.clone()).or_insert(partition), partition);
            assert!(last.insert(key, number).is_none_or(|before| before < number));
            count += 1;
        }
    }
    assert_eq!((count, places.len()), (500, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_names_a_codec_is_honoured_on_both_sides() {
    let cluster = Cluster::start().await;
    let mut spec = TopicSpec::new_computed(1, 1, None);
    spec.set_compression_type(CompressionAlgorithm::Zstd);
    cluster.create("squeezed", spec).await;
    // A producer without a codec uses that of the topic.
    cluster.send("squeezed", (0..100).map(|number| number.to_string())).await;
    assert_eq!(cluster.values("squeezed", Offset::beginning()).await.len(), 100);
    let config = TopicProducerConfigBuilder::default().compression(Compression::Gzip).build().unwrap();
    let refused = within(cluster.fluvio.topic_producer_with_config("squeezed", config)).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_near_the_producers_limit_arrives_whole() {
    let cluster = Cluster::start().await;
    cluster.topic("large", 1).await;
    let value = "v".repeat(1_048_576 - 200);
    cluster.send("large", [value.clone(), "after".to_owned()]).await;
    let seen = cluster.values("large", Offset::beginning()).await;
    assert_eq!(seen, [(0, value), (1, "after".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_isolations_and_both_kinds_of_delivery() {
    let cluster = Cluster::start().await;
    cluster.topic("kinds", 1).await;
    let mut expected = Vec::new();
    for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
        for delivery in [DeliverySemantic::AtMostOnce, DeliverySemantic::AtLeastOnce(RetryPolicy::default())]
        {
            let config = TopicProducerConfigBuilder::default()
                .isolation(isolation)
                .delivery_semantic(delivery)
                .build()
                .unwrap();
            let producer = within(cluster.fluvio.topic_producer_with_config("kinds", config)).await.unwrap();
            let value = format!("{isolation:?} {delivery:?}");
            within(producer.send(RecordKey::NULL, value.clone())).await.unwrap();
            within(producer.flush()).await.unwrap();
            expected.push(value);
            // Without acknowledgement there is no offset.
            let arrived = async {
                while cluster.values("kinds", Offset::beginning()).await.len() < expected.len() {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            Box::pin(within(arrived)).await;
        }
    }
    let seen = cluster.values("kinds", Offset::beginning()).await;
    assert_eq!(seen, (0..).zip(expected).collect::<Vec<_>>());
}
