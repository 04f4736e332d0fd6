//! Audit lines: refusals and changes, each in one line.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use floe_server::testkit::TestServer;
use floe_wire::fluvio::{
    CreateRequest, DeleteConsumerOffsetRequest, DeleteRequest, ReplicaKey, SmartModuleSpec, TopicSpec,
    TopicUpdate, UpdateTopicRequest,
};
use tracing::{
    Event, Metadata,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{
    access::{anonymous, with_rules},
    peer::{Peer, WalrusPeer, batch, topic},
};

/// Keeps the fields of audit events as text. The server runs on the thread of the test, whose subscriber this is.
#[derive(Debug, Default, Clone)]
struct AuditLog(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for AuditLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "floe::audit"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl AuditLog {
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    #[track_caller]
    fn only(&self, parts: &[&str]) {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in parts {
            assert!(lines[0].contains(part), "{part} is not in {lines:?}");
        }
    }
}

#[tokio::test]
async fn changes_are_logged_with_client_and_object() {
    let log = AuditLog::default();
    let _current = tracing::subscriber::set_default(log.clone());
    let server = TestServer::start().await.unwrap();
    let mut peer = Peer::controller(&server).await;
    let address = peer.socket.local_addr().unwrap().to_string();
    let spec = TopicSpec::default();
    let mut create = CreateRequest { name: "t".to_owned(), dry_run: true, timeout_ms: None, spec };
    peer.call(&create).await;
    assert!(log.lines().is_empty(), "a dry run changes nothing");
    create.dry_run = false;
    peer.call(&create).await;
    let peer_field = format!("peer={address}");
    log.only(&[
        "verdict=\"done\"",
        "operation=\"create topic\"",
        "object=\"t\"",
        "subject=\"anonymous\"",
        &peer_field,
    ]);
    peer.call(&create).await;
    assert!(log.lines().is_empty(), "a failure changes nothing");
    let action = TopicUpdate::AddPartition { count: 1 };
    peer.call(&UpdateTopicRequest { key: "t".to_owned(), action }).await;
    log.only(&["operation=\"change topic\"", "object=\"t\""]);
    let spec = SmartModuleSpec { payload: b"\0asm".as_slice().into(), ..SmartModuleSpec::default() };
    peer.call(&CreateRequest {
        name: "m\nverdict=\"done\"".to_owned(),
        dry_run: false,
        timeout_ms: None,
        spec,
    })
    .await;
    log.only(&["operation=\"create object\"", r#"object="m\nverdict=\"done\"""#]);
    peer.call(&DeleteRequest::<SmartModuleSpec> { key: "m\nverdict=\"done\"".to_owned(), force: false })
        .await;
    log.only(&["operation=\"delete object\""]);
    let mut data = Peer::data(&server).await;
    let replica = ReplicaKey { topic: "t".to_owned(), partition: 0 };
    data.call(&DeleteConsumerOffsetRequest { replica, consumer_id: "group".to_owned() }).await;
    log.only(&["operation=\"delete offset\"", "object=\"group@t/0\"", "listener=\"fluvio_spu\""]);
    peer.call(&DeleteRequest::<TopicSpec> { key: "t".to_owned(), force: false }).await;
    log.only(&["operation=\"delete topic\"", "object=\"t\""]);
    let mut walrus = WalrusPeer::connect(&server).await;
    walrus.ask("REGISTER w").await;
    log.only(&["operation=\"create topic\"", "object=\"w\"", "listener=\"walrus\""]);
    walrus.ask("REGISTER w").await;
    assert!(log.lines().is_empty(), "the topic existed");
}

#[tokio::test]
async fn refusals_are_logged_in_bounds() {
    let log = AuditLog::default();
    let _current = tracing::subscriber::set_default(log.clone());
    let server = with_rules(&anonymous("\"open\"", "\"read\"")).await;
    topic(&server, "open", 1).await;
    let mut peer = Peer::data(&server).await;
    let sent = [batch(&["a"])];
    let hostile = format!("closed\r\n\u{1b}[31m\u{202e}{}", "x".repeat(10_000));
    peer.produce(&hostile, &sent).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    for part in [
        "verdict=\"refused\"",
        "operation=\"produce\"",
        r#"object="closed\r\n\u{1b}[31m\u{202e}xxx"#,
        "omitted=0",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(line.len() < 1000 && !line.chars().any(char::is_control), "{line}");
    for _ in 0..100 {
        peer.produce("closed", &sent).await;
    }
    // Another connection of the same client has no allowance of its own.
    let mut other = Peer::data(&server).await;
    other.produce("closed", &sent).await;
    let logged = log.lines().len();
    assert!((1..50).contains(&logged), "{logged}");
}
