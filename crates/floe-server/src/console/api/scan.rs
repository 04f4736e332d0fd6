//! Scan of a topic up to its end, as server-sent events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use floe::{
    Error, ErrorKind,
    consumer::{Gap, RecordBatch, StartAt},
    exchange::RecordFields,
    filter::Filter,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{Answer, caller::Caller, json as answer, paced_reader::PacedReader};
use crate::{
    access::operation::CONSUME,
    console::{
        Console,
        event_queue::{BrowserEvent, BrowserGone, EventQueue},
        query,
        query::PathName,
        read_memory::ReadRoom,
        record_json::{CUT, record_json},
        request_error::RequestError,
    },
};

/// Records that one scan returns at most.
pub(super) const MAX_RECORDS: usize = 1_000;

/// Default number of records, and default start: as many before the end.
const DEFAULT_RECORDS: usize = 100;

/// Bytes that a scan reads ahead.
pub(super) const SCAN_AHEAD: usize = 4 << 20;

/// Time between two reports of progress.
const PROGRESS: Duration = Duration::from_millis(250);

/// Time after which a browser that reads nothing loses its scan.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// Memory that is taken at a time for records of which only the newest are shown.
const NEWEST_BYTES: usize = 1 << 20;

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
    pub(super) caller: Caller,
}

impl<S: Send + Sync> FromRequestParts<S> for RecordRequest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let topic = Path::<PathName>::from_request_parts(parts, state).await;
        let Path(PathName(topic)) = topic.map_err(IntoResponse::into_response)?;
        let refused = |error: RequestError| error.into_response();
        let Ok(caller) = Caller::from_request_parts(parts, state).await;
        let query::Parameters(query) =
            query::Parameters::from_request_parts(parts, state).await.map_err(refused)?;
        caller.check(CONSUME, &topic).map_err(refused)?;
        Ok(Self { topic, query, caller })
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

    /// Opens a reader that ends at the present end of the topic, unless it follows, and reads ahead by so many bytes; with
    /// the memory for it.
    pub(super) async fn open(
        &self,
        console: &Console,
        caller: Caller,
        (follows, ahead): (bool, usize),
    ) -> Result<(PacedReader, ReadRoom), RequestError> {
        let client = &console.client;
        if !console.can_look() {
            return Err(RequestError::unsupported(
                "reading would take the records away from their consumers",
            ));
        }
        let room = match &console.memory {
            Some(memory) => memory.reserve(caller.name(), ahead).await?,
            None => ReadRoom::default(),
        };
        let mut builder = client.consumer(self.topic.as_str()).from(self.start).prefetch_bytes(ahead);
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
        Ok((PacedReader::new(consumer, caller), room))
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

/// Makes the event of a record.
pub(super) fn record_event(record: &RecordFields<'_>) -> BrowserEvent {
    let id = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    BrowserEvent::new("record", record_json(record, CUT)).id(id)
}

pub(super) fn event(name: &str, document: &Value) -> BrowserEvent {
    BrowserEvent::new(name, document.to_string())
}

/// Makes the event of a gap.
pub(super) fn gap_event(error: &Error) -> BrowserEvent {
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
    RecordRequest { topic, query, caller }: RecordRequest,
) -> Answer {
    let selection = RecordSelection::new(topic, &query, StartAt::BeforeEnd(DEFAULT_RECORDS as u64))?;
    let place = place(&console.scans)?;
    let (reader, room) = selection.open(&console, caller, (false, SCAN_AHEAD)).await?;
    let (events, answer) = EventQueue::new();
    let started = Instant::now();
    let scan = Scan {
        reader,
        room,
        limit: query.limit.unwrap_or(DEFAULT_RECORDS).clamp(1, MAX_RECORDS),
        deadline: started + console.options.scan_time,
        started,
        reported: started,
        selection,
        events,
        looked_at: 0,
        bytes: 0,
        found: 0,
        next: BTreeMap::new(),
        newest: NewestRecords::default(),
    };
    tokio::spawn(async move {
        scan.run().await;
        drop(place);
    });
    Ok(answer)
}

/// Why a scan ends without an event of its end.
enum Stop {
    /// The browser is gone.
    Gone,
    Failed(RequestError),
}

impl From<BrowserGone> for Stop {
    fn from(_: BrowserGone) -> Self {
        Self::Gone
    }
}

struct Scan {
    reader: PacedReader,
    room: ReadRoom,
    selection: RecordSelection,
    limit: usize,
    started: Instant,
    deadline: Instant,
    reported: Instant,
    events: EventQueue,
    looked_at: u64,
    bytes: u64,
    found: usize,
    /// Where each partition goes on.
    next: BTreeMap<u32, i64>,
    /// The newest records so far, by time: of several partitions they come in any order.
    newest: NewestRecords,
}

/// Records of which only the newest are shown, by time, partition and offset.
#[derive(Debug, Default)]
struct NewestRecords {
    kept: Vec<((i64, u32, i64), BrowserEvent)>,
    bytes: usize,
    /// Bytes for which there is memory.
    reserved: usize,
}

impl Scan {
    async fn run(mut self) {
        let cut_off = self.room.cut_off();
        let looked = tokio::select! {
            biased;
            looked = self.look_and_show() => looked,
            error = cut_off => Err(Stop::Failed(error)),
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
        let Self { reader, room, events, .. } = self;
        drop((reader, room));
        // A browser that is gone, or stands still, needs no end.
        let _ = timeout(STALLED, events.send(last)).await;
    }

    async fn look_and_show(&mut self) -> Result<&'static str, Stop> {
        let (reason, wanted) = (self.look().await?, self.wanted());
        for event in self.newest.take(wanted) {
            self.found += 1;
            self.send(event).await?;
        }
        Ok(reason)
    }

    async fn look(&mut self) -> Result<&'static str, Stop> {
        loop {
            let until = self.deadline.min(self.reported + PROGRESS);
            match timeout_at(until, self.reader.next_batch()).await {
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
                self.keep(&fields)?;
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

    /// Number of the newest records that are shown.
    fn wanted(&self) -> usize {
        self.selection.newest().unwrap_or(self.limit).min(self.limit)
    }

    /// Keeps a record among the newest.
    fn keep(&mut self, record: &RecordFields<'_>) -> Result<(), Stop> {
        let wanted = self.wanted();
        let place = (record.timestamp.unwrap_or(i64::MAX), record.partition, record.offset);
        self.newest.add(place, record_event(record), wanted);
        if self.newest.bytes > self.newest.reserved {
            self.newest.shorten(wanted);
            let missing = self.newest.bytes.saturating_sub(self.newest.reserved);
            let more = missing.next_multiple_of(NEWEST_BYTES);
            self.room.grow(more).map_err(Stop::Failed)?;
            self.newest.reserved += more;
        }
        Ok(())
    }

    /// Sends an event to the browser, unless that has stopped reading.
    fn send(&self, event: BrowserEvent) -> impl Future<Output = Result<(), Stop>> + Send {
        // Only the queue: the reader of a scan is not shared between threads.
        let sending = timeout(STALLED, self.events.send(event));
        async move { sending.await.map_err(|_| Stop::Gone)?.map_err(Stop::from) }
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

impl NewestRecords {
    fn add(&mut self, place: (i64, u32, i64), event: BrowserEvent, wanted: usize) {
        self.bytes += event.bytes();
        self.kept.push((place, event));
        if self.kept.len() >= 2 * wanted.max(1) {
            self.shorten(wanted);
        }
    }

    /// Drops all but the newest.
    fn shorten(&mut self, wanted: usize) {
        self.kept.sort_by_key(|(place, _)| *place);
        let excess = self.kept.len().saturating_sub(wanted);
        for (_, event) in self.kept.drain(..excess) {
            self.bytes -= event.bytes();
        }
    }

    /// Takes the newest, the oldest of them first.
    fn take(&mut self, wanted: usize) -> impl Iterator<Item = BrowserEvent> + use<> {
        self.shorten(wanted);
        std::mem::take(&mut self.kept).into_iter().map(|(_, event)| event)
    }
}
