//! Diagnostic spans number the engine calls, so that the events of one call can be found.
//!
//! A test program of its own: tracing caches per process whether a span has a subscriber, so a test on another thread could
//! disable the spans.
#![cfg(feature = "telemetry")]

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use floe::{Client, telemetry::TelemetryOptions};
use tracing::{
    Event, Metadata,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Records the spans named `floe.call`.
#[derive(Debug, Clone, Default)]
struct Notes {
    calls: Arc<Mutex<Vec<String>>>,
    next: Arc<AtomicU64>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl tracing::Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        if span.metadata().name() == "floe.call" {
            let mut fields = Fields(String::new());
            span.record(&mut fields);
            self.calls.lock().unwrap().push(fields.0);
        }
        Id::from_u64(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn calls_are_numbered() {
    let notes = Notes::default();
    let _current = tracing::subscriber::set_default(notes.clone());
    let options = TelemetryOptions::default().client_id("here");
    let client = Client::builder("memory:").telemetry(options).connect().await.unwrap();
    client.admin().create_topic(floe::TopicSpec::new("orders")).await.unwrap();
    client.admin().describe("nothing").await.unwrap_err();
    let calls = notes.calls.lock().unwrap().clone();
    let about = |name: &str| calls.iter().find(|call| call.contains(name)).cloned().unwrap_or_default();
    assert!(about("create_topic").contains("client=\"here\""), "{calls:?}");
    assert!(about("create_topic").contains("topic=\"orders\""), "{calls:?}");
    let numbers: Vec<_> = calls.iter().map(|call| call.split(' ').nth(1).unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..calls.len()).map(|number| format!("call={number}")).collect();
    assert_eq!(numbers, expected);
}
