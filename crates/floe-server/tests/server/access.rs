//! Who may do what: rules by certificate and for anonymous clients, in all protocols.

use std::path::Path;

use floe::{Client, ErrorKind, TopicSpec, consumer::StartAt};
use floe_server::{AccessRules, Addresses, Listeners, ServeLimits, ServeOptions, serve, testkit::TestServer};
use floe_testkit::certificates::Authority;
use floe_wire::fluvio::{
    CreateRequest, DeleteConsumerOffsetRequest, DeleteRequest, ErrorCode, FetchConsumerOffsetsRequest,
    FetchPartition, FetchRequest, FetchTopic, ListRequest, PartitionSpec, ReplicaKey, SmartModuleSpec,
    SpuSpec, StreamFetchRequest, TopicSpec as FluvioTopic, TopicUpdate, UpdateConsumerOffsetRequest,
    UpdateTopicRequest, WatchRequest,
};
use tokio::time::Instant;

use crate::{
    http::get,
    peer::{Peer, WalrusPeer, batch, stream, topic, within},
    tls::{DOMAIN, file, server_tls},
};

/// Starts a server on plain listeners with rules.
pub(crate) async fn with_rules(rules: &str) -> TestServer {
    let mut options = ServeOptions::default();
    options.access = Some(AccessRules::parse(rules).unwrap());
    TestServer::with("memory:", options).await.unwrap()
}

/// Returns a rule for anonymous clients.
pub(crate) fn anonymous(topics: &str, allow: &str) -> String {
    format!("[[rule]]\nsubjects = [\"anonymous\"]\ntopics = [{topics}]\nallow = [{allow}]\n")
}

async fn create(peer: &mut Peer, name: &str, dry_run: bool) -> ErrorCode {
    let spec = FluvioTopic::default();
    peer.call(&CreateRequest { name: name.to_owned(), dry_run, timeout_ms: None, spec }).await.error_code
}

#[tokio::test]
async fn data_requests_need_the_right_on_their_topic() {
    let server =
        with_rules(&(anonymous("\"open\"", "\"read\", \"write\"") + &anonymous("\"in-*\"", "\"write\"")))
            .await;
    for name in ["open", "in-1", "closed"] {
        topic(&server, name, 1).await;
    }
    let mut peer = Peer::data(&server).await;
    let sent = [batch(&["a"])];
    for (name, code) in [
        ("open", ErrorCode::None),
        ("in-1", ErrorCode::None),
        ("closed", ErrorCode::PermissionDenied),
        ("missing", ErrorCode::PermissionDenied),
        ("in-2", ErrorCode::NotLeaderForPartition),
    ] {
        assert_eq!(peer.produce(name, &sent).await.error_code, code, "produce to {name}");
    }
    for (name, code) in [
        ("open", ErrorCode::None),
        ("in-1", ErrorCode::None),
        ("closed", ErrorCode::PermissionDenied),
        ("missing", ErrorCode::PermissionDenied),
    ] {
        assert_eq!(peer.offsets(name, 0).await.error_code, code, "offsets of {name}");
    }
    for (name, code) in [("open", ErrorCode::None), ("in-1", ErrorCode::PermissionDenied)] {
        let id = peer.open(name, 0, 1000).await;
        assert_eq!(peer.pushed(id).await.partition.error_code, code, "stream of {name}");
        let partitions = vec![FetchPartition { max_bytes: 1000, ..FetchPartition::default() }];
        let fetch = FetchRequest {
            max_bytes: 1000,
            topics: vec![FetchTopic { name: name.to_owned(), partitions }],
            ..FetchRequest::default()
        };
        let mut fetched = peer.call(&fetch).await;
        let answer = fetched.topics.remove(0).partitions.remove(0);
        assert_eq!((answer.error_code, answer.records.is_empty()), (code.clone(), code != ErrorCode::None));
    }
    assert_eq!(server.client().admin().topic("closed").await.unwrap().partitions, 1);
}

#[tokio::test]
async fn stored_offsets_need_the_right_to_read() {
    let server = with_rules(&anonymous("\"open\"", "\"read\"")).await;
    for name in ["open", "closed"] {
        topic(&server, name, 1).await;
        server
            .client()
            .engine()
            .commit("group".into(), vec![(floe::Topic::from(name).partition(0), 1)])
            .await
            .unwrap();
    }
    let mut peer = Peer::data(&server).await;
    let id = peer
        .send(&StreamFetchRequest { consumer_id: Some("mine".to_owned()), ..stream("open", 0, 1000) })
        .await;
    assert_eq!(
        peer.call(&UpdateConsumerOffsetRequest { offset: 0, stream_id: 1 }).await.error_code,
        ErrorCode::None
    );
    let listed = peer.call(&FetchConsumerOffsetsRequest { filter: None }).await.consumers;
    assert!(id > 0 && listed.iter().all(|row| row.replica.topic == "open"), "{listed:?}");
    assert_eq!(listed.len(), 2);
    for (topic, code) in [("closed", ErrorCode::PermissionDenied), ("open", ErrorCode::None)] {
        let replica = ReplicaKey { topic: topic.to_owned(), partition: 0 };
        let request = DeleteConsumerOffsetRequest { replica, consumer_id: "group".to_owned() };
        assert_eq!(peer.call(&request).await.error_code, code, "{topic}");
    }
}

#[tokio::test]
async fn changes_need_admin_and_lists_show_what_a_client_may_use() {
    let server =
        with_rules(&(anonymous("\"team-*\"", "\"admin\"") + &anonymous("\"open\"", "\"read\""))).await;
    for name in ["open", "closed", "team-1"] {
        topic(&server, name, 1).await;
    }
    let mut peer = Peer::controller(&server).await;
    let names = peer.call(&ListRequest::<FluvioTopic>::default()).await.objects;
    let names: Vec<_> = names.into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["open", "team-1"]);
    let partitions = peer.call(&ListRequest::<PartitionSpec>::default()).await.objects;
    assert_eq!(partitions.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), ["open-0", "team-1-0"]);
    assert_eq!(
        peer.call(&ListRequest::<SpuSpec>::default()).await.objects.len(),
        1,
        "clients need its address"
    );
    for (name, dry_run, code) in [
        ("team-2", true, ErrorCode::None),
        ("team-2", false, ErrorCode::None),
        ("open-2", false, ErrorCode::PermissionDenied),
        ("closed", false, ErrorCode::PermissionDenied),
        ("", false, ErrorCode::PermissionDenied),
    ] {
        assert_eq!(create(&mut peer, name, dry_run).await, code, "{name}");
    }
    for (key, code) in [("closed", ErrorCode::PermissionDenied), ("team-1", ErrorCode::None)] {
        let action = TopicUpdate::AddPartition { count: 1 };
        let update = UpdateTopicRequest { key: key.to_owned(), action };
        assert_eq!(peer.call(&update).await.error_code, code, "{key}");
        let delete = DeleteRequest::<FluvioTopic> { key: key.to_owned(), force: false };
        let status = peer.call(&delete).await;
        assert_eq!(status.error_code, code, "{key}");
        if code != ErrorCode::None {
            let expected = "permission denied: no rule of the server lets anonymous delete topic";
            assert_eq!(status.error_message.as_deref(), Some(expected));
        }
    }
    let spec = SmartModuleSpec { payload: b"\0asm".as_slice().into(), ..SmartModuleSpec::default() };
    let module = CreateRequest { name: "m".to_owned(), dry_run: false, timeout_ms: None, spec };
    assert_eq!(peer.call(&module).await.error_code, ErrorCode::PermissionDenied, "team-* is not the cluster");
    let delete = DeleteRequest::<SmartModuleSpec> { key: "m".to_owned(), force: false };
    assert_eq!(peer.call(&delete).await.error_code, ErrorCode::PermissionDenied);
    let left: Vec<_> = server
        .client()
        .admin()
        .topics()
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.name.to_string())
        .collect();
    assert_eq!(left, ["closed", "open", "team-2"]);
}

#[tokio::test]
async fn objects_of_the_cluster_belong_to_those_who_administer_all() {
    let server = with_rules(&anonymous("\"*\"", "\"admin\"")).await;
    let mut peer = Peer::controller(&server).await;
    let spec = SmartModuleSpec { payload: b"\0asm".as_slice().into(), ..SmartModuleSpec::default() };
    let module = CreateRequest { name: "m".to_owned(), dry_run: false, timeout_ms: None, spec };
    assert_eq!(peer.call(&module).await.error_code, ErrorCode::None);
    assert_eq!(peer.call(&ListRequest::<SmartModuleSpec>::default()).await.objects.len(), 1);
}

#[tokio::test]
async fn watches_report_only_what_a_client_may_use() {
    let server = with_rules(&anonymous("\"open*\"", "\"read\"")).await;
    topic(&server, "open", 1).await;
    topic(&server, "closed", 1).await;
    let mut peer = Peer::controller(&server).await;
    let id = peer.send(&WatchRequest::<FluvioTopic>::default()).await;
    let first = peer.reply::<WatchRequest<FluvioTopic>>(id).await;
    let names: Vec<_> = first.all.into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, ["consumer-offset", "open"]);
    topic(&server, "closed-2", 1).await;
    topic(&server, "open-2", 1).await;
    let next = peer.reply::<WatchRequest<FluvioTopic>>(id).await;
    let names: Vec<_> = next.changes.into_iter().map(|change| change.object.name).collect();
    assert_eq!(names, ["open-2"]);
}

#[tokio::test]
async fn walrus_commands_need_the_right_on_their_topic() {
    let server = with_rules(&(anonymous("\"in\"", "\"write\"") + &anonymous("\"out\"", "\"read\""))).await;
    for name in ["in", "out", "closed"] {
        topic(&server, name, 1).await;
    }
    server.client().producer("out").start().await.unwrap().send("x").await.unwrap();
    let mut peer = WalrusPeer::connect(&server).await;
    let denied =
        |operation: &str| format!("ERR permission denied: no rule of the server lets anonymous {operation}");
    for (command, answer) in [
        ("PUT in a", "OK".to_owned()),
        ("PUT out a", denied("produce")),
        ("PUT closed a", denied("produce")),
        ("PUT missing a", denied("produce")),
        ("BATCH_PUT closed 1 1 a", denied("produce")),
        ("GET in", denied("consume")),
        ("BATCH_GET closed 1 1", denied("consume")),
        ("GET out", "OK x".to_owned()),
        ("REGISTER in", "OK".to_owned()),
        ("REGISTER closed", denied("describe")),
        ("STATE missing", denied("describe")),
    ] {
        assert_eq!(peer.ask(command).await, answer, "{command}");
    }
    assert!(peer.ask("STATE in").await.starts_with('{') && peer.ask("METRICS").await.starts_with('{'));
    let creator = with_rules(&(anonymous("\"new\"", "\"admin\"") + &anonymous("\"seen\"", "\"read\""))).await;
    let mut peer = WalrusPeer::connect(&creator).await;
    assert_eq!(peer.ask("REGISTER new").await, "OK");
    assert_eq!(peer.ask("REGISTER seen").await, denied("create topic"));
    // floe's own client reports a refusal as such, and does not retry.
    let client = Client::connect(&format!("walrus://{}", creator.walrus_address())).await.unwrap();
    let error = within(async { client.producer("new").start().await?.send("x").await }).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::AuthFailed, false), "{error}");
}

#[tokio::test]
async fn metrics_need_their_right_and_health_none() {
    let server = with_rules(&anonymous("\"*\"", "\"read\", \"write\", \"admin\"")).await;
    let address = server.http_address();
    for (path, accept, status) in [
        ("/livez", "*/*", 200),
        ("/livez?verbose", "application/json", 200),
        ("/readyz", "*/*", 200),
        ("/healthz", "*/*", 200),
        ("/readyz?verbose", "*/*", 403),
        ("/healthz", "application/json", 403),
        ("/metrics", "*/*", 403),
        ("/unknown", "*/*", 403),
    ] {
        assert_eq!(get(&address, path, accept).await.0, status, "{path}");
    }
    let server = with_rules("[[rule]]\nsubjects = [\"anonymous\"]\nallow = [\"metrics\"]\n").await;
    let address = server.http_address();
    assert_eq!(get(&address, "/readyz?verbose", "*/*").await.0, 200);
    topic(&server, "t", 1).await;
    assert_eq!(
        Peer::data(&server).await.produce("t", &[batch(&["a"])]).await.error_code,
        ErrorCode::PermissionDenied
    );
    let (status, text) = get(&address, "/metrics", "*/*").await;
    let line = "floe_server_refused_by_rule_total{listener=\"fluvio_spu\",operation=\"produce\"} 1\n";
    assert!(status == 200 && text.contains(line), "{text}");
}

/// URL of a client with a certificate.
pub(crate) fn url_of(
    server: &TestServer,
    folder: &Path,
    authority: &Authority,
    (name, dns): (&str, &str),
) -> String {
    let (certificate, key) = authority.issue_to(name, &[dns]);
    let certificate = file(folder, &format!("{name}.pem"), &certificate);
    let key = file(folder, &format!("{name}-key.pem"), &key);
    let ca = file(folder, "ca.pem", &authority.pem());
    format!(
        "fluvio+tls://{}?domain={DOMAIN}&ca={}&cert={}&key={}",
        server.fluvio_address(),
        ca.display(),
        certificate.display(),
        key.display()
    )
}

#[tokio::test]
async fn certificates_select_the_rules() {
    let (authority, folder) = (Authority::default(), tempfile::tempdir().unwrap());
    let mut options = ServeOptions::default();
    options.tls = Some(server_tls(&authority, Some(&authority)));
    options.access = Some(
        AccessRules::parse(
            "[[rule]]\nsubjects = [\"cn:admin\"]\ntopics = [\"*\"]\nallow = [\"admin\"]\n\
             [[rule]]\nsubjects = [\"cn:writer\"]\ntopics = [\"orders\"]\nallow = [\"write\"]\n\
             [[rule]]\nsubjects = [\"dns:*.readers.example\"]\ntopics = [\"orders\"]\nallow = [\"read\"]\n\
             [[rule]]\nsubjects = [\"anonymous\"]\ntopics = [\"*\"]\nallow = [\"read\", \"write\", \"admin\"]\n",
        )
        .unwrap(),
    );
    let server = TestServer::with("memory:", options).await.unwrap();
    assert_eq!(server.walrus_address(), "", "Walrus would need no certificate");
    let connect = async |name: &str, dns: &str| {
        within(Client::connect(&url_of(&server, folder.path(), &authority, (name, dns)))).await.unwrap()
    };
    let admin = connect("admin", "a.example").await;
    within(admin.admin().create_topic(TopicSpec::new("orders"))).await.unwrap();
    let writer = connect("writer", "w.example").await;
    within(async { writer.producer("orders").start().await?.send("coffee").await }).await.unwrap();
    let reader = connect("r", "r.readers.example").await;
    let mut consumer = reader.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(within(consumer.try_next()).await.unwrap().unwrap().value, "coffee");
    let refused =
        within(async { reader.producer("orders").start().await?.send("tea").await }).await.unwrap_err();
    assert_eq!((refused.kind(), refused.is_retriable()), (ErrorKind::AuthFailed, false), "{refused}");
    let refused = within(writer.admin().create_topic(TopicSpec::new("mine"))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AuthFailed, "{refused}");
    assert!(refused.to_string().contains("no rule of the server lets cn:writer create topic"), "{refused}");
    let mut denied = writer.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    let refused = within(denied.try_next()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AuthFailed, "{refused}");
    // A certificate without a rule sees nothing, although anonymous clients may do everything.
    let stranger = connect("stranger", "s.example").await;
    assert!(within(stranger.admin().topics()).await.unwrap().is_empty());
}

#[tokio::test]
async fn walrus_is_not_served_past_certificates_unless_asked_for() {
    let authority = Authority::default();
    let mut options = ServeOptions::default();
    options.tls = Some(server_tls(&authority, Some(&authority)));
    let client = Client::connect("memory:").await.unwrap();
    let listeners = Listeners::bind(&Addresses::free_ports()).await.unwrap();
    let served = serve(listeners, client.engine().clone(), options.clone(), async {}).await;
    let error = served.unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidConfig && error.to_string().contains("plain_walrus"),
        "{error}"
    );
    options.plain_walrus = true;
    let server = TestServer::with("memory:", options).await.unwrap();
    assert_eq!(WalrusPeer::connect(&server).await.ask("REGISTER t").await, "OK");
}

#[tokio::test]
async fn connections_of_an_address_are_limited() {
    let mut limits = ServeLimits::default();
    limits.connections_per_address = Some(2);
    let server = TestServer::with_limits(limits).await.unwrap();
    let mut first = Peer::data(&server).await;
    let mut second = Peer::controller(&server).await;
    first.nothing_was_pushed().await;
    second.call(&ListRequest::<SpuSpec>::default()).await;
    Peer::data(&server).await.is_closed().await;
    WalrusPeer::connect(&server).await.send("METRICS").await;
    drop(second);
    // The server notices the end of a connection a little later.
    let admitted = async {
        loop {
            let mut peer = Peer::data(&server).await;
            peer.send(&floe_wire::fluvio::FetchOffsetsRequest::of_partition("t", 0)).await;
            if peer.frame().await.is_some() {
                return;
            }
        }
    };
    within(admitted).await;
    first.nothing_was_pushed().await;
}

#[tokio::test]
async fn rates_of_a_client_delay_it() {
    let mut limits = ServeLimits::default();
    limits.client_produce_bytes_per_second = Some(10_000);
    let server = TestServer::with_limits(limits).await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::data(&server).await;
    let large = "x".repeat(9_000);
    let begun = Instant::now();
    for _ in 0..3 {
        // A new connection does not renew the rate.
        assert_eq!(peer.produce("t", &[batch(&[&large])]).await.error_code, ErrorCode::None);
        peer = Peer::data(&server).await;
    }
    // 18,000 of the bytes come before the last batch, and 10,000 of them are free.
    assert!(begun.elapsed().as_millis() >= 800, "{:?}", begun.elapsed());
    let (_, text) = get(&server.http_address(), "/metrics", "*/*").await;
    assert!(text.contains("floe_server_delayed_total{listener=\"fluvio_spu\",rate=\"produce\"}"), "{text}");
}
