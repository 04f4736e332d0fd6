//! Keys, passwords and tokens appear in no message, `Debug` output or event of any level.
//!
//! A test program of its own: tracing caches per process whether an event has a subscriber, so a test on another thread could
//! disable the events.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use floe::{Client, ErrorKind, TopicSpec, config::Sources, consumer::StartAt};
use tracing::{
    Event, Metadata,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// The secret that must not appear.
const SECRET: &str = "OpenSesame";

/// Records all events and spans.
#[derive(Debug, Clone, Default)]
struct Notes {
    recorded: Arc<Mutex<String>>,
    next: Arc<AtomicU64>,
}

struct Fields<'a>(&'a Mutex<String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl tracing::Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(&self.recorded));
        Id::from_u64(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&self.recorded));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&self.recorded));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[track_caller]
fn hides(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns all texts of an error, causes included.
fn all_of(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

/// One test: a subscriber belongs to a thread, and the events of all three steps go to the same one.
#[tokio::test]
async fn secrets_never_appear_in_output() {
    let notes = Notes::default();
    let _current = tracing::subscriber::set_default(notes.clone());
    invalid_urls_hide_their_secrets().await;
    let key_line = a_refused_connection_hides_the_key().await;
    a_working_client_hides_its_headers().await;
    let recorded = notes.recorded.lock().unwrap().clone();
    assert!(recorded.contains("create_topic"), "no events were recorded: {recorded}");
    assert!(!recorded.contains(&key_line), "{recorded}");
    hides(&recorded);
}

async fn invalid_urls_hide_their_secrets() {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    let pem = percent_encoded(&pem);
    for url in [
        format!("fluvio+tls://127.0.0.1:1?key={pem}"),
        format!("fluvio+tls://127.0.0.1:1?cert={pem}&key={pem}"),
        format!("fluvio+tls://127.0.0.1:1?ca={pem}"),
        format!("fluvio+tls://127.0.0.1:1?key={SECRET}&key={SECRET}"),
        format!("fluvio+tls://127.0.0.1:1?key=x&{SECRET}"),
        format!("fluvio+tls://127.0.0.1:1?key=%zz{SECRET}"),
        format!("fluvio://127.0.0.1:1?token={SECRET}"),
        format!("fluvio://ada:{SECRET}@127.0.0.1:1"),
        format!("walrus://{SECRET}@127.0.0.1:1,127.0.0.1:2"),
        format!("fluvoi://ada:{SECRET}@127.0.0.1?token={SECRET}"),
        format!("memory:?telemetry.otlp_headers={SECRET}"),
        format!("memory:?password={SECRET}"),
    ] {
        let builder = Client::builder(&url);
        hides(&format!("{builder:?}"));
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        hides(&all_of(&error));
        hides(&floe::url::shown(&url));
    }
}

/// Returns a line of the key.
async fn a_refused_connection_hides_the_key() -> String {
    let (cert, key) = floe_testkit::certificates::Authority::default().issue(&["localhost"]);
    let line = key.lines().nth(1).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!(
        "fluvio+tls://{closed}?ca={}&cert={}&key={}",
        percent_encoded(&cert),
        percent_encoded(&cert),
        percent_encoded(&key)
    );
    let error = Client::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let engine_url: floe::url::EngineUrl = url.parse().unwrap();
    for seen in [all_of(&error), format!("{engine_url:?} {engine_url}"), floe::url::shown(&url)] {
        assert!(!seen.contains(line), "{seen}");
    }
    line.to_owned()
}

async fn a_working_client_hides_its_headers() {
    let sources = Sources::none()
        .variables([
            ("FLOE_TELEMETRY__OTLP_HEADERS", format!("api-key={SECRET}")),
            ("FLOE_URL", format!("fluvio://127.0.0.1?token={SECRET}")),
        ])
        .flag("--headers", "telemetry.otlp_headers", format!("api-key={SECRET}"));
    hides(&format!("{sources:?}"));
    let config = sources.load().unwrap();
    hides(&format!("{config:?} {:?}", config.entries()));
    let url = format!("memory:?telemetry.otlp_headers={}", percent_encoded(&format!("key={SECRET}")));
    let builder = Client::builder(&url).config(config);
    hides(&format!("{builder:?}"));
    let client = builder.connect().await.unwrap();
    let headers = client.settings().telemetry.otlp_headers.as_ref().unwrap();
    assert!(headers.expose().contains(SECRET), "the value itself is available");
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    producer.send("coffee").await.unwrap();
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    consumer.try_next().await.unwrap().unwrap();
    hides(&format!("{client:?} {producer:?} {consumer:?} {:?}", client.settings()));
    client.close().await.unwrap();
}
