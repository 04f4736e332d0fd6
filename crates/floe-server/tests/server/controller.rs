//! The controller, by raw frames: requests that official clients never send, and fields they do not show.

use bytes::Bytes;
use floe_server::testkit::TestServer;
use floe_wire::fluvio::{
    ApiVersionsRequest, CreateRequest, CustomSpuSpec, DeleteRequest, ErrorCode, ListRequest, MirrorSpec,
    MirroringRequest, Object, PartitionSpec, ReplicaAssignment, Request, SmartModuleMetadata,
    SmartModulePackage, SmartModuleSpec, SpuGroupSpec, SpuSpec, Status, TableFormatSpec, TopicSpec,
    TopicUpdate, UpdateTopicRequest, WatchRequest,
};

use crate::peer::{Peer, batch, topic};

async fn create<O: Object>(peer: &mut Peer, name: &str, spec: O) -> ErrorCode {
    let request = CreateRequest { name: name.to_owned(), dry_run: false, timeout_ms: None, spec };
    peer.call(&request).await.error_code
}

async fn delete<O: Object<DeleteKey = String>>(peer: &mut Peer, key: &str, force: bool) -> Status {
    peer.call(&DeleteRequest::<O> { key: key.to_owned(), force }).await
}

async fn names<O: Object>(peer: &mut Peer, request: ListRequest<O>) -> Vec<String> {
    peer.call(&request).await.objects.into_iter().map(|object| object.name).collect()
}

fn filtered<O>(filter: &str) -> ListRequest<O> {
    ListRequest::new(vec![filter.to_owned()])
}

#[tokio::test]
async fn lists_are_filtered_as_on_a_real_controller() {
    let server = TestServer::start().await.unwrap();
    for name in ["orders", "invoices", "reorder"] {
        topic(&server, name, 1).await;
    }
    let mut peer = Peer::controller(&server).await;
    let hidden = TopicSpec { system: true, ..TopicSpec::default() };
    assert_eq!(create(&mut peer, "hidden", hidden).await, ErrorCode::None);
    assert_eq!(
        names::<TopicSpec>(&mut peer, ListRequest::default()).await,
        ["invoices", "orders", "reorder"]
    );
    assert_eq!(
        names::<TopicSpec>(&mut peer, filtered("order")).await,
        ["orders", "reorder"],
        "a part is enough"
    );
    let system = ListRequest::<TopicSpec>::default().system(true);
    assert_eq!(names(&mut peer, system).await, ["consumer-offset", "hidden"]);
    let system = ListRequest::<PartitionSpec>::default().system(true);
    assert_eq!(names(&mut peer, system).await, ["consumer-offset-0", "hidden-0"]);
    let partitions = names::<PartitionSpec>(&mut peer, filtered("no such name")).await;
    assert_eq!(partitions, ["invoices-0", "orders-0", "reorder-0"], "partitions ignore filters");
    assert!(names::<SpuGroupSpec>(&mut peer, ListRequest::default()).await.is_empty());
    assert!(names::<MirrorSpec>(&mut peer, ListRequest::default()).await.is_empty());
}

/// Runs on several threads, where the server's watch and the request race.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_created_elsewhere_is_found_by_name() {
    let server = TestServer::start().await.unwrap();
    let mut peer = Peer::controller(&server).await;
    for round in 0..300 {
        let name = format!("topic-{round}");
        server.client().admin().create_topic(floe::TopicSpec::new(name.as_str())).await.unwrap();
        assert_eq!(names::<TopicSpec>(&mut peer, filtered(&name)).await, [name.as_str()]);
        server.client().admin().delete_topic(name).await.unwrap();
    }
}

#[tokio::test]
async fn partitions_show_their_leader_and_offsets() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 2).await;
    Peer::data(&server).await.produce("t", &[batch(&["a", "b"])]).await;
    let mut peer = Peer::controller(&server).await;
    let spus = peer.call(&ListRequest::<SpuSpec>::default()).await.objects;
    let address = server.addresses().fluvio_spu.unwrap();
    let endpoint = &spus[0].spec.public_endpoint;
    assert_eq!((spus.len(), endpoint.port), (1, address.port()));
    assert_eq!(endpoint.ingress[0].hostname.as_deref(), Some("127.0.0.1"));
    let partitions = peer.call(&ListRequest::<PartitionSpec>::default()).await.objects;
    assert!(partitions.iter().all(|partition| partition.spec.leader == spus[0].spec.id));
    let status = &partitions[0].status;
    assert_eq!((status.leader.high_watermark, status.leader.log_end_offset), (2, 2));
    assert!(status.size > 0);
    assert_eq!(partitions[1].status.leader.log_end_offset, 0);
}

#[tokio::test]
async fn system_topics_are_protected() {
    let server = TestServer::start().await.unwrap();
    let mut peer = Peer::controller(&server).await;
    let hidden = TopicSpec { system: true, ..TopicSpec::default() };
    create(&mut peer, "hidden", hidden).await;
    let attempt =
        |name: &str| ErrorCode::SystemSpecDeletionAttempt { kind: "Topic".to_owned(), name: name.to_owned() };
    assert_eq!(delete::<TopicSpec>(&mut peer, "hidden", false).await.error_code, attempt("hidden"));
    let update = |key: &str| UpdateTopicRequest {
        key: key.to_owned(),
        action: TopicUpdate::AddPartition { count: 1 },
    };
    for name in ["hidden", "consumer-offset"] {
        let code = ErrorCode::SystemSpecUpdatingAttempt { kind: "Topic".to_owned(), name: name.to_owned() };
        assert_eq!(peer.call(&update(name)).await.error_code, code);
    }
    assert_eq!(delete::<TopicSpec>(&mut peer, "hidden", true).await.error_code, ErrorCode::None);
    let offsets = delete::<TopicSpec>(&mut peer, "consumer-offset", true).await.error_code;
    assert_eq!(offsets, attempt("consumer-offset"));
    assert_eq!(
        create(&mut peer, "consumer-offset", TopicSpec::default()).await,
        ErrorCode::TopicAlreadyExists
    );
}

#[tokio::test]
async fn partitions_are_added_and_shown() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 2).await;
    let mut peer = Peer::controller(&server).await;
    let update = UpdateTopicRequest { key: "t".to_owned(), action: TopicUpdate::AddPartition { count: 3 } };
    assert_eq!(peer.call(&update).await.error_code, ErrorCode::None);
    let topics = peer.call(&filtered::<TopicSpec>("t")).await.objects;
    assert_eq!(
        topics[0].spec.replicas,
        ReplicaAssignment::Computed { partitions: 5, replication_factor: 1, ignore_rack: false }
    );
    assert_eq!(topics[0].status.replica_map.len(), 5);
    let names = names(&mut peer, ListRequest::<PartitionSpec>::default()).await;
    assert_eq!(names, ["t-0", "t-1", "t-2", "t-3", "t-4"]);
}

#[tokio::test]
async fn unsupported_changes_are_refused() {
    let server = TestServer::start().await.unwrap();
    topic(&server, "t", 1).await;
    let mut peer = Peer::controller(&server).await;
    let mut update =
        UpdateTopicRequest { key: "missing".to_owned(), action: TopicUpdate::AddPartition { count: 1 } };
    assert_eq!(peer.call(&update).await.error_code, ErrorCode::TopicNotFound);
    update.key = "t".to_owned();
    for count in [0, 10_000, u32::MAX] {
        update.action = TopicUpdate::AddPartition { count };
        assert_eq!(peer.call(&update).await.error_code, ErrorCode::TopicError, "{count}");
    }
    update.action = TopicUpdate::AddPartition { count: 1 };
    let assigned = vec![floe_wire::fluvio::PartitionAssignment { id: 0, replicas: vec![5001], mirror: None }];
    let spec = TopicSpec { replicas: ReplicaAssignment::Assigned(assigned), ..TopicSpec::default() };
    assert_eq!(create(&mut peer, "by-hand", spec).await, ErrorCode::None);
    update.key = "by-hand".to_owned();
    assert_eq!(peer.call(&update).await.error_code, ErrorCode::TopicInvalidReplicaType);
    update.action = TopicUpdate::AddMirror(floe_wire::fluvio::AddMirror::default());
    assert_eq!(peer.call(&update).await.error_code, ErrorCode::TopicInvalidReplicaType);

    assert!(matches!(create(&mut peer, "g", SpuGroupSpec::default()).await, ErrorCode::Other(_)));
    assert!(matches!(create(&mut peer, "p", PartitionSpec::default()).await, ErrorCode::Other(_)));
    assert_eq!(delete::<SpuGroupSpec>(&mut peer, "g", false).await.error_code, ErrorCode::SpuNotFound);
    assert_eq!(delete::<MirrorSpec>(&mut peer, "m", false).await.error_code, ErrorCode::MirrorNotFound);
    let mirroring = peer.call(&MirroringRequest { remote_id: "edge".to_owned() }).await;
    assert_eq!(mirroring.error_code, ErrorCode::MirrorNotFound);
}

#[tokio::test]
async fn registry_objects_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::at(folder.path()).await.unwrap();
    let mut peer = Peer::controller(&server).await;
    let package = SmartModulePackage {
        name: "upper".to_owned(),
        group: "acme".to_owned(),
        version: "0.1.0".to_owned(),
        ..SmartModulePackage::default()
    };
    let module = SmartModuleSpec {
        meta: Some(SmartModuleMetadata { package, ..SmartModuleMetadata::default() }),
        payload: Bytes::from_static(b"\x1f\x8b\0\xff"),
        ..SmartModuleSpec::default()
    };
    let request =
        CreateRequest { name: "ignored".to_owned(), dry_run: false, timeout_ms: None, spec: module.clone() };
    let stored = peer.call(&request).await;
    assert_eq!((stored.error_code, stored.name.as_str()), (ErrorCode::None, "upper-acme-0.1.0"));
    assert_eq!(create(&mut peer, "format", TableFormatSpec::default()).await, ErrorCode::None);
    assert_eq!(
        create(&mut peer, "format", TableFormatSpec::default()).await,
        ErrorCode::TableFormatAlreadyExists
    );
    let spu = CustomSpuSpec { id: 9, ..CustomSpuSpec::default() };
    assert_eq!(create(&mut peer, "spu", spu).await, ErrorCode::None);
    drop(peer);
    server.stop().await.unwrap();

    let server = TestServer::at(folder.path()).await.unwrap();
    let mut peer = Peer::controller(&server).await;
    let modules = peer.call(&filtered::<SmartModuleSpec>("acme/upper@0.1.0")).await.objects;
    assert_eq!((modules.len(), &modules[0].spec), (1, &module));
    let summaries = peer.call(&ListRequest::<SmartModuleSpec>::default().summary(true)).await.objects;
    assert_eq!((summaries[0].spec.payload.len(), summaries[0].spec.summary.unwrap().wasm_length), (0, 4));
    assert_eq!(names::<TableFormatSpec>(&mut peer, ListRequest::default()).await, ["format"]);
    assert_eq!(names::<CustomSpuSpec>(&mut peer, ListRequest::default()).await, ["spu"]);
    assert_eq!(delete::<TableFormatSpec>(&mut peer, "format", false).await.error_code, ErrorCode::None);
    let again = delete::<TableFormatSpec>(&mut peer, "format", false).await.error_code;
    assert_eq!(again, ErrorCode::TableFormatNotFound);
    assert_eq!(delete::<SmartModuleSpec>(&mut peer, "upper", false).await.error_code, ErrorCode::None);
}

#[tokio::test]
async fn watches_report_a_change_before_its_reply() {
    let server = TestServer::start().await.unwrap();
    let mut peer = Peer::controller(&server).await;
    let topics = peer.send(&WatchRequest::<TopicSpec>::default()).await;
    let all = peer.reply::<WatchRequest<TopicSpec>>(topics).await.all;
    assert_eq!(all.len(), 1, "the system topic");
    let partitions = peer.send(&WatchRequest::<PartitionSpec>::default()).await;
    assert_eq!(peer.reply::<WatchRequest<PartitionSpec>>(partitions).await.all.len(), 1);
    let spus = peer.send(&WatchRequest::<SpuSpec>::default()).await;
    assert_eq!(peer.reply::<WatchRequest<SpuSpec>>(spus).await.all.len(), 1);
    let groups = peer.send(&WatchRequest::<SpuGroupSpec>::default()).await;
    assert!(peer.reply::<WatchRequest<SpuGroupSpec>>(groups).await.all.is_empty());
    let request = CreateRequest {
        name: "new".to_owned(),
        dry_run: false,
        timeout_ms: None,
        spec: TopicSpec::default(),
    };
    let created = peer.send(&request).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(peer.frame().await.unwrap().0);
    }
    assert_eq!(told[2], created, "the reply comes last");
    told.sort_unstable();
    assert_eq!(told, [topics, partitions, created]);
}

#[tokio::test]
async fn controller_closes_connections_on_invalid_requests() {
    let server = TestServer::start().await.unwrap();
    let mut without_version = Peer::controller(&server).await;
    without_version.send(&ApiVersionsRequest::default()).await;
    without_version.is_closed().await;
    let mut unwatchable = Peer::controller(&server).await;
    unwatchable.send(&WatchRequest::<CustomSpuSpec>::default()).await;
    unwatchable.is_closed().await;
    let mut unwatchable = Peer::controller(&server).await;
    unwatchable.send(&WatchRequest::<MirrorSpec>::default()).await;
    unwatchable.is_closed().await;
    let mut unknown = Peer::controller(&server).await;
    unknown.send_bytes(&[0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]).await;
    unknown.is_closed().await;
    // Other connections still work.
    let mut peer = Peer::controller(&server).await;
    let request = ApiVersionsRequest { client_version: "0.50.1".to_owned(), ..ApiVersionsRequest::default() };
    let reply = peer.call(&request).await;
    assert_eq!(reply.platform_version, "0.18.2");
    let watch = reply.api_keys.iter().find(|range| range.api_key == 1004).unwrap();
    let versions = WatchRequest::<TopicSpec>::VERSIONS;
    assert_eq!((watch.min_version, watch.max_version), (versions.min, versions.max));
}
