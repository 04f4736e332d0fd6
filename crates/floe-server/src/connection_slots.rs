//! Places for connections, and who gives way when all are taken.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Least idle time of a connection that gives way.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Least age of a connection that gives way because it has never sent a whole request. Clients send one at once.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Which connection gives way to a new one when all places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The one that has been idle longest; if none is idle, the new one.
    CloseIdle,
    /// The oldest one.
    CloseOldest,
}

/// A limited number of places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSlots(Arc<Slots>);

#[derive(Debug)]
struct Slots {
    limit: usize,
    when_full: WhenFull,
    /// Origin of the times in [`Occupant`].
    started: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By number, which ascends with the age.
    occupants: BTreeMap<u64, Arc<Occupant>>,
    next: u64,
}

#[derive(Debug)]
struct Occupant {
    started: Instant,
    /// Milliseconds from the start of the server to the last sign of life.
    active_at: AtomicU64,
    /// Whether the connection has requests in flight, streams or watches.
    is_busy: AtomicBool,
    /// Whether the connection has never sent a request.
    is_silent: AtomicBool,
    close: Notify,
}

/// A place, free again on drop.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    slots: Arc<Slots>,
    number: u64,
    occupant: Arc<Occupant>,
    has_closed_another: bool,
}

/// Tells the slots what a connection does.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Occupant>);

impl ConnectionSlots {
    pub(crate) fn new(limit: usize, when_full: WhenFull) -> Self {
        Self(Arc::new(Slots { limit, when_full, started: Instant::now(), taken: Mutex::default() }))
    }

    /// Takes a place; `None` if all are taken and no connection gives way.
    pub(crate) fn take(&self) -> Option<ConnectionSlot> {
        let slots = &self.0;
        let mut taken = slots.taken.lock();
        let has_closed_another = taken.occupants.len() >= slots.limit;
        if has_closed_another {
            let number = match slots.when_full {
                WhenFull::CloseOldest => taken.occupants.first_key_value().map(|(number, _)| *number),
                WhenFull::CloseIdle => slots.idle_longest(&taken),
            };
            // The place is free at once; the connection ends when its task runs.
            taken.occupants.remove(&number?)?.close.notify_one();
        }
        let occupant = Arc::new(Occupant {
            started: slots.started,
            active_at: AtomicU64::new(millis(slots.started)),
            is_busy: AtomicBool::new(false),
            is_silent: AtomicBool::new(true),
            close: Notify::new(),
        });
        let number = taken.next;
        taken.next += 1;
        taken.occupants.insert(number, Arc::clone(&occupant));
        drop(taken);
        Some(ConnectionSlot { slots: Arc::clone(slots), number, occupant, has_closed_another })
    }
}

impl Slots {
    fn idle_longest(&self, taken: &Taken) -> Option<u64> {
        let now = millis(self.started);
        let longest = |may_give_way: fn(&Occupant) -> bool, after: Duration| {
            let idle = taken.occupants.iter().filter(|(_, occupant)| may_give_way(occupant));
            let idle = idle.map(|(number, occupant)| (occupant.active_at.load(Ordering::Relaxed), *number));
            let (active_at, number) = idle.min()?;
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            (now.saturating_sub(active_at) >= after).then_some(number)
        };
        longest(|occupant| occupant.is_silent.load(Ordering::Relaxed), SILENT_AFTER)
            .or_else(|| longest(|occupant| !occupant.is_busy.load(Ordering::Relaxed), IDLE_AFTER))
    }
}

impl ConnectionSlot {
    /// Resolves when the connection has to give way.
    pub(crate) async fn closed(&self) {
        self.occupant.close.notified().await;
    }

    /// Whether another connection gave way to this one.
    pub(crate) fn has_closed_another(&self) -> bool {
        self.has_closed_another
    }

    pub(crate) fn activity(&self) -> Activity {
        Activity(Arc::clone(&self.occupant))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.slots.taken.lock().occupants.remove(&self.number);
    }
}

impl Activity {
    /// Notes a sign of life, and whether the connection is busy from now on, even without one.
    pub(crate) fn note(&self, is_busy: bool) {
        self.0.is_busy.store(is_busy, Ordering::Relaxed);
        self.0.is_silent.store(false, Ordering::Relaxed);
        self.0.active_at.store(millis(self.0.started), Ordering::Relaxed);
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_longest_gives_way() {
        let slots = ConnectionSlots::new(3, WhenFull::CloseIdle);
        let taken: Vec<_> = (0..3).map(|_| slots.take().unwrap()).collect();
        for slot in &taken {
            slot.activity().note(false);
        }
        tokio::time::advance(SILENT_AFTER).await;
        assert!(slots.take().is_none(), "all are young");
        tokio::time::advance(IDLE_AFTER).await;
        taken[0].activity().note(true);
        tokio::time::advance(IDLE_AFTER).await;
        taken[2].activity().note(false);
        let new = slots.take().unwrap();
        assert!(new.has_closed_another());
        assert!(taken[1].closed().now_or_never().is_some());
        assert!(taken[0].closed().now_or_never().is_none(), "it is busy");
        assert!(taken[2].closed().now_or_never().is_none(), "it was active");
        assert!(slots.take().is_none(), "no other is idle long enough");
        drop(new);
        drop(taken);
        assert!((0..3).map(|_| slots.take().unwrap()).all(|slot| !slot.has_closed_another()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_asked_gives_way_first() {
        let slots = ConnectionSlots::new(2, WhenFull::CloseIdle);
        let (asked, silent) = (slots.take().unwrap(), slots.take().unwrap());
        asked.activity().note(false);
        assert!(slots.take().is_none(), "both are young");
        tokio::time::advance(SILENT_AFTER).await;
        let new = slots.take().unwrap();
        assert!(silent.closed().now_or_never().is_some() && asked.closed().now_or_never().is_none());
        assert!(slots.take().is_none());
        drop(new);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_connection_gives_way() {
        let slots = ConnectionSlots::new(2, WhenFull::CloseOldest);
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        first.activity().note(true);
        let third = slots.take().unwrap();
        assert!(first.closed().now_or_never().is_some());
        assert!(second.closed().now_or_never().is_none());
        drop(first);
        assert!(slots.take().unwrap().has_closed_another());
        assert!(second.closed().now_or_never().is_some());
        drop(third);
    }
}
