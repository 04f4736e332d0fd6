//! Dead letters: look at them, and replay chosen ones.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, State},
};
use floe::{ErrorKind, Message, consumer::StartAt, dead_letter::DeadLetter, exchange::RecordFields};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    Answer,
    caller::Caller,
    json as answer,
    paced_reader::PacedReader,
    page::MAX_LIST,
    records::{fetch, metadata_json},
    scan::{RecordRequest, RecordSelection, SCAN_AHEAD, place},
    topics::{is_dead_letter_topic, topic_json, visible},
};
use crate::{
    access::operation::{CONSUME, PRODUCE},
    console::{
        Console, query,
        query::{OffsetParameter, PathName},
        record_json::{CUT, bytes_json},
        request_error::RequestError,
    },
};

/// Letters that one request replays at most.
const MAX_REPLAY: usize = 1_000;

pub(super) async fn topics(State(console): State<Arc<Console>>, caller: Caller) -> Answer {
    let mut topics = visible(&console, &caller).await?;
    topics.retain(|info| is_dead_letter_topic(info.name.as_str()));
    console.history().ready().await;
    let topics: Vec<_> = console
        .history()
        .with(|samples| topics.iter().take(MAX_LIST).map(|info| topic_json(samples, info)).collect());
    Ok(answer(&json!({ "topics": topics })))
}

pub(super) async fn list(
    State(console): State<Arc<Console>>,
    RecordRequest { topic, query, caller }: RecordRequest,
) -> Answer {
    let limit = query.limit.unwrap_or(100).min(MAX_LIST);
    let selection = RecordSelection::new(topic, &query, StartAt::Beginning)?;
    let _place = place(&console.scans)?;
    let (reader, room) = selection.open(&console, caller, (false, SCAN_AHEAD)).await?;
    tokio::select! {
        biased;
        listed = letters(&console, reader, &selection, limit) => listed,
        error = room.cut_off() => Err(error),
    }
}

async fn letters(
    console: &Console,
    mut reader: PacedReader,
    selection: &RecordSelection,
    limit: usize,
) -> Answer {
    let deadline = Instant::now() + console.options.scan_time;
    let (mut letters, mut next, mut ended) = (Vec::new(), BTreeMap::new(), false);
    while letters.len() < limit {
        // The next list goes on where the time has passed.
        let Ok(read) = timeout_at(deadline, reader.try_next()).await else { break };
        match read {
            Ok(Some(message)) => {
                next.insert(message.partition.to_string(), message.offset + 1);
                if selection.matches(&RecordFields::from(&message)) {
                    letters.push(letter_json(&message));
                }
            }
            Ok(None) => {
                ended = true;
                break;
            }
            Err(error) if error.kind() == ErrorKind::Gap => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answer(&json!({ "letters": letters, "next": next, "ended": ended })))
}

fn letter_json(message: &Message) -> Value {
    let letter = DeadLetter::of(message);
    let letter = letter.as_ref();
    let headers: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": bytes_json(value, CUT) }))
        .collect();
    json!({
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "origin": letter.map(|letter| json!({
            "topic": letter.origin.at.topic.as_str(),
            "partition": letter.origin.at.partition,
            "offset": letter.origin.offset,
        })),
        "code": letter.map(|letter| &letter.code),
        "error": letter.map(|letter| &letter.error),
        "attempts": letter.map(|letter| letter.attempts),
        "given_up_at": letter.map(|letter| letter.at),
        "key": message.key.as_deref().map(|key| bytes_json(key, CUT)),
        "value": bytes_json(&message.value, CUT),
        "headers": headers,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    letters: Vec<LetterAddress>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterAddress {
    partition: u32,
    offset: OffsetParameter,
}

pub(super) async fn replay(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(topic)): Path<PathName>,
    body: Bytes,
) -> Answer {
    let request: ReplayRequest = query::body(&body)?;
    caller.check(CONSUME, &topic)?;
    if request.letters.len() > MAX_REPLAY {
        return Err(RequestError::invalid(format!("at most {MAX_REPLAY} dead letters at once")));
    }
    let mut results = Vec::with_capacity(request.letters.len());
    // One after the other: the order of the letters is kept, and each has a result of its own.
    for LetterAddress { partition, offset } in request.letters {
        let at = (partition, offset.0);
        let sent = replay_one(&console, &caller, (&topic, at), request.to.as_deref()).await;
        results.push(match sent {
            Ok(to) => json!({ "partition": at.0, "offset": at.1, "replayed": true, "to": to }),
            Err(error) => {
                let error = &error.to_json()["error"];
                json!({ "partition": at.0, "offset": at.1, "replayed": false, "error": error })
            }
        });
    }
    Ok(answer(&json!({ "results": results })))
}

async fn replay_one(
    console: &Console,
    caller: &Caller,
    (topic, at): (&str, (u32, i64)),
    to: Option<&str>,
) -> Result<Value, RequestError> {
    let message = fetch(console, caller, (topic, at)).await?;
    let Some((target, record)) = DeadLetter::replay(&message, to.map(Into::into)) else {
        return Err(RequestError::invalid("the record is no dead letter"));
    };
    caller.check(PRODUCE, target.as_str())?;
    caller.admit(record.value.len()).await;
    let sent = console.client.shared_producer(&target).await?.send(record).await?;
    Ok(metadata_json(target.as_str(), &sent))
}
