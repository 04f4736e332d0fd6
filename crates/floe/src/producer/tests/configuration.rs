//! Invalid settings, and topics that do not exist.

use std::time::Duration;

use super::{orders, over};
use crate::{
    Codec, Error, ErrorKind, RetryPolicy,
    engine::Acks,
    fake_engine::FakeEngine,
    producer::{DeliveryMode, FixedPartition, ProducerBuilder},
};

async fn refusal(change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Error {
    let (_, builder) = orders();
    let error = change(builder).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    error
}

#[tokio::test(start_paused = true)]
async fn errors_name_the_invalid_setting() {
    let cases: [(&str, Error); 11] = [
        ("batch_size", refusal(|builder| builder.batch_size(0)).await),
        ("max_request_size", refusal(|builder| builder.max_request_size(10)).await),
        ("the maximum on this engine", refusal(|builder| builder.max_request_size(1 << 30)).await),
        ("buffer_memory", refusal(|builder| builder.buffer_memory(0)).await),
        ("buffer_memory", refusal(|builder| builder.buffer_memory(usize::MAX)).await),
        ("batch_queue", refusal(|builder| builder.batch_queue(0)).await),
        ("max_in_flight", refusal(|builder| builder.max_in_flight(0)).await),
        ("timeout", refusal(|builder| builder.timeout(Duration::ZERO)).await),
        ("compression: ", refusal(|builder| builder.compression(Codec::Zstd).compression_level(99)).await),
        ("max_attempts", refusal(|builder| builder.retry(RetryPolicy::default().max_attempts(0))).await),
        (
            "Acks::Leader",
            refusal(|builder| builder.acks(Acks::None).delivery(DeliveryMode::AtLeastOnce)).await,
        ),
    ];
    for (name, error) in cases {
        assert!(error.message().contains(name), "{name}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn unlimited_durations_are_accepted() {
    let (_, builder) = orders();
    let orders = builder.linger(Duration::MAX).timeout(Duration::MAX).start().await.unwrap();
    let delivery = orders.enqueue("a").await.unwrap();
    orders.flush_within(Duration::MAX).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    let _ = orders.close_within(Duration::MAX).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_topic_fails_the_start() {
    let (_, builder) = over(FakeEngine::with_topic("invoices", 1));
    let error = builder.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    assert_eq!(error.topic().map(ToString::to_string).as_deref(), Some("orders"));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_partition_that_does_not_exist_fails_the_start() {
    let (_, builder) = over(FakeEngine::with_topic("orders", 5));
    let error = builder.partitioner(FixedPartition(33)).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    assert!(error.message().contains("partition 33 of a topic with 5"), "{error}");
    let (_, builder) = over(FakeEngine::with_topic("orders", 5));
    assert!(builder.partitioner(FixedPartition(4)).start().await.is_ok());
}
