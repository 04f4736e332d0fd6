//! Events of a run in order: their hash, and their text on request.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Maximum number of events in a run; more of them mean a loop without progress of the clock.
const TOO_MANY: u64 = 2_000_000;

/// Handle to the event log; clones share it.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Mutex<TraceLog>>);

#[derive(Debug)]
struct TraceLog {
    began: Instant,
    events: u64,
    hash: u64,
    story: Option<String>,
}

impl Trace {
    /// Starts a trace at the current time; `keep` keeps the text of the events.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        let story = keep.then(String::new);
        Self(Arc::new(Mutex::new(TraceLog {
            began: Instant::now(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            story,
        })))
    }

    /// Adds an event.
    ///
    /// # Panics
    /// Panics after too many events, because the run would never end.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let mut log = self.0.lock();
        log.events += 1;
        let at = log.began.elapsed().as_micros();
        // The parts of a run that has failed so still note how they end.
        if log.events >= TOO_MANY && !std::thread::panicking() {
            panic!("{TOO_MANY} events at {at} us: a loop without progress, as in: {event}");
        }
        // Neither write can fail.
        let _ = writeln!(Hash(&mut log.hash), "{at} {event}");
        if let Some(story) = &mut log.story {
            let _ = writeln!(story, "{:>12.3} ms  {event}", at as f64 / 1000.0);
        }
    }

    /// Returns the hash of all events and their times.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.lock().hash
    }

    /// Returns the number of events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.lock().events
    }

    /// Returns the text of the events, if it was kept.
    #[must_use]
    pub fn story(&self) -> String {
        self.0.lock().story.clone().unwrap_or_default()
    }
}

/// FNV-1a hash of the written text.
struct Hash<'a>(&'a mut u64);

impl Write for Hash<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fingerprint_depends_on_events_and_their_times() {
        let run = async |event: &str, wait: u64| {
            let trace = Trace::new(true);
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            trace.note(format_args!("{event}"));
            (trace.fingerprint(), trace.story())
        };
        let (first, story) = run("a", 1).await;
        assert_eq!(first, run("a", 1).await.0);
        assert_ne!(first, run("b", 1).await.0);
        assert_ne!(first, run("a", 2).await.0);
        assert!(story.ends_with("1.000 ms  a\n"), "{story}");
    }
}
