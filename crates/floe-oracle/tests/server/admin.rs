//! Admin: topics, registered data servers and SmartModules, lists and watches.

use std::collections::BTreeSet;

use fluvio::{
    dataplane::link::ErrorCode,
    metadata::{
        customspu::{CustomSpuKey, CustomSpuSpec},
        objects::{CommonCreateRequest, ListFilter, ListRequest},
        partition::PartitionSpec,
        smartmodule::{SmartModuleSpec, SmartModuleWasm},
        spg::SpuGroupSpec,
        spu::SpuSpec,
        tableformat::TableFormatSpec,
        topic::{AddPartition, Deduplication, PartitionMap, TopicSpec, UpdateTopicAction},
    },
};
use fluvio_sc_schema::ApiError;

use crate::support::{Cluster, within};

/// Returns the error code in an error of the official client.
fn code_of(error: &anyhow::Error) -> ErrorCode {
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Code(code, _)) => code.clone(),
        _ => panic!("no error code: {error:?}"),
    }
}

async fn topic_names(cluster: &Cluster) -> BTreeSet<String> {
    let topics = within(cluster.admin.all::<TopicSpec>()).await.unwrap();
    topics.into_iter().map(|topic| topic.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_listed_and_deleted() {
    let cluster = Cluster::start().await;
    assert!(topic_names(&cluster).await.is_empty(), "system topics are hidden");
    cluster.topic("orders", 3).await;
    cluster.topic("invoices", 1).await;
    assert_eq!(topic_names(&cluster).await, ["invoices", "orders"].map(str::to_owned).into());

    let partitions = within(cluster.admin.all::<PartitionSpec>()).await.unwrap();
    let names: BTreeSet<_> = partitions.iter().map(|partition| partition.name.clone()).collect();
    assert_eq!(names, ["invoices-0", "orders-0", "orders-1", "orders-2"].map(str::to_owned).into());
    assert!(partitions.iter().all(|partition| partition.status.is_online()));

    within(cluster.admin.delete::<TopicSpec>("orders".to_owned())).await.unwrap();
    assert_eq!(topic_names(&cluster).await, ["invoices".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_is_empty() {
    let cluster = Cluster::start().await;
    cluster.topic("again", 1).await;
    cluster.send("again", ["old".to_owned()]).await;
    within(cluster.admin.delete::<TopicSpec>("again".to_owned())).await.unwrap();
    cluster.topic("again", 1).await;
    cluster.send("again", ["new".to_owned()]).await;
    let seen = cluster.values("again", fluvio::Offset::beginning()).await;
    assert_eq!(seen, [(0, "new".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_requests_are_refused_with_their_codes() {
    let cluster = Cluster::start().await;
    cluster.topic("taken", 1).await;
    let create = async |name: &str, spec| within(cluster.admin.create(name.to_owned(), false, spec)).await;
    for (name, spec, code) in [
        ("taken", TopicSpec::new_computed(1, 1, None), ErrorCode::TopicAlreadyExists),
        ("Bad_Name", TopicSpec::new_computed(1, 1, None), ErrorCode::TopicInvalidName),
        ("", TopicSpec::new_computed(1, 1, None), ErrorCode::TopicInvalidName),
        ("none", TopicSpec::new_computed(0, 1, None), ErrorCode::TopicError),
        ("replicated", TopicSpec::new_computed(1, 3, None), ErrorCode::TopicNotProvisioned),
    ] {
        let error = create(name, spec).await.unwrap_err();
        assert!(code_of(&error) == code, "{name}: {error:?}");
    }
    let missing = within(cluster.admin.delete::<TopicSpec>("missing".to_owned())).await.unwrap_err();
    assert!(code_of(&missing) == ErrorCode::TopicNotFound, "{missing:?}");
    let system = within(cluster.admin.delete::<TopicSpec>("consumer-offset".to_owned())).await.unwrap_err();
    assert!(matches!(code_of(&system), ErrorCode::SystemSpecDeletionAttempt { .. }), "{system:?}");
    assert_eq!(topic_names(&cluster).await, ["taken".to_owned()].into(), "nothing was created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_creates_nothing() {
    let cluster = Cluster::start().await;
    let spec = TopicSpec::new_computed(1, 1, None);
    within(cluster.admin.create("dry".to_owned(), true, spec)).await.unwrap();
    assert!(topic_names(&cluster).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_servers_are_listed_registered_and_removed() {
    let cluster = Cluster::start().await;
    let spus = within(cluster.admin.all::<SpuSpec>()).await.unwrap();
    assert_eq!(spus.len(), 1);
    assert!(spus[0].status.is_online());
    assert_eq!(spus[0].spec.public_endpoint.port, cluster.server.addresses().fluvio_spu.unwrap().port());
    let custom = CustomSpuSpec { id: 7001, ..CustomSpuSpec::default() };
    within(cluster.admin.create("mine".to_owned(), false, custom.clone())).await.unwrap();
    let twice = within(cluster.admin.create("other".to_owned(), false, custom)).await.unwrap_err();
    assert!(code_of(&twice) == ErrorCode::SpuAlreadyExists, "{twice:?}");
    let listed = within(cluster.admin.all::<CustomSpuSpec>()).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].spec.id), (1, "mine", 7001));
    assert_eq!(within(cluster.admin.all::<SpuSpec>()).await.unwrap().len(), 2);
    within(cluster.admin.delete::<CustomSpuSpec>(CustomSpuKey::Id(7001))).await.unwrap();
    assert!(within(cluster.admin.all::<CustomSpuSpec>()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smartmodules_are_kept_and_listed() {
    let cluster = Cluster::start().await;
    let wasm = SmartModuleWasm::from_compressed_gzip(vec![0x1f, 0x8b, 1, 2, 3]);
    let spec = SmartModuleSpec { wasm, ..SmartModuleSpec::default() };
    within(cluster.admin.create("upper".to_owned(), false, spec)).await.unwrap();
    let listed = within(cluster.admin.all::<SmartModuleSpec>()).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "upper"));
    let found = within(cluster.admin.list::<SmartModuleSpec, _>(vec!["lower".to_owned()])).await.unwrap();
    assert!(found.is_empty());
    within(cluster.admin.delete::<SmartModuleSpec>("upper".to_owned())).await.unwrap();
    let gone = within(cluster.admin.delete::<SmartModuleSpec>("upper".to_owned())).await.unwrap_err();
    assert!(matches!(code_of(&gone), ErrorCode::SmartModuleNotFound { .. }), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_get_more_partitions() {
    let cluster = Cluster::start().await;
    cluster.topic("grows", 1).await;
    cluster.send("grows", ["before".to_owned()]).await;
    let add = |count| UpdateTopicAction::AddPartition(AddPartition { count });
    within(cluster.admin.update::<TopicSpec>("grows".to_owned(), add(3))).await.unwrap();
    let partitions = within(cluster.admin.all::<PartitionSpec>()).await.unwrap();
    assert_eq!(partitions.len(), 4);
    assert_eq!(cluster.values("grows", fluvio::Offset::beginning()).await, [(0, "before".to_owned())]);
    let nothing = within(cluster.admin.update::<TopicSpec>("grows".to_owned(), add(0))).await.unwrap_err();
    assert!(code_of(&nothing) == ErrorCode::TopicError, "{nothing:?}");
    let missing = within(cluster.admin.update::<TopicSpec>("missing".to_owned(), add(1))).await.unwrap_err();
    assert!(code_of(&missing) == ErrorCode::TopicNotFound, "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_system_topics_are_listed_and_deleted_when_asked_for() {
    let cluster = Cluster::start().await;
    for name in ["orders", "reorder", "invoices"] {
        cluster.topic(name, 1).await;
    }
    let mut spec = TopicSpec::new_computed(1, 1, None);
    spec.set_system(true);
    let common = CommonCreateRequest {
        name: "hidden".to_owned(),
        timeout: Some(30_000),
        ..CommonCreateRequest::default()
    };
    within(cluster.admin.create_with_config(common, spec)).await.unwrap();
    let names = |topics: Vec<fluvio::metadata::objects::Metadata<TopicSpec>>| {
        topics.into_iter().map(|topic| topic.name).collect::<BTreeSet<_>>()
    };
    for summary in [false, true] {
        let found = cluster.admin.list_with_params::<TopicSpec, _>(vec!["order".to_owned()], summary);
        assert_eq!(names(within(found).await.unwrap()), ["orders", "reorder"].map(str::to_owned).into());
    }
    let system = || {
        let request = ListRequest::<TopicSpec>::new(Vec::<ListFilter>::new(), false).system(true);
        cluster.admin.list_with_config::<TopicSpec, String>(request)
    };
    let listed = names(within(system()).await.unwrap());
    assert_eq!(listed, ["consumer-offset", "hidden"].map(str::to_owned).into());
    let refused = within(cluster.admin.delete::<TopicSpec>("hidden".to_owned())).await.unwrap_err();
    assert!(matches!(code_of(&refused), ErrorCode::SystemSpecDeletionAttempt { .. }), "{refused:?}");
    within(cluster.admin.force_delete::<TopicSpec>("hidden".to_owned())).await.unwrap();
    assert_eq!(names(within(system()).await.unwrap()), ["consumer-offset".to_owned()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_keep_what_they_were_created_with() {
    let cluster = Cluster::start().await;
    let replicas = |id| PartitionMap { id, replicas: vec![5001], mirror: None };
    let spec = TopicSpec::new_assigned(vec![replicas(0), replicas(1)]);
    cluster.create("assigned", spec).await;
    let topics = within(cluster.admin.all::<TopicSpec>()).await.unwrap();
    assert_eq!(topics[0].spec.partitions(), 2);
    assert_eq!(topics[0].status.resolution.to_string(), "resolution::provisioned");

    let mut spec = TopicSpec::new_computed(1, 1, None);
    spec.set_deduplication(Some(Deduplication::default()));
    let refused = within(cluster.admin.create("unique".to_owned(), false, spec)).await.unwrap_err();
    assert!(code_of(&refused) == ErrorCode::DeduplicationSmartModuleNotLoaded, "{refused:?}");
    assert!(format!("{refused:?}").contains("does not support deduplication"), "{refused:?}");
    assert_eq!(topic_names(&cluster).await, ["assigned".to_owned()].into(), "not even without it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_formats_and_groups_of_data_servers() {
    let cluster = Cluster::start().await;
    let spec = TableFormatSpec { name: "columns".to_owned(), ..TableFormatSpec::default() };
    within(cluster.admin.create("columns".to_owned(), false, spec)).await.unwrap();
    let formats = within(cluster.admin.all::<TableFormatSpec>()).await.unwrap();
    assert_eq!((formats.len(), formats[0].name.as_str()), (1, "columns"));
    within(cluster.admin.delete::<TableFormatSpec>("columns".to_owned())).await.unwrap();
    assert!(within(cluster.admin.all::<TableFormatSpec>()).await.unwrap().is_empty());

    assert!(within(cluster.admin.all::<SpuGroupSpec>()).await.unwrap().is_empty());
    let group = cluster.admin.create("group".to_owned(), false, SpuGroupSpec::default());
    let refused = within(group).await.unwrap_err();
    assert!(format!("{refused:?}").contains("does not support groups of data servers"), "{refused:?}");
}
