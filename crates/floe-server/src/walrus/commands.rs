//! Answers Walrus commands.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use floe::{Error, ErrorKind, Topic, TopicSpec, engine::Acks, memory::MemoryRefused};
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    fluvio::names::CONSUMER_OFFSET_TOPIC,
    walrus::{Command, EntryContent, NodeMetrics, Refused, Reply, TopicState},
};

use super::{
    cursor::{SharedCursors, TakeLimit},
    packed,
};
use crate::{
    access::{
        Denied, Session,
        operation::{CONSUME, CREATE_TOPIC, DESCRIBE, PRODUCE},
    },
    memory::Tenant,
    metrics::Frontend,
    node::{Node, append_in_order},
};

/// Id of this process, the only node of its cluster.
const NODE_ID: u64 = 1;

/// Largest total size of the entries in one response, whatever the client requests.
const MAX_BATCH_GET: usize = 4 << 20;

/// Entries up to this size, which are copied, take no memory besides that of their request.
const UNCOUNTED: usize = 64 * 1024;

/// Answers one request.
pub(super) async fn answer(
    (node, tenant): (&Node, &Tenant),
    session: &Session,
    cursors: &SharedCursors,
    frame: &Bytes,
) -> Reply {
    let request = match Command::parse(frame) {
        Ok(request) => request,
        Err(refused) => {
            node.metrics.error(Frontend::Walrus, "bad_request");
            return Reply::Refused(refused);
        }
    };
    node.metrics.request(Frontend::Walrus, name(&request));
    let is_put = matches!(request, Command::Put { .. } | Command::BatchPut { .. });
    session.admit(if is_put { frame.len() } else { 0 }).await;
    let outcome = match allowed(session, &request) {
        Ok(()) => run((node, tenant), session, cursors, request).await,
        Err(denied) => Err(Refused::new(denied.to_string())),
    };
    outcome.unwrap_or_else(|refused| {
        node.metrics.error(Frontend::Walrus, "refused");
        Reply::Refused(refused)
    })
}

/// Checks a request by the rules. A `REGISTER` creates a topic only if there is none, which is checked then.
fn allowed(session: &Session, request: &Command<'_>) -> Result<(), Denied> {
    match request {
        Command::Put { topic, .. } | Command::BatchPut { topic, .. } => session.check(PRODUCE, topic),
        Command::Get { topic } | Command::BatchGet { topic, .. } => session.check(CONSUME, topic),
        Command::Register { topic } | Command::State { topic } => session.check(DESCRIBE, topic),
        // They tell nothing about topics.
        Command::Metrics | Command::ProbeBatch => Ok(()),
    }
}

async fn run(
    (node, tenant): (&Node, &Tenant),
    session: &Session,
    cursors: &SharedCursors,
    request: Command<'_>,
) -> Result<Reply, Refused> {
    match request {
        Command::Register { topic } => register(node, session, topic).await,
        Command::Put { topic, payload } => {
            put((node, tenant), cursors, topic, &[payload.as_bytes()]).await.map(|_| Reply::Done)
        }
        Command::BatchPut { topic, entries } => {
            put((node, tenant), cursors, topic, &entries).await.map(Reply::Count)
        }
        Command::Get { topic } => {
            let limit = TakeLimit { entries: 1, bytes: MAX_BATCH_GET };
            let entries = get(node, session, cursors, (topic, limit)).await?;
            Ok(entries.into_iter().next().map_or(Reply::Empty, Reply::Entry))
        }
        Command::BatchGet { topic, max_entries, max_bytes } => {
            let limit = TakeLimit { entries: max_entries, bytes: max_bytes.min(MAX_BATCH_GET) };
            let entries = get(node, session, cursors, (topic, limit)).await?;
            Ok(if entries.is_empty() { Reply::Empty } else { Reply::Entries(entries) })
        }
        Command::State { topic } => state(node, topic).await,
        Command::Metrics => Ok(metrics()),
        // The parser refuses this request, which has no topic.
        Command::ProbeBatch => Err(Refused::new("BATCH_GET requires a topic")),
    }
}

async fn register(node: &Node, session: &Session, topic: &str) -> Result<Reply, Refused> {
    if topic == CONSUMER_OFFSET_TOPIC {
        return Err(Refused::new(format!("topic {topic} is reserved")));
    }
    if node.catalog.find(topic).await.map_err(|error| refused(&error, topic))?.is_some() {
        return Ok(Reply::Done);
    }
    session.check(CREATE_TOPIC, topic).map_err(|denied| Refused::new(denied.to_string()))?;
    match node.engine.create_topic(TopicSpec::new(topic)).await {
        Ok(()) => session.changed(CREATE_TOPIC, topic),
        // Another client created it meanwhile.
        Err(error) if error.kind() == ErrorKind::TopicAlreadyExists => {}
        Err(error) => return Err(refused(&error, topic)),
    }
    node.catalog.refresh(&Topic::from(topic)).await;
    Ok(Reply::Done)
}

/// Appends entries in order and returns their number. A run of text entries becomes one batch, which is appended as a
/// whole or not at all.
async fn put(
    (node, tenant): (&Node, &Tenant),
    cursors: &SharedCursors,
    topic: &str,
    entries: &[&[u8]],
) -> Result<usize, Refused> {
    let partition = cursors.next_partition(partitions(node, topic).await?);
    let target = Topic::from(topic).partition(partition);
    // The entries, and the batches that are made of them, besides the request.
    let copied: usize = entries.iter().map(|entry| entry.len().saturating_mul(2)).sum();
    let _room = if copied > UNCOUNTED {
        let refused = |error: MemoryRefused| Refused::new(error.to_string());
        Some(tenant.reserve_work(copied).await.map_err(refused)?)
    } else {
        None
    };
    let mut batches = Vec::new();
    for batch in self::batches(entries)? {
        batches.push(match batch {
            PutBatch::Built(batch) => batch,
            PutBatch::Packed(batch) => {
                let checked = node.door.admit(tenant, batch, 0).await.map_err(|error| {
                    node.metrics.refused(Frontend::Walrus, "packed_batch");
                    Refused::new(error.to_string())
                })?;
                packed::mark(&checked).map_err(|error| Refused::new(error.to_string()))?
            }
        });
    }
    let bytes = batches.iter().map(EncodedBatch::len).sum();
    let records = batches.iter().map(|batch| u64::from(batch.header().offset_span())).sum();
    let stored = append_in_order(node, &target, batches, Acks::Leader, |outcome| match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::TopicNotFound => Err(unknown(topic)),
        Err(error) => Err(Refused::new(format!("append failed: {error}"))),
    });
    stored.await?;
    node.metrics.received(records, bytes);
    Ok(entries.len())
}

/// A batch of a PUT.
enum PutBatch {
    /// Made here, of text entries.
    Built(EncodedBatch),
    /// Sent by a client as one entry, and not checked yet.
    Packed(EncodedBatch),
}

fn batches(entries: &[&[u8]]) -> Result<Vec<PutBatch>, Refused> {
    let mut batches = Vec::new();
    let mut texts = None;
    let now = now_ms();
    for entry in entries {
        match EntryContent::parse(Bytes::copy_from_slice(entry)) {
            EntryContent::Text(text) => {
                let open = texts.get_or_insert_with(|| BatchBuilder::new(text.len() + 128));
                open.append(now, None, &text, &[]).map_err(|error| Refused::new(error.to_string()))?;
            }
            EntryContent::Batch(batch) => {
                batches.extend(close(texts.take())?.map(PutBatch::Built));
                batches.push(PutBatch::Packed(batch));
            }
        }
    }
    batches.extend(close(texts)?.map(PutBatch::Built));
    Ok(batches)
}

fn close(open: Option<BatchBuilder>) -> Result<Option<EncodedBatch>, Refused> {
    let finished = open.map(|open| open.finish(FinishOptions::default())).transpose();
    finished.map_err(|error| Refused::new(error.to_string()))
}

async fn get(
    node: &Node,
    session: &Session,
    cursors: &SharedCursors,
    (topic, limit): (&str, TakeLimit),
) -> Result<Vec<Bytes>, Refused> {
    session.admit_reading().await;
    let partitions = partitions(node, topic).await?;
    let entries = cursors.take(node, (topic, partitions), limit).await;
    let entries = entries.map_err(|error| refused(&error, topic))?;
    let bytes = entries.iter().map(Bytes::len).sum();
    node.metrics.sent(entries.len() as u64, bytes);
    session.received(bytes);
    Ok(entries)
}

async fn state(node: &Node, topic: &str) -> Result<Reply, Refused> {
    partitions(node, topic).await?;
    let state = TopicState {
        current_segment: 1,
        leader_node: NODE_ID,
        last_sealed_entry_offset: 0,
        sealed_segments: BTreeMap::new(),
        segment_leaders: BTreeMap::from([(1, NODE_ID)]),
    };
    Ok(Reply::Json(state.to_json()))
}

fn metrics() -> Reply {
    let metrics = NodeMetrics {
        id: NODE_ID,
        state: "Leader".to_owned(),
        current_leader: Some(NODE_ID),
        current_term: 1,
        last_log_index: Some(1),
    };
    Reply::Json(metrics.to_json())
}

/// Returns the number of partitions of a topic. Walrus itself has topics without partitions only.
async fn partitions(node: &Node, topic: &str) -> Result<u32, Refused> {
    let found = node.catalog.find(topic).await.map_err(|error| refused(&error, topic))?;
    found.map(|entry| entry.info.partitions).ok_or_else(|| unknown(topic))
}

fn unknown(topic: &str) -> Refused {
    Refused::new(format!("unknown topic {topic}"))
}

fn refused(error: &Error, topic: &str) -> Refused {
    match error.kind() {
        ErrorKind::TopicNotFound => unknown(topic),
        _ => Refused::new(error.to_string()),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn name(request: &Command<'_>) -> &'static str {
    match request {
        Command::Register { .. } => "REGISTER",
        Command::Put { .. } => "PUT",
        Command::Get { .. } => "GET",
        Command::State { .. } => "STATE",
        Command::Metrics => "METRICS",
        Command::BatchPut { .. } => "BATCH_PUT",
        Command::BatchGet { .. } | Command::ProbeBatch => "BATCH_GET",
    }
}
