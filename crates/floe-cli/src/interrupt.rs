//! Ctrl-C: the first press lets the command finish its work in progress, the second ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::{
    exit::{Failure, Outcome},
    exit_code::INTERRUPTED,
    platform::TerminationSignals,
};

/// Flag that Ctrl-C or SIGTERM sets. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    flag: Arc<InterruptFlag>,
}

#[derive(Debug, Default)]
struct InterruptFlag {
    is_set: AtomicBool,
    waiters: Notify,
}

impl InterruptFlag {
    fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.waiters.notify_waiters();
    }
}

impl Interrupt {
    /// Takes the termination signals over from the operating system, which would end the process at the first.
    pub(crate) fn listen() -> Outcome<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.flag);
        let mut signals =
            TerminationSignals::listen().map_err(|error| Failure::io("cannot listen for Ctrl-C", &error))?;
        tokio::spawn(async move {
            signals.next().await;
            flag.set();
            signals.next().await;
            std::process::exit(i32::from(INTERRUPTED));
        });
        Ok(interrupt)
    }

    /// Whether the flag is set. Cheap enough to check for each record.
    pub(crate) fn is_pressed(&self) -> bool {
        self.flag.is_set.load(Ordering::Relaxed)
    }

    /// Resolves when the flag is set.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn pressed(&self) {
        let notified = self.flag.waiters.notified();
        // The waiter registers before it reads the flag, so that a signal in between wakes it.
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_pressed() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn press_before_the_wait_is_not_missed() {
        let interrupt = Interrupt::default();
        interrupt.flag.set();
        interrupt.pressed().await;
        assert!(interrupt.is_pressed());
    }

    #[tokio::test]
    async fn press_wakes_waiters() {
        let interrupt = Interrupt::default();
        let waiting = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.pressed().await }
        });
        tokio::task::yield_now().await;
        interrupt.flag.set();
        waiting.await.unwrap();
    }
}
