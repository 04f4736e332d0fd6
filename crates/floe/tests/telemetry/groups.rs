//! Spans of the members of a shared group.

use std::time::Duration;

use floe::{Consumer, Record};
use floe_group::{GroupRecord, Join, MemberId};
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::SpanData;
use tokio::time::timeout;

use super::Observer;

fn has(span: &SpanData, name: &str, value: &str) -> bool {
    let is_it = |one: &opentelemetry::KeyValue| one.key.as_str() == name && one.value.as_str() == value;
    span.attributes.iter().any(is_it)
}

/// Lets members go on for a time.
async fn pass(seconds: u32, members: &mut [Consumer]) {
    for _ in 0..seconds {
        for member in &mut *members {
            assert!(timeout(Duration::from_millis(500), member.try_next()).await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handover_has_spans() {
    let observer = Observer::new();
    let client = observer.client("memory:", 2).await;
    let join = async || client.consumer("orders").group("billing").shared().start().await.unwrap();
    let mut members = vec![join().await, join().await];
    pass(8, &mut members).await;
    assert_eq!(observer.spans("join orders").len(), 2);
    let drains = observer.spans("drain orders");
    assert_eq!(drains.len(), 1, "{drains:#?}");
    let assigned = observer.spans("assign orders");
    assert_eq!(assigned.len(), 3, "two to the first member, and one of them to the second");
    let moved = [("messaging.destination.partition.id", "0"), ("messaging.destination.partition.id", "1")];
    assert!(moved.iter().any(|(name, value)| has(&drains[0], name, value)), "{drains:#?}");

    // A third member joins, and is never heard of again.
    let ghost = Join::new(MemberId(7)).topic("orders", 2);
    let producer = client.producer("floe-groups").start().await.unwrap();
    producer.send(Record::keyed("billing", GroupRecord::Join(ghost).encode().unwrap())).await.unwrap();
    pass(20, &mut members).await;
    let taken_over = observer.spans("take_over orders");
    assert!(!taken_over.is_empty(), "a member evicts it");
    let silence = taken_over[0].end_time.duration_since(taken_over[0].start_time).unwrap();
    assert!(silence >= Duration::from_secs(10), "{silence:?}");

    for span in observer.spans("join orders").iter().chain(&drains).chain(&assigned).chain(&taken_over) {
        assert_eq!((&span.span_kind, span.parent_span_id), (&SpanKind::Client, SpanId::INVALID), "{span:#?}");
        assert!(has(span, "messaging.consumer.group.name", "billing"), "{span:#?}");
        assert!(has(span, "messaging.operation.type", "coordinate"), "{span:#?}");
        assert!(span.end_time >= span.start_time);
    }
}
