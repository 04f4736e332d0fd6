//! Scan of a topic up to its end, as server-sent events.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use floe::{
    Client, Error, ErrorKind,
    consumer::{Consumer, Gap, RecordBatch, StartAt},
    exchange::RecordFields,
    filter::Filter,
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use super::{Answer, caller::Caller, json as answer};
use crate::{
    access::operation::CONSUME,
    console::{
        Console, query,
        record_json::{CUT, record_json},
        request_error::RequestError,
    },
};

/// Records that one scan returns at most.
pub(super) const MAX_RECORDS: usize = 1_000;

/// Default number of records, and default start: as many before the end.
const DEFAULT_RECORDS: usize = 100;

/// Bytes that a scan reads ahead.
const PREFETCH: usize = 4 << 20;

/// Time between two reports of progress.
const PROGRESS: Duration = Duration::from_millis(250);

/// Events that wait for the browser.
const EVENTS: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ScanQuery {
    pub(super) from: Option<String>,
    pub(super) partitions: Option<String>,
    #[serde(rename = "where")]
    pub(super) filter: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) resume: Option<String>,
    pub(super) format: Option<String>,
}

/// A request for records of a topic that the client may read.
pub(super) struct RecordRequest {
    pub(super) topic: String,
    pub(super) query: ScanQuery,
}

impl<S: Send + Sync> FromRequestParts<S> for RecordRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let topic = Path::<String>::from_request_parts(parts, state).await;
        let Path(topic) = topic.map_err(IntoResponse::into_response)?;
        let refused = |error: RequestError| error.into_response();
        let Ok(caller) = Caller::from_request_parts(parts, state).await;
        let query::Parameters(query) =
            query::Parameters::from_request_parts(parts, state).await.map_err(refused)?;
        caller.check(CONSUME, &topic).map_err(refused)?;
        Ok(Self { topic, query })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FilterQuery {
    #[serde(rename = "where")]
    filter: String,
}

pub(super) async fn check_filter(query::Parameters(query): query::Parameters<FilterQuery>) -> Answer {
    Ok(answer(&match Filter::parse(&query.filter) {
        Ok(_) => json!({ "ok": true }),
        Err(error) => json!({
            "ok": false, "error": { "message": error.to_string(), "position": error.position() },
        }),
    }))
}

/// A selection of records of one topic, checked.
pub(super) struct RecordSelection {
    pub(super) topic: String,
    start: StartAt,
    partitions: Option<Vec<u32>>,
    pub(super) filter: Option<Filter>,
    resume: Option<BTreeMap<u32, i64>>,
}

impl RecordSelection {
    pub(super) fn new(topic: String, query: &ScanQuery, default: StartAt) -> Result<Self, RequestError> {
        Ok(Self {
            topic,
            start: query.from.as_deref().map_or(Ok(default), query::position)?,
            partitions: query::partitions(query.partitions.as_deref())?,
            filter: query::filter(query.filter.as_deref())?,
            resume: query.resume.as_deref().map(query::offsets).transpose()?,
        })
    }

    /// Opens a consumer that ends at the present end of the topic, unless it follows.
    pub(super) async fn open(&self, client: &Client, follows: bool) -> Result<Consumer, RequestError> {
        let capabilities = client.info().capabilities;
        if capabilities.consuming_reads || !capabilities.offsets {
            let message = "reading would take the records away: the engine has no offsets";
            return Err(RequestError::new(StatusCode::BAD_REQUEST, "unsupported", message));
        }
        let mut builder = client.consumer(self.topic.as_str()).from(self.start).prefetch_bytes(PREFETCH);
        let resumed = self.resume.as_ref().map(|resume| resume.keys().copied().collect());
        if let Some(partitions) = self.partitions.clone().or(resumed) {
            builder = builder.partitions(partitions);
        }
        if !follows {
            builder = builder.stop_at_end();
        }
        let mut consumer = builder.start().await?;
        for (partition, offset) in self.resume.iter().flatten() {
            consumer.seek(*partition, StartAt::Offset(*offset)).await?;
        }
        Ok(consumer)
    }

    pub(super) fn matches(&self, record: &RecordFields<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(record))
    }

    /// Number of records that a start before the end asks for, if no filter looks for others.
    fn newest(&self) -> Option<usize> {
        match (self.start, &self.filter, &self.resume) {
            (StartAt::BeforeEnd(count), None, None) => usize::try_from(count).ok(),
            _ => None,
        }
    }
}

/// Takes a place, or tells that all are taken.
pub(super) fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, RequestError> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let message = "too many scans or live tails run at once: stop one, or try later";
        RequestError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_scans", message)
    })
}

/// Makes an answer of server-sent events.
pub(super) fn events(receiver: mpsc::Receiver<Event>) -> Response {
    let next = |mut receiver: mpsc::Receiver<Event>| async move {
        receiver.recv().await.map(|event| (Ok::<_, Infallible>(event), receiver))
    };
    Sse::new(stream::unfold(receiver, next)).keep_alive(KeepAlive::default()).into_response()
}

/// Makes the event of a record.
pub(super) fn record_event(record: &RecordFields<'_>) -> Event {
    let id = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    Event::default().event("record").id(id).data(record_json(record, CUT))
}

pub(super) fn event(name: &str, document: &Value) -> Event {
    Event::default().event(name).data(document.to_string())
}

/// Makes the event of a gap.
pub(super) fn gap_event(error: &Error) -> Event {
    match Gap::of(error) {
        Some(gap) => event(
            "gap",
            &json!({
                "partition": gap.at.partition,
                "from": gap.from,
                "to": gap.to,
                "reason": gap.reason.as_str(),
            }),
        ),
        None => event("gap", &json!({ "reason": error.to_string() })),
    }
}

pub(super) async fn scan(
    State(console): State<Arc<Console>>,
    RecordRequest { topic, query }: RecordRequest,
) -> Answer {
    let selection = RecordSelection::new(topic, &query, StartAt::BeforeEnd(DEFAULT_RECORDS as u64))?;
    let place = place(&console.scans)?;
    let consumer = selection.open(&console.client, false).await?;
    let (sender, receiver) = mpsc::channel(EVENTS);
    let started = Instant::now();
    let scan = Scan {
        consumer,
        limit: query.limit.unwrap_or(DEFAULT_RECORDS).clamp(1, MAX_RECORDS),
        deadline: started + console.options.scan_time,
        started,
        reported: started,
        selection,
        events: sender,
        looked_at: 0,
        bytes: 0,
        found: 0,
        next: BTreeMap::new(),
        newest: Vec::new(),
    };
    tokio::spawn(async move {
        scan.run().await;
        drop(place);
    });
    Ok(events(receiver))
}

/// Why a scan ends without an event of its end.
enum Stop {
    /// The browser is gone.
    Gone,
    Failed(RequestError),
}

struct Scan {
    consumer: Consumer,
    selection: RecordSelection,
    limit: usize,
    started: Instant,
    deadline: Instant,
    reported: Instant,
    events: mpsc::Sender<Event>,
    looked_at: u64,
    bytes: u64,
    found: usize,
    /// Where each partition goes on.
    next: BTreeMap<u32, i64>,
    /// The newest records so far, by time: of several partitions they come in any order.
    newest: Vec<NewestRecord>,
}

/// Time, partition and offset of a record, and its event.
type NewestRecord = ((i64, u32, i64), Event);

impl Scan {
    async fn run(mut self) {
        let looked = match self.look().await {
            Ok(reason) => self.send_newest().await.map(|()| reason),
            Err(stop) => Err(stop),
        };
        let last = match looked {
            Ok(reason) => {
                let mut document = self.progress();
                document["reason"] = reason.into();
                document["next"] =
                    self.next.iter().map(|(partition, next)| (partition.to_string(), json!(next))).collect();
                event("end", &document)
            }
            Err(Stop::Failed(error)) => event("failed", &error.to_json()),
            Err(Stop::Gone) => return,
        };
        // A browser that is gone needs no end.
        let _ = self.events.send(last).await;
    }

    async fn look(&mut self) -> Result<&'static str, Stop> {
        loop {
            let until = self.deadline.min(self.reported + PROGRESS);
            match timeout_at(until, self.consumer.next_batch()).await {
                Err(_) => {}
                Ok(Ok(None)) => return Ok("end"),
                Ok(Ok(Some(batch))) => {
                    if self.take(&batch).await? {
                        return Ok("limit");
                    }
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Gap => self.send(gap_event(&error)).await?,
                Ok(Err(error)) => return Err(Stop::Failed(error.into())),
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Ok("time");
            }
            if now >= self.reported + PROGRESS {
                self.reported = now;
                self.send(event("progress", &self.progress())).await?;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at the records of a batch. Returns whether the limit is reached.
    async fn take(&mut self, batch: &RecordBatch) -> Result<bool, Stop> {
        for record in batch.borrowed() {
            let fields = RecordFields::of_batch(batch, &record);
            self.looked_at += 1;
            self.bytes += (fields.value.len() + fields.key.map_or(0, <[u8]>::len)) as u64;
            if !self.selection.matches(&fields) {
                continue;
            }
            if self.selection.newest().is_some() {
                self.keep(&fields);
                continue;
            }
            self.found += 1;
            self.send(record_event(&fields)).await?;
            if self.found == self.limit {
                self.next.insert(batch.partition, record.offset + 1);
                return Ok(true);
            }
        }
        self.next.insert(batch.partition, batch.next_offset());
        Ok(false)
    }

    /// Keeps a record among the newest.
    fn keep(&mut self, record: &RecordFields<'_>) {
        let place = (record.timestamp.unwrap_or(i64::MAX), record.partition, record.offset);
        self.newest.push((place, record_event(record)));
        if self.newest.len() >= 2 * self.limit {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.newest.sort_by_key(|(place, _)| *place);
        let wanted = self.selection.newest().unwrap_or(self.limit).min(self.limit);
        let excess = self.newest.len().saturating_sub(wanted);
        self.newest.drain(..excess);
    }

    async fn send_newest(&mut self) -> Result<(), Stop> {
        self.shorten();
        for (_, event) in std::mem::take(&mut self.newest) {
            self.found += 1;
            self.send(event).await?;
        }
        Ok(())
    }

    async fn send(&self, event: Event) -> Result<(), Stop> {
        self.events.send(event).await.map_err(|_| Stop::Gone)
    }

    fn progress(&self) -> Value {
        json!({
            "looked_at": self.looked_at,
            "found": self.found,
            "bytes": self.bytes,
            "seconds": self.started.elapsed().as_secs_f64(),
        })
    }
}
