//! Requests to controllers and their replies with explicit, pairwise different field values.

use floe_wire::fluvio as floe;
use fluvio_controlplane_metadata::{partition, topic};
use fluvio_protocol::link::ErrorCode;
use fluvio_sc_schema::{
    Status, TryEncodableFrom,
    objects::{
        CommonCreateRequest, CreateRequest, DeleteRequest, ListRequest, ListResponse, Metadata,
        MetadataUpdate, ObjectApiCreateRequest, ObjectApiDeleteRequest, ObjectApiListRequest,
        ObjectApiListResponse, ObjectApiUpdateRequest, ObjectApiWatchRequest, ObjectApiWatchResponse,
        UpdateRequest, WatchRequest, WatchResponse,
    },
};

use crate::{
    values_data::same,
    values_objects::{computed_topics, partition_statuses},
};

const VERSION: i16 = 19;

fn envelope<T, E: TryEncodableFrom<T>>(content: T) -> E {
    E::try_encode_from(content, VERSION).unwrap()
}

#[test]
fn requests_to_change_objects() {
    let (floe_topic, topic) = computed_topics();
    same(
        &floe::CreateRequest { name: "one".into(), dry_run: true, timeout_ms: Some(1500), spec: floe_topic },
        &envelope::<_, ObjectApiCreateRequest>(CreateRequest::new(
            CommonCreateRequest { name: "one".into(), dry_run: true, timeout: Some(1500) },
            topic,
        )),
        VERSION,
    );
    same(
        &floe::DeleteRequest::<floe::TopicSpec> { key: "one".into(), force: true },
        &envelope::<_, ObjectApiDeleteRequest>(DeleteRequest::<topic::TopicSpec>::with("one".into(), true)),
        VERSION,
    );
    for (action, official) in [
        (
            floe::TopicUpdate::AddPartition { count: 2 },
            topic::UpdateTopicAction::AddPartition(topic::AddPartition { count: 2 }),
        ),
        (
            floe::TopicUpdate::AddMirror(floe::AddMirror {
                remote_cluster: "far".into(),
                home_to_mirror: true,
            }),
            topic::UpdateTopicAction::AddMirror(topic::AddMirror {
                remote_cluster: "far".into(),
                home_to_mirror: true,
            }),
        ),
    ] {
        same(
            &floe::UpdateTopicRequest { key: "one".into(), action },
            &envelope::<_, ObjectApiUpdateRequest>(UpdateRequest::<topic::TopicSpec>::new(
                "one".into(),
                official,
            )),
            VERSION,
        );
    }
    same(
        &floe::Status {
            name: "one".into(),
            error_code: floe::ErrorCode::TopicAlreadyExists,
            error_message: Some("why".into()),
        },
        &Status::new("one".into(), ErrorCode::TopicAlreadyExists, Some("why".into())),
        VERSION,
    );
}

#[test]
fn requests_to_see_objects() {
    for (summary, system) in [(true, false), (false, true)] {
        let filters = vec!["one".to_owned().into(), "two".to_owned().into()];
        same(
            &floe::ListRequest::<floe::TopicSpec>::new(vec!["one".into(), "two".into()])
                .summary(summary)
                .system(system),
            &envelope::<_, ObjectApiListRequest>(
                ListRequest::<topic::TopicSpec>::new(filters, summary).system(system),
            ),
            VERSION,
        );
    }
    let (floe_status, status) = partition_statuses();
    let floe_object = |name: &str| floe::Metadata::<floe::PartitionSpec> {
        name: name.into(),
        spec: floe::PartitionSpec { leader: 5001, ..floe::PartitionSpec::default() },
        status: floe_status.clone(),
    };
    let object = |name: &str| Metadata::<partition::PartitionSpec> {
        name: name.into(),
        spec: partition::PartitionSpec { leader: 5001, ..Default::default() },
        status: status.clone(),
    };
    same(
        &floe::ListReply { objects: vec![floe_object("one-0"), floe_object("one-1")] },
        &envelope::<_, ObjectApiListResponse>(ListResponse::new(vec![object("one-0"), object("one-1")])),
        VERSION,
    );

    same(
        &floe::WatchRequest::<floe::PartitionSpec>::new(true),
        &envelope::<_, ObjectApiWatchRequest>(WatchRequest::<partition::PartitionSpec>::summary()),
        VERSION,
    );
    let mut update = MetadataUpdate::with_changes(
        7,
        vec![
            fluvio_sc_schema::message::Message::update(object("one-0")),
            fluvio_sc_schema::message::Message::delete(object("one-1")),
        ],
    );
    update.all.push(object("two-0"));
    same(
        &floe::WatchReply {
            epoch: 7,
            changes: vec![
                floe::Change { kind: floe::ChangeKind::Update, object: floe_object("one-0") },
                floe::Change { kind: floe::ChangeKind::Delete, object: floe_object("one-1") },
            ],
            all: vec![floe_object("two-0")],
        },
        &envelope::<_, ObjectApiWatchResponse>(WatchResponse::new(update)),
        VERSION,
    );
}
