//! Watermarks of partitions, and stored consumer offsets.
//!
//! Fluvio stores the offset of the last processed record, floe the next one to read.

use std::{collections::BTreeMap, sync::Arc};

use floe::{Topic, TopicPartition};
use floe_wire::fluvio::{
    ConsumerOffset, ConsumerOffsetFilter, DeleteConsumerOffsetReply, DeleteConsumerOffsetRequest, ErrorCode,
    FetchConsumerOffsetsReply, FetchConsumerOffsetsRequest, FetchOffsetsReply, FetchOffsetsRequest,
    FetchOffsetsTopicReply, PartitionOffsets, ReplicaKey, UpdateConsumerOffsetReply,
    UpdateConsumerOffsetRequest, names::CONSUMER_OFFSET_TOPIC,
};

use tokio::task::coop::consume_budget;

use super::{super::errors, stream::find};
use crate::{
    access::{
        Session,
        operation::{DELETE_OFFSET, DESCRIBE, STORE_OFFSET},
    },
    metrics::Frontend,
    node::Node,
    walrus,
};

/// Answers FetchOffsets.
pub(super) async fn watermarks(
    node: &Node,
    session: &Session,
    request: FetchOffsetsRequest,
) -> FetchOffsetsReply {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            partitions.push(partition_watermarks(node, session, &topic.name, partition).await);
            consume_budget().await;
        }
        topics.push(FetchOffsetsTopicReply { name: topic.name, partitions });
    }
    FetchOffsetsReply { topics }
}

async fn partition_watermarks(
    node: &Node,
    session: &Session,
    topic: &str,
    partition: u32,
) -> PartitionOffsets {
    let empty = PartitionOffsets { partition, ..PartitionOffsets::default() };
    // Official clients look up the leader of the system topic; it holds no records here.
    if topic == CONSUMER_OFFSET_TOPIC && partition == 0 {
        return empty;
    }
    let measured = async {
        session.check(DESCRIBE, topic).map_err(errors::of_denied)?;
        let found = find(node, topic, partition).await?;
        node.engine.watermarks(found.at).await.map_err(|error| errors::of_read(&error))
    };
    let marks = measured.await;
    match marks {
        Ok(marks) => PartitionOffsets { start_offset: marks.start, last_stable_offset: marks.high, ..empty },
        Err(error_code) => {
            let error_code = match error_code {
                ErrorCode::NotLeaderForPartition => ErrorCode::PartitionNotLeader,
                other => other,
            };
            node.metrics.error(Frontend::Data, error_code.name());
            PartitionOffsets { error_code, ..empty }
        }
    }
}

/// Stores the offset of a stream's consumer.
pub(super) async fn store(
    node: &Node,
    session: &Session,
    request: &UpdateConsumerOffsetRequest,
    stream: Option<(TopicPartition, Option<String>)>,
) -> UpdateConsumerOffsetReply {
    let error_code = match stream {
        None => ErrorCode::FetchSessionNotFoud,
        Some((_, None)) => ErrorCode::Other("stream without consumer id".to_owned()),
        Some((_, Some(consumer))) if walrus::is_reserved(node, &consumer) => ErrorCode::PermissionDenied,
        Some((at, Some(consumer))) => {
            let next = request.offset.saturating_add(1);
            match session.check(STORE_OFFSET, at.topic.as_str()) {
                Ok(()) => {
                    let stored = node.engine.commit(Arc::from(consumer), vec![(at, next)]).await;
                    stored.err().map_or(ErrorCode::None, |error| errors::of_read(&error))
                }
                Err(denied) => errors::of_denied(denied),
            }
        }
    };
    count(node, &error_code);
    UpdateConsumerOffsetReply { offset: request.offset, error_code }
}

/// Deletes a stored offset.
pub(super) async fn delete(
    node: &Node,
    session: &Session,
    request: DeleteConsumerOffsetRequest,
) -> DeleteConsumerOffsetReply {
    let ReplicaKey { topic, partition } = request.replica;
    let error_code = if walrus::is_reserved(node, &request.consumer_id) {
        ErrorCode::PermissionDenied
    } else if let Err(denied) = session.check(DELETE_OFFSET, &topic) {
        errors::of_denied(denied)
    } else {
        let object = format!("{}@{topic}/{partition}", request.consumer_id);
        let at = Topic::from(topic).partition(partition);
        match node.engine.forget(Arc::from(request.consumer_id), at).await {
            Ok(()) => {
                session.changed(DELETE_OFFSET, &object);
                ErrorCode::None
            }
            // A topic that does not exist has no stored offsets, and deleting none succeeds.
            Err(error) => match errors::of_read(&error) {
                ErrorCode::NotLeaderForPartition => ErrorCode::None,
                other => other,
            },
        }
    };
    count(node, &error_code);
    DeleteConsumerOffsetReply { error_code }
}

/// Lists stored offsets.
pub(super) async fn list(
    node: &Node,
    session: &Session,
    request: FetchConsumerOffsetsRequest,
) -> FetchConsumerOffsetsReply {
    let filter = request.filter.unwrap_or_default();
    let group = filter.consumer_id.as_deref().map(Arc::from);
    match node.engine.list_committed(group).await {
        Ok(stored) => {
            // A map gives the list a fixed order.
            let consumers: BTreeMap<_, _> = stored
                .into_iter()
                .filter(|row| !walrus::is_reserved(node, &row.group) && row.next >= 0)
                .filter(|row| session.may(DESCRIBE, row.at.topic.as_str()))
                .map(|row| {
                    let replica = ReplicaKey { topic: row.at.topic.to_string(), partition: row.at.partition };
                    let consumer = ConsumerOffset {
                        consumer_id: row.group.to_string(),
                        replica: replica.clone(),
                        offset: row.next - 1,
                        modified_time: row.modified_at.map_or(0, |ms| u64::try_from(ms / 1000).unwrap_or(0)),
                    };
                    ((consumer.consumer_id.clone(), replica), consumer)
                })
                .filter(|(_, consumer)| is_wanted(&filter, consumer))
                .collect();
            FetchConsumerOffsetsReply {
                error_code: ErrorCode::None,
                consumers: consumers.into_values().collect(),
            }
        }
        Err(error) => {
            let error_code = errors::of_read(&error);
            count(node, &error_code);
            FetchConsumerOffsetsReply { error_code, consumers: Vec::new() }
        }
    }
}

fn is_wanted(filter: &ConsumerOffsetFilter, consumer: &ConsumerOffset) -> bool {
    filter.replica.as_ref().is_none_or(|replica| *replica == consumer.replica)
        && filter.consumer_id.as_ref().is_none_or(|id| *id == consumer.consumer_id)
}

fn count(node: &Node, error_code: &ErrorCode) {
    if !error_code.is_success() {
        node.metrics.error(Frontend::Data, error_code.name());
    }
}
