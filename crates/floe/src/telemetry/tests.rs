//! Unit tests that need private items.

use std::sync::Arc;

use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use super::*;
use crate::{
    Client,
    consumer::StartAt,
    engine::{Acks, AppendRequest, Capabilities, Engine as _},
    fake_engine::FakeEngine,
};

fn meters() -> (Registry, SdkMeterProvider) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    (registry, SdkMeterProvider::builder().with_reader(exporter).build())
}

/// Returns the values of all samples whose line begins with `beginning`.
fn values(registry: &Registry, beginning: &str) -> Vec<f64> {
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn dropped_duplicates_are_counted() {
    let (registry, provider) = meters();
    let without_offsets = Capabilities::FULL.with(|it| {
        it.offsets = false;
        it.dense_offsets = false;
    });
    let engine = FakeEngine::with_topic("orders", 1).with_capabilities(without_offsets);
    let mut builder = BatchBuilder::new(64);
    for value in ["a", "b", "c"] {
        builder.append(1000, None, value.as_bytes(), &[]).unwrap();
    }
    let producer = ProducerIdentity { id: 7, epoch: 0, first_sequence: 0 };
    let batch = builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap();
    for _ in 0..2 {
        let target = crate::Topic::from("orders").partition(0);
        engine.append(AppendRequest::new(target, batch.clone(), Acks::Leader)).await.unwrap();
    }
    let options = TelemetryOptions::default().meter_provider(&provider);
    let client = Client::builder("x:").telemetry(options).from_engine(Arc::new(engine)).unwrap();
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    for _ in 0..3 {
        consumer.try_next().await.unwrap().unwrap();
    }
    let more = tokio::time::timeout(std::time::Duration::from_secs(1), consumer.try_next()).await;
    assert!(more.is_err(), "the duplicate is dropped");
    assert_eq!(values(&registry, "floe_dedup_drops_total{"), [3.0]);
}

#[test]
fn tracer_without_a_provider_is_asked_once() {
    let telemetry = Telemetry::new(TelemetryOptions::default(), "memory");
    assert!(telemetry.tracer().is_some(), "nothing is known yet");
    let topic = crate::Topic::from("orders");
    telemetry.start_batch(&topic.partition(0), 1, &mut Origins::default());
    assert!(telemetry.tracer().is_none());
}

#[test]
fn links_are_bounded() {
    use opentelemetry::trace::TraceContextExt as _;
    let mut origins = Origins::default();
    let telemetry = Telemetry::new(TelemetryOptions::default(), "memory");
    let topic = crate::Topic::from("orders");
    for number in 1..1000u64 {
        let trace = TraceContext { trace_id: 1, span_id: number, flags: 1, state: String::new() };
        let _current = Context::new().with_remote_span_context(trace.to_span_context()).attach();
        let origin = telemetry.originate(&topic, &[], 1, true);
        origins.add(&origin);
        assert_eq!(origin.added().len(), 1);
    }
    assert_eq!(origins.len(), produce::MAX_LINKS);
}

#[test]
fn breaker_transitions_are_counted() {
    let (registry, provider) = meters();
    let telemetry = Telemetry::new(TelemetryOptions::default().meter_provider(&provider), "fluvio");
    telemetry.breaker_changed("10.0.0.1:9010", "closed", "open");
    telemetry.breaker_changed("10.0.0.1:9010", "open", "half_open");
    telemetry.breaker_changed("10.0.0.1:9010", "half_open", "open");
    assert_eq!(values(&registry, "floe_breaker_transitions_total{"), [1.0, 1.0, 1.0]);
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains(r#"server_address="10.0.0.1:9010""#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn retries_and_breaker_transitions_are_counted() {
    use crate::{RetryPolicy, layer::BreakerPolicy, layer::testing::Faulty};
    let (registry, provider) = meters();
    let refused = || crate::Error::new(crate::ErrorKind::ConnectionRefused, "refused");
    let (faulty, calls) = Faulty::around(vec![refused(); 5]);
    let client = Client::builder("x:")
        .telemetry(TelemetryOptions::default().meter_provider(&provider))
        .retry(RetryPolicy::calls())
        .breaker(BreakerPolicy::default())
        .from_engine(faulty)
        .unwrap();
    let engine = client.engine();
    engine.topics().await.unwrap_err();
    let repeated =
        r#"floe_retry_attempts_total{error_type="connection_refused",messaging_operation_name="topics""#;
    assert_eq!((values(&registry, repeated), calls()), (vec![2.0], 3));
    // Two more failures, and the third attempt is refused.
    engine.topics().await.unwrap_err();
    assert_eq!((values(&registry, repeated), calls()), (vec![4.0], 5));
    let transition = |to: &str, from: &str| {
        values(
            &registry,
            &format!(
                "floe_breaker_transitions_total{{floe_breaker_previous_state=\"{from}\",floe_breaker_state=\"{to}\""
            ),
        )
    };
    assert_eq!((transition("open", "closed"), transition("half_open", "open")), (vec![1.0], vec![]));
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    for _ in 0..3 {
        engine.topics().await.unwrap();
    }
    assert_eq!((transition("half_open", "open"), transition("closed", "half_open")), (vec![1.0], vec![1.0]));
}

#[test]
fn every_setting_of_telemetry_reaches_the_client() {
    let mut config = crate::config::Config::default();
    for (key, value) in [
        ("metrics", "false"),
        ("spans", "false"),
        ("create_spans", "true"),
        ("propagate", "false"),
        ("client_id", "billing"),
    ] {
        config.set(&format!("telemetry.{key}"), value).unwrap();
    }
    let TelemetryOptions { metrics, spans, create_spans, propagate, client_id, .. } =
        config.settings().telemetry_options();
    assert_eq!((metrics, spans, create_spans, propagate), (false, false, true, false));
    assert_eq!(client_id.as_deref(), Some("billing"));
}

#[test]
fn engines_have_their_platform_names() {
    for (engine, expected) in [
        ("memory", "floe"),
        ("embedded", "floe"),
        ("fluvio+tls", "fluvio"),
        ("walrus", "walrus"),
        ("own", "floe"),
    ] {
        assert_eq!(system(engine), expected);
    }
    assert_eq!(instruments::partition_id(15), KeyValue::new("messaging.destination.partition.id", "15"));
    assert_eq!(instruments::partition_id(16), KeyValue::new("messaging.destination.partition.id", "16"));
}

mod connections {
    use std::{io, sync::Arc};

    use futures_util::future::BoxFuture;

    use super::{meters, values};
    use crate::{
        Error, ErrorKind, Result,
        net::{Dial, Endpoint, Stream, dial_within},
        telemetry::{Telemetry, TelemetryOptions},
    };

    /// Opens connections to `up`, refuses `down`, and never answers for any other.
    #[derive(Debug)]
    struct Scripted;

    impl Dial for Scripted {
        fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
            Box::pin(async move {
                match &*to.host {
                    "up" => {
                        let opened: Box<dyn Stream> = Box::new(tokio::io::duplex(64).0);
                        Ok(opened)
                    }
                    "down" => Err(Error::new(ErrorKind::ConnectionRefused, "no")
                        .with_source(io::Error::other("refused"))),
                    _ => std::future::pending().await,
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_counted_until_they_are_closed() {
        let (registry, provider) = meters();
        let telemetry = Telemetry::new(TelemetryOptions::default().meter_provider(&provider), "walrus");
        let dial: Arc<dyn Dial> = telemetry.dial(Scripted);
        let limit = std::time::Duration::from_secs(3);
        let to = |host: &str| Endpoint::new(host, 9091);
        let one = dial_within(&*dial, &to("up"), limit).await.unwrap();
        let two = dial_within(&*dial, &to("up"), limit).await.unwrap();
        assert_eq!(values(&registry, "floe_connection_count{"), [2.0]);
        drop(one);
        assert_eq!(values(&registry, "floe_connection_count{"), [1.0]);
        drop(two);
        assert_eq!(values(&registry, "floe_connection_count{"), [0.0]);
        dial_within(&*dial, &to("down"), limit).await.err().unwrap();
        dial_within(&*dial, &to("lost"), limit).await.err().unwrap();
        let mut attempts = values(&registry, "floe_connection_attempts_total{");
        attempts.sort_by(f64::total_cmp);
        assert_eq!(attempts, [1.0, 1.0, 2.0]);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let time = |host: &str| {
            let line = text.lines().find(|line| {
                line.starts_with("floe_connection_create_time_seconds_sum{") && line.contains(host)
            });
            line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert_eq!((time("server_address=\"lost\""), time("server_address=\"down\"")), (3.0, 0.0));
        assert!(text.contains(r#"error_type="connection_timeout""#), "{text}");
        assert!(text.contains(r#"error_type="connection_refused""#), "{text}");
    }
}
