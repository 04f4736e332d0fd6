//! Live tail of a topic, as server-sent events.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::HeaderMap};
use floe::{
    ErrorKind,
    consumer::{Consumer, RecordBatch, StartAt},
    exchange::RecordFields,
};
use serde_json::json;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{
    Answer,
    caller::Caller,
    paced_reader::PacedReader,
    records::fetch,
    scan::{RecordRequest, RecordSelection, event, gap_event, place, record_event},
};
use crate::console::{Console, event_queue::EventQueue, read_memory::ReadRoom, request_error::RequestError};

/// Time between two reports.
const REPORT: Duration = Duration::from_secs(1);

/// Records that a tail sends in a second at most: more than a person can read, and fewer than stop a browser.
const SHOWN_PER_SECOND: u64 = 400;

/// Bytes that a tail reads ahead.
const AHEAD: usize = 128 << 10;

/// Records behind the end at which a tail leaves some out.
const MOST_BEHIND: u64 = 20_000;

/// Records before the end of each partition at which it goes on then.
const GO_ON: u64 = 50;

pub(super) async fn tail(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    RecordRequest { topic, query, caller }: RecordRequest,
) -> Answer {
    let selection = RecordSelection::new(topic, &query, StartAt::End)?;
    let place = place(&console.tails)?;
    let (mut reader, room) = selection.open(&console, caller.clone(), (true, AHEAD)).await?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    if let Some((partition, offset)) = seen.and_then(|id| last_seen(id, &selection.topic)) {
        resume((&console, &caller), &selection.topic, &mut reader.consumer, (partition, offset)).await?;
    }
    let (events, answer) = EventQueue::new();
    let started = Instant::now();
    let tail = Tail {
        console,
        reader,
        selection,
        events,
        started,
        reported: started,
        looked_at: 0,
        reported_at: 0,
        found: 0,
        shown: 0,
        skipped: 0,
        skipped_in_all: 0,
        _place: place,
    };
    tokio::spawn(tail.run(room));
    Ok(answer)
}

/// Reads the id of the last event that the browser got: topic, partition and offset.
fn last_seen(id: &str, topic: &str) -> Option<(u32, i64)> {
    let mut parts = id.rsplitn(3, '/');
    let (offset, partition) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next()? == topic).then_some((partition, offset))
}

/// Goes on after the last record that the browser got: in its partition behind it, in the others at its time.
async fn resume(
    (console, caller): (&Console, &Caller),
    topic: &str,
    consumer: &mut Consumer,
    (partition, offset): (u32, i64),
) -> Result<(), RequestError> {
    let Ok(last) = fetch(console, caller, (topic, (partition, offset))).await else { return Ok(()) };
    let at_its_time = last.timestamp.map(|time| StartAt::Time(time.saturating_add(1)));
    seek_each(console, topic, consumer, |other| {
        if other == partition { Some(StartAt::Offset(offset.saturating_add(1))) } else { at_its_time }
    })
    .await
}

/// Moves the consumer in each partition that it reads and for which there is a position.
async fn seek_each(
    console: &Console,
    topic: &str,
    consumer: &mut Consumer,
    position: impl Fn(u32) -> Option<StartAt>,
) -> Result<(), RequestError> {
    for partition in 0..console.client.admin().topic(topic).await?.partitions {
        if consumer.position(partition).is_some()
            && let Some(start) = position(partition)
        {
            consumer.seek(partition, start).await?;
        }
    }
    Ok(())
}

struct Tail {
    console: Arc<Console>,
    reader: PacedReader,
    selection: RecordSelection,
    events: EventQueue,
    started: Instant,
    reported: Instant,
    looked_at: u64,
    /// Records looked at until the last report.
    reported_at: u64,
    found: u64,
    /// Records sent since the last report.
    shown: u64,
    /// Records left out of which the browser does not know yet.
    skipped: u64,
    skipped_in_all: u64,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    async fn run(mut self, room: ReadRoom) {
        let cut_off = room.cut_off();
        let ended = tokio::select! {
            biased;
            ended = self.follow() => ended,
            error = cut_off => Err(error),
        };
        if let Err(error) = ended {
            // A browser that does not read learns nothing: its connection ends.
            self.events.try_send(event("failed", &error.to_json()));
        }
    }

    async fn follow(&mut self) -> Result<(), RequestError> {
        let console = Arc::clone(&self.console);
        loop {
            let due = self.reported + REPORT;
            let next = tokio::select! {
                () = self.events.closed() => return Ok(()),
                next = timeout_at(due, self.reader.next_batch()) => next,
            };
            match next {
                Err(_) => {}
                Ok(Ok(Some(batch))) => {
                    let mut turn = console.turn.lock().await;
                    turn.work(batch.memory(), || self.take(&batch)).await;
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) if error.kind() == ErrorKind::Gap => {
                    self.events.try_send(gap_event(&error));
                }
                Ok(Err(error)) => return Err(error.into()),
            }
            if Instant::now() >= due {
                self.report().await?;
            }
        }
    }

    fn take(&mut self, batch: &RecordBatch) {
        for record in batch.borrowed() {
            self.looked_at += 1;
            let fields = RecordFields::of_batch(batch, &record);
            if !self.selection.matches(&fields) {
                continue;
            }
            self.found += 1;
            if self.shown < SHOWN_PER_SECOND && self.events.try_send(record_event(&fields)) {
                self.shown += 1;
            } else {
                self.skipped += 1;
            }
        }
    }

    /// Tells the browser the counts, and leaves records out if the tail is too far behind.
    async fn report(&mut self) -> Result<(), RequestError> {
        let elapsed = self.reported.elapsed().as_secs_f64();
        let behind = self.reader.consumer.lag().await.unwrap_or(0);
        if behind > MOST_BEHIND {
            let go_on = |_| Some(StartAt::BeforeEnd(GO_ON));
            seek_each(&self.console, &self.selection.topic, &mut self.reader.consumer, go_on).await?;
            self.skipped += behind;
        }
        let progress = event(
            "progress",
            &json!({
                "looked_at": self.looked_at,
                "found": self.found,
                "seconds": self.started.elapsed().as_secs_f64(),
                "records_per_second": (self.looked_at - self.reported_at) as f64 / elapsed.max(0.001),
            }),
        );
        // A full queue drops the report: the next one has the same counts and more.
        self.events.try_send(progress);
        if self.skipped > 0 {
            let total = self.skipped_in_all + self.skipped;
            let skipped = json!({ "count": self.skipped, "total": total });
            // A browser whose queue is full learns of them with the next report.
            if self.events.try_send(event("skipped", &skipped)) {
                (self.skipped, self.skipped_in_all) = (0, total);
            }
        }
        (self.reported, self.reported_at, self.shown) = (Instant::now(), self.looked_at, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_event_names_a_record_of_the_topic() {
        assert_eq!(last_seen("orders/2/17", "orders"), Some((2, 17)));
        for other in ["", "orders/2", "others/2/17", "orders/x/17", "orders/2/x", "a/orders/2/17"] {
            assert_eq!(last_seen(other, "orders"), None, "{other}");
        }
    }
}
