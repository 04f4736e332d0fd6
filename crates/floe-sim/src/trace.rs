//! What happened, in order: the fingerprint of a run, and its story if somebody wants to read it.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// More events than this in one run: something goes round and round without time passing.
const TOO_MANY: u64 = 2_000_000;

/// Takes down what happens. Clones write into the same trace.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    events: u64,
    hash: u64,
    story: Option<String>,
}

impl Trace {
    /// Begins now; keeps the text of the events only where asked to.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        let story = keep.then(String::new);
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            story,
        })))
    }

    /// Takes an event down.
    ///
    /// # Panics
    /// When there are so many that the run would never end.
    pub fn note(&self, event: fmt::Arguments<'_>) {
        let mut inner = self.0.lock();
        inner.events += 1;
        let at = inner.began.elapsed().as_micros();
        assert!(inner.events < TOO_MANY, "{TOO_MANY} events at {at} us: this never ends");
        // Neither of them can fail.
        let _ = writeln!(Hash(&mut inner.hash), "{at} {event}");
        if let Some(story) = &mut inner.story {
            let _ = writeln!(story, "{:>12.3} ms  {event}", at as f64 / 1000.0);
        }
    }

    /// The fingerprint: equal for equal runs.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.lock().hash
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.lock().events
    }

    /// The text of the events, if it was kept.
    #[must_use]
    pub fn story(&self) -> String {
        self.0.lock().story.clone().unwrap_or_default()
    }
}

/// FNV-1a over what is written.
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
    async fn what_happens_and_when_makes_the_fingerprint() {
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
