//! Conditional appends, an extension of `floe serve`: one batch for a partition that ends at an offset.

use std::time::Duration;

use floe::{
    engine::{Acks, AppendRequest},
    producer::NotAtEnd,
};
use floe_wire::fluvio::{
    ConditionalAppendReply, ConditionalAppendRequest, ErrorCode, Isolation, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};

use super::{super::errors, produce};
use crate::{access::Session, memory::Tenant, metrics::Frontend, node::Node};

/// Appends the batch. It passes the same checks as one of a produce request; `received` is the memory that the request
/// holds.
pub(super) async fn answer(
    (node, session, tenant): (&Node, &Session, &Tenant),
    (request, received): (ConditionalAppendRequest, usize),
) -> ConditionalAppendReply {
    let refused = |error_code: ErrorCode| {
        node.metrics.error(Frontend::Data, error_code.name());
        ConditionalAppendReply { error_code, base_offset: -1, actual_end: -1 }
    };
    let ConditionalAppendRequest { topic, partition, expected_end, isolation, timeout_ms, records } = request;
    let produced = ProduceRequest {
        isolation,
        topics: vec![TopicProduceData {
            name: topic,
            partitions: vec![PartitionProduceData { partition, records }],
        }],
        ..ProduceRequest::default()
    };
    let version = 0;
    let prepared = produce::prepare((node, session, tenant), (produced, received), version).await;
    let (at, batch) = match prepared.into_batch() {
        Ok(prepared) => prepared,
        Err(error_code) => return refused(error_code),
    };
    let acks = match isolation {
        Isolation::ReadUncommitted => Acks::Leader,
        Isolation::ReadCommitted => Acks::Committed,
    };
    let (records, bytes) = (u64::from(batch.header().offset_span()), batch.len());
    let appending = node.engine.append_at(AppendRequest::new(at.clone(), batch, acks), expected_end);
    let outcome = match acks {
        Acks::Committed => {
            let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
            match tokio::time::timeout(limit, appending).await {
                Ok(outcome) => outcome,
                Err(_) => return refused(errors::timed_out(timeout_ms)),
            }
        }
        Acks::None | Acks::Leader => appending.await,
    };
    match outcome {
        Ok(ack) => {
            node.metrics.received(records, bytes);
            let base_offset = ack.base_offset.unwrap_or(-1);
            ConditionalAppendReply { error_code: ErrorCode::None, base_offset, actual_end: -1 }
        }
        Err(error) => match NotAtEnd::of(&error) {
            Some(found) => {
                ConditionalAppendReply { error_code: ErrorCode::None, base_offset: -1, actual_end: found.end }
            }
            None => refused(errors::of_append(&error, &at, timeout_ms)),
        },
    }
}
