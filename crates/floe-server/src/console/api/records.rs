//! Single records: send, look at one, copy one.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use floe::{
    Message, Record, Topic,
    consumer::FetchLimit,
    exchange::{ParsedRecord, RecordFields},
    producer::RecordMetadata,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, caller::Caller, paced_reader::message_bytes, with_status};
use crate::{
    access::operation::{CONSUME, PRODUCE},
    console::{Console, query, query::PathName, record_json::record_json, request_error::RequestError},
};

pub(super) async fn send(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(topic)): Path<PathName>,
    body: Bytes,
) -> Answer {
    let mut fields: Map<String, Value> = query::body(&body)?;
    caller.check(PRODUCE, &topic)?;
    let partition = fields.remove("partition").filter(|partition| !partition.is_null());
    let partition = partition
        .map(serde_json::from_value::<u32>)
        .transpose()
        .map_err(|error| RequestError::invalid(format!("the partition: {error}")))?;
    let parsed = ParsedRecord::from_json(Value::Object(fields).to_string().as_bytes())
        .map_err(|error| RequestError::invalid(source_text(&error)))?;
    let mut record = parsed.record;
    record.partition = partition;
    caller.admit(record.value.len()).await;
    sent(&console, topic, record).await
}

/// Text of the innermost cause, which names the field.
fn source_text(error: &floe::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

async fn sent(console: &Console, topic: String, record: Record) -> Answer {
    let producer = console.client.shared_producer(Topic::from(topic.as_str())).await?;
    let sent = producer.send(record).await?;
    Ok(with_status(StatusCode::CREATED, &metadata_json(&topic, &sent)))
}

pub(super) fn metadata_json(topic: &str, sent: &RecordMetadata) -> Value {
    json!({ "topic": topic, "partition": sent.partition, "offset": sent.offset })
}

pub(super) async fn one(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path((PathName(topic), partition, offset)): Path<(PathName, u32, i64)>,
) -> Answer {
    caller.check(CONSUME, &topic)?;
    let message = fetch(&console, &caller, (&topic, (partition, offset))).await?;
    let document = record_json(&RecordFields::from(&message), usize::MAX);
    Ok(json_text(document))
}

fn json_text(document: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// Returns the record at an offset.
pub(super) async fn fetch(
    console: &Console,
    caller: &Caller,
    (topic, (partition, offset)): (&str, (u32, i64)),
) -> Result<Message, RequestError> {
    if !console.can_look() {
        return Err(RequestError::unsupported("reading would take the record away from its consumers"));
    }
    caller.admit_reading().await;
    let at = Topic::from(topic).partition(partition);
    let one = FetchLimit::default().records(1);
    let fetched = console.client.fetch(at, offset, one).await?;
    caller.received(fetched.iter().map(message_bytes).sum());
    fetched.into_iter().find(|message| message.offset == offset).ok_or_else(|| {
        let message = format!("no record at {topic}/{partition}/{offset}");
        RequestError::new(StatusCode::NOT_FOUND, "offset_out_of_range", message)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    to: String,
}

pub(super) async fn copy(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path((PathName(topic), partition, offset)): Path<(PathName, u32, i64)>,
    body: Bytes,
) -> Answer {
    let Target { to } = query::body(&body)?;
    caller.check(CONSUME, &topic)?;
    caller.check(PRODUCE, &to)?;
    let message = fetch(&console, &caller, (&topic, (partition, offset))).await?;
    let mut record = Record::new(message.value.clone());
    record.key = message.key.clone();
    record.timestamp = message.timestamp;
    for (name, value) in message.headers.iter() {
        record = record.header(name, Bytes::copy_from_slice(value));
    }
    caller.admit(record.value.len()).await;
    sent(&console, to, record).await
}
