//! Metrics match the calls of the test.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use floe::{
    Client, ErrorKind, Record, Result,
    consumer::{GapPolicy, StartAt},
    engine::BatchReader,
    layer::{Layer, Operation},
    producer::FixedPartition,
    telemetry::TelemetryOptions,
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::Observer;

const ORDERS: (&str, &str) = ("messaging_destination_name", "orders");
const SEND: (&str, &str) = ("messaging_operation_name", "send");
const FLOE: (&str, &str) = ("messaging_system", "floe");

#[tokio::test]
async fn records_and_bytes_are_counted_on_both_sides() {
    let observer = Observer::new();
    let client = observer.client("memory:", 2).await;
    let producer = client.producer("orders").partitioner(FixedPartition(1)).start().await.unwrap();
    producer.send_all((0..1000).map(|number| format!("record {number}"))).await.unwrap();
    let sent = producer.stats();

    let mut consumer =
        client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut received = 0;
    while consumer.try_next().await.unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, 1000);

    let metrics = observer.metrics();
    let value = |name: &str, labels: &[(&str, &str)]| metrics.value(name, labels);
    let partition = ("messaging_destination_partition_id", "1");
    let all = [FLOE, ORDERS, partition];
    assert_eq!(value("messaging_client_sent_messages_total", &[&all[..], &[SEND]].concat()), Some(1000.0));
    assert_eq!(value("messaging_client_consumed_messages_total", &all), Some(1000.0));
    assert_eq!(value("floe_producer_io_bytes_total", &all), Some(sent.bytes as f64));
    // The consumer receives the same batches.
    assert_eq!(value("floe_consumer_io_bytes_total", &all), Some(sent.bytes as f64));
    for side in ["producer", "consumer"] {
        let batches = Some(sent.batches as f64);
        assert_eq!(value(&format!("floe_{side}_batch_messages_count"), &[FLOE, ORDERS]), batches);
        assert_eq!(value(&format!("floe_{side}_batch_messages_sum"), &[FLOE, ORDERS]), Some(1000.0));
        assert_eq!(value(&format!("floe_{side}_batch_size_bytes_sum"), &[]), Some(sent.bytes as f64));
    }
    let duration = "messaging_client_operation_duration_seconds_count";
    assert_eq!(value(duration, &[SEND, ORDERS]), Some(sent.batches as f64));
    assert_eq!(value(duration, &[("messaging_operation_name", "receive")]), Some(sent.batches as f64));
    assert_eq!(value(duration, &[("messaging_operation_name", "create_topic")]), Some(1.0));
    assert_eq!(value(duration, &[("error_type", "topic_not_found")]), None);
    assert_eq!(value("otel_scope_info", &[]), None, "the scope is in the labels");
    assert!(value("messaging_client_sent_messages_total", &[("otel_scope_name", "floe")]).is_some());

    let topic = client.admin().describe("nothing").await;
    assert_eq!(topic.unwrap_err().kind(), ErrorKind::TopicNotFound);
    let failed = [("messaging_operation_name", "topic"), ("error_type", "topic_not_found")];
    assert_eq!(observer.metrics().value(duration, &failed), Some(1.0));
}

#[tokio::test]
async fn delivered_records_are_counted_within_batches() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client.producer("orders").start().await.unwrap();
    producer.send_all((0..10).map(|number| number.to_string())).await.unwrap();
    let mut consumer =
        client.consumer("orders").from(StartAt::Beginning).group("billing").start().await.unwrap();
    for _ in 0..3 {
        consumer.try_next().await.unwrap().unwrap();
    }
    drop(consumer);
    let group = ("messaging_consumer_group_name", "billing");
    assert_eq!(observer.metrics().value("messaging_client_consumed_messages_total", &[group]), Some(3.0));
}

/// Fails the first appends with these errors, in order.
#[derive(Debug, Clone)]
struct Failing(Arc<Mutex<Vec<ErrorKind>>>);

impl Layer for Failing {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() == "append" {
            let next = self.0.lock().pop();
            if let Some(kind) = next {
                return Err(floe::Error::new(kind, "as the test asks").with_effect(floe::Effect::None));
            }
        }
        attempt().await
    }
}

#[tokio::test]
async fn failed_attempts_retries_and_losses_are_told_apart() {
    let observer = Observer::new();
    let failing = Failing(Arc::new(Mutex::new(vec![ErrorKind::NotLeader, ErrorKind::ConnectionTimeout])));
    let client = Client::builder("memory:")
        .telemetry(observer.options())
        .layer(failing.clone())
        .connect()
        .await
        .unwrap();
    client.admin().create_topic(floe::TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    producer.send("third time lucky").await.unwrap();
    failing.0.lock().push(ErrorKind::AuthFailed);
    producer.send("never").await.unwrap_err();

    let metrics = observer.metrics();
    let sent = |error: &str| {
        metrics.value("messaging_client_sent_messages_total", &[SEND, ORDERS, ("error_type", error)])
    };
    assert_eq!(metrics.value("messaging_client_sent_messages_total", &[SEND]), Some(4.0));
    assert_eq!((sent("connection_timeout"), sent("not_leader")), (Some(1.0), Some(1.0)));
    assert_eq!(sent("auth_failed"), Some(1.0));
    let retries = |error: &str| {
        metrics.value("floe_retry_attempts_total", &[SEND, ORDERS, FLOE, ("error_type", error)])
    };
    assert_eq!((retries("connection_timeout"), retries("not_leader")), (Some(1.0), Some(1.0)));
    assert_eq!(metrics.value("floe_retry_attempts_total", &[]), Some(2.0));
    let lost =
        metrics.value("floe_producer_undelivered_messages_total", &[ORDERS, ("error_type", "auth_failed")]);
    assert_eq!(lost, Some(1.0));
    assert_eq!(metrics.value("floe_producer_undelivered_messages_total", &[]), Some(1.0));
}

#[tokio::test]
async fn queue_gauges_count_waiting_records() {
    let observer = Observer::new();
    let client = observer.client("memory:", 1).await;
    let producer = client
        .producer("orders")
        .linger(Duration::from_secs(3600))
        .buffer_memory(1 << 20)
        .start()
        .await
        .unwrap();
    let delivery = producer.enqueue(vec![b'x'; 1000]).await.unwrap();
    let queue = |name: &str| {
        let queue = |side| observer.metrics().value(name, &[ORDERS, ("floe_queue_name", side), FLOE]);
        (queue("producer"), queue("consumer"))
    };
    let (used, none) = queue("floe_queue_usage_bytes");
    assert!(used.is_some_and(|bytes| (1000.0..1100.0).contains(&bytes)), "{used:?}");
    assert_eq!(none, None, "no consumer exists");
    assert_eq!(queue("floe_queue_limit_bytes").0, Some(f64::from(1 << 20)));
    producer.flush().await.unwrap();
    delivery.await.unwrap();
    assert_eq!(queue("floe_queue_usage_bytes").0, Some(0.0));

    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    consumer.next_batch().await.unwrap().unwrap();
    assert_eq!(queue("floe_queue_usage_bytes").1, Some(0.0));
    assert_eq!(queue("floe_queue_limit_bytes").1, Some(f64::from(8 << 20)));
    drop((producer, consumer));
    client.close().await.unwrap();
    drop(client);
}

/// Collects metrics until the lag is known. The paused clock advances only when all tasks are idle.
async fn lag(observer: &Observer, partition: &str) -> (Option<f64>, Option<f64>) {
    let labels = [ORDERS, ("messaging_destination_partition_id", partition), FLOE];
    for _ in 0..1000 {
        let metrics = observer.metrics();
        let lag = metrics.value("floe_consumer_lag", &labels);
        if lag.is_some() {
            return (lag, metrics.value("floe_consumer_lag_time_seconds", &labels));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (None, None)
}

#[tokio::test]
async fn lag_is_fetched_on_collection() {
    let observer = Observer::new();
    let client = observer.client("memory:", 2).await;
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(1000);
    let long_ago = long_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let producer = client.producer("orders").start().await.unwrap();
    for number in 0..10 {
        let record = Record::new(number.to_string()).partition(1).timestamp(long_ago);
        producer.send(record).await.unwrap();
    }
    // From here on no task waits for a thread of the log, which a paused clock does not track.
    tokio::time::pause();
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(observer.metrics().value("floe_consumer_lag", &[]), None, "no lag was fetched yet");
    assert_eq!(lag(&observer, "1").await, (Some(10.0), None), "no record was delivered yet");
    assert_eq!(lag(&observer, "0").await, (Some(0.0), Some(0.0)));
    for _ in 0..4 {
        consumer.try_next().await.unwrap().unwrap();
    }
    // The application is handling the fourth record.
    let (behind, age) = lag(&observer, "1").await;
    assert_eq!(behind, Some(7.0));
    assert!(age.is_some_and(|age| (1000.0..1100.0).contains(&age)), "{age:?}");
    for _ in 0..6 {
        consumer.try_next().await.unwrap().unwrap();
    }
    let more = tokio::time::timeout(Duration::from_secs(1), consumer.try_next()).await;
    assert!(more.is_err(), "no more records");
    assert_eq!(lag(&observer, "1").await, (Some(0.0), Some(0.0)));

    // After an hour without collection the cached lag is stale.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(observer.metrics().value("floe_consumer_lag", &[]), None);
    assert_eq!(lag(&observer, "1").await.0, Some(0.0), "the lag is fetched again");
}

/// Readers of this engine skip the second batch.
#[derive(Debug)]
struct Forgetful;

impl Layer for Forgetful {
    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(ForgetfulReader { reader, given: 0 })
    }
}

#[derive(Debug)]
struct ForgetfulReader {
    reader: Box<dyn BatchReader>,
    given: u32,
}

impl BatchReader for ForgetfulReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            if self.given == 1 {
                self.reader.next().await?;
            }
            self.given += 1;
            self.reader.next().await
        })
    }
}

#[tokio::test]
async fn gaps_are_counted_by_reason() {
    let observer = Observer::new();
    let client =
        Client::builder("memory:").telemetry(observer.options()).layer(Forgetful).connect().await.unwrap();
    client.admin().create_topic(floe::TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    for records in [vec!["a"], vec!["b", "c"], vec!["d"]] {
        producer.send_all(records).await.unwrap();
    }
    let consumer = client.consumer("orders").from(StartAt::Beginning).stop_at_end().on_gap(GapPolicy::Skip);
    let mut consumer = consumer.start().await.unwrap();
    let mut values = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        values.push(message.value);
    }
    assert_eq!(values, ["a", "d"]);
    let metrics = observer.metrics();
    let labels = [ORDERS, FLOE, ("floe_gap_reason", "missing"), ("messaging_destination_partition_id", "0")];
    assert_eq!(metrics.value("floe_record_gaps_total", &labels), Some(1.0));
    assert_eq!(metrics.value("floe_record_missing_messages_total", &labels), Some(2.0));
}

#[tokio::test]
async fn disabled_telemetry_records_nothing() {
    let observer = Observer::new();
    let client = Client::builder("memory:").telemetry(TelemetryOptions::off()).connect().await.unwrap();
    client.admin().create_topic(floe::TopicSpec::new("orders")).await.unwrap();
    client.producer("orders").start().await.unwrap().send(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(observer.metrics().names().collect::<Vec<_>>(), ["target_info"]);
    assert!(observer.spans.get_finished_spans().unwrap().is_empty());
}

#[tokio::test]
async fn own_metrics_have_the_prefix_of_the_settings() {
    let observer = Observer::new();
    let registry = &observer.registry;
    let client = Client::builder("memory:?telemetry.metrics_prefix=acme.streams")
        .telemetry(observer.options().metrics_prefix("acme.streams"))
        .connect()
        .await
        .unwrap();
    client.admin().create_topic(floe::TopicSpec::new("orders")).await.unwrap();
    client.producer("orders").start().await.unwrap().send("one coffee").await.unwrap();
    let names: Vec<_> = registry.gather().iter().map(|family| family.name().to_owned()).collect();
    let begins = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    assert!(begins("acme_streams_producer_io") && begins("acme_streams_queue_usage"), "{names:?}");
    assert!(begins("messaging_client_sent_messages"), "names of the conventions stay: {names:?}");
    assert!(!begins("floe_"), "{names:?}");
    assert_eq!(client.settings().telemetry.metrics_prefix, "acme.streams");
}
