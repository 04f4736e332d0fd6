//! Events on their way to a browser, bounded in number and in bytes.

use std::{convert::Infallible, sync::Arc};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes of events that wait for one browser. One larger event waits alone.
pub(super) const QUEUE_BYTES: usize = 1 << 20;

/// Events that wait for one browser.
const QUEUE_EVENTS: usize = 512;

/// An event with its size.
#[derive(Debug)]
pub(super) struct BrowserEvent {
    event: Event,
    bytes: usize,
}

impl BrowserEvent {
    pub(super) fn new(name: &str, data: String) -> Self {
        Self { bytes: data.len(), event: Event::default().event(name).data(data) }
    }

    /// Sets the id, which a browser returns as `Last-Event-ID`.
    pub(super) fn id(self, id: String) -> Self {
        Self { event: self.event.id(id), ..self }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// An event with its part of the room, which is free once the connection has taken the event.
type QueuedEvent = (Event, OwnedSemaphorePermit);

/// The end of the queue that a scan or a tail fills.
#[derive(Debug)]
pub(super) struct EventQueue {
    queue: mpsc::Sender<QueuedEvent>,
    room: Arc<Semaphore>,
}

/// The browser has closed the connection.
#[derive(Debug)]
pub(super) struct BrowserGone;

impl EventQueue {
    /// Returns a queue, and the answer that sends its events.
    pub(super) fn new() -> (Self, Response) {
        let (queue, events) = mpsc::channel::<QueuedEvent>(QUEUE_EVENTS);
        let events = stream::unfold(events, |mut events| async move {
            events.recv().await.map(|(event, _room)| (Ok::<_, Infallible>(event), events))
        });
        let answer = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
        (Self { queue, room: Arc::new(Semaphore::new(QUEUE_BYTES)) }, answer)
    }

    /// Queues an event, after a wait for room.
    pub(super) async fn send(&self, event: BrowserEvent) -> Result<(), BrowserGone> {
        // Events of a browser that goes leave the queue, so the room comes.
        let room = Arc::clone(&self.room).acquire_many_owned(share(event.bytes)).await;
        let room = room.map_err(|_| BrowserGone)?;
        self.queue.send((event.event, room)).await.map_err(|_| BrowserGone)
    }

    /// Queues an event if there is room at once.
    pub(super) fn try_send(&self, event: BrowserEvent) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(share(event.bytes));
        room.is_ok_and(|room| self.queue.try_send((event.event, room)).is_ok())
    }

    /// Resolves when the browser has closed the connection.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Part of the room that an event takes.
fn share(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(1, QUEUE_BYTES)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_browser_that_does_not_read_bounds_the_bytes() {
        let (queue, answer) = EventQueue::new();
        let event = |bytes: usize| BrowserEvent::new("record", "x".repeat(bytes));
        let queued = (0..100).filter(|_| queue.try_send(event(QUEUE_BYTES / 10))).count();
        assert_eq!(queued, 10);
        assert!(!queue.try_send(event(QUEUE_BYTES)));
        drop(answer);
        queue.closed().await;
        assert!(queue.send(event(10)).await.is_err());
    }

    #[tokio::test]
    async fn small_events_are_bounded_in_number_and_a_large_one_waits_alone() {
        let (queue, _answer) = EventQueue::new();
        let sent = (0..2_000).filter(|_| queue.try_send(BrowserEvent::new("record", String::new()))).count();
        assert_eq!(sent, QUEUE_EVENTS);
        let (queue, _answer) = EventQueue::new();
        assert!(queue.try_send(BrowserEvent::new("record", "x".repeat(2 * QUEUE_BYTES))));
        assert!(!queue.try_send(BrowserEvent::new("record", "x".to_owned())));
    }
}
