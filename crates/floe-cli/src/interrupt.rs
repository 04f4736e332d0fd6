//! Ctrl-C: the first asks the command to finish what it has begun, the second ends the process at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::{
    exit::{Failure, Outcome},
    exit_code::INTERRUPTED,
};

/// Tells whether Ctrl-C was pressed. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    pressed: AtomicBool,
    waiting: Notify,
}

impl Interrupt {
    /// Takes Ctrl-C over from the operating system, which would end the process at the first.
    pub(crate) fn listen() -> Outcome<Self> {
        let interrupt = Self::default();
        let state = Arc::clone(&interrupt.state);
        let mut signals = Signals::new().map_err(|error| Failure::io("cannot listen for Ctrl-C", &error))?;
        tokio::spawn(async move {
            signals.next().await;
            state.pressed.store(true, Ordering::Relaxed);
            state.waiting.notify_waiters();
            signals.next().await;
            std::process::exit(i32::from(INTERRUPTED));
        });
        Ok(interrupt)
    }

    /// Whether it was pressed. Cheap enough to ask for each record.
    pub(crate) fn is_pressed(&self) -> bool {
        self.state.pressed.load(Ordering::Relaxed)
    }

    /// Waits until it is pressed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn pressed(&self) {
        let notified = self.state.waiting.notified();
        // Registered before the look at the flag, so that a press in between is not missed.
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_pressed() {
            notified.await;
        }
    }
}

/// The signals that mean Ctrl-C; on Unix also the polite request to end that service managers send.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_press_before_the_wait_is_not_missed() {
        let interrupt = Interrupt::default();
        interrupt.state.pressed.store(true, Ordering::Relaxed);
        interrupt.pressed().await;
        assert!(interrupt.is_pressed());
    }

    #[tokio::test]
    async fn a_press_wakes_those_who_wait() {
        let interrupt = Interrupt::default();
        let waiting = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.pressed().await }
        });
        tokio::task::yield_now().await;
        interrupt.state.pressed.store(true, Ordering::Relaxed);
        interrupt.state.waiting.notify_waiters();
        waiting.await.unwrap();
    }
}
