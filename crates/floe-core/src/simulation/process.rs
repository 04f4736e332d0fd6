//! Simulated processes: several within one thread, each of which can be stopped and has a clock of its own.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

thread_local! {
    /// The process of the task that is being polled.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// A process of a simulation: the tasks that begin in [`Process::run`], and all that floe spawns in them. While it is frozen
/// none of them runs, as after `SIGSTOP`; time goes on, so that its timers fire late.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use std::time::Duration;
/// use floe_core::{clock::ContinuousClock, simulation::Process};
///
/// // Its clock is 5 % too slow.
/// let process = Process::new(0.95);
/// let task = tokio::spawn(process.run(async {
///     let clock = ContinuousClock::new();
///     tokio::time::sleep(Duration::from_secs(10)).await;
///     clock.now()
/// }));
/// tokio::time::sleep(Duration::from_secs(5)).await;
/// process.freeze();
/// tokio::time::sleep(Duration::from_secs(15)).await;
/// process.thaw();
/// assert_eq!(task.await.unwrap(), Duration::from_secs(19));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Process(Arc<ProcessState>);

#[derive(Debug)]
struct ProcessState {
    /// Rate of its clocks in relation to that of tokio.
    rate: f64,
    frozen: Mutex<Option<Vec<Waker>>>,
}

impl Process {
    /// Creates a process whose [continuous clocks](crate::clock::ContinuousClock) go at a rate in relation to that of tokio.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self(Arc::new(ProcessState { rate, frozen: Mutex::new(None) }))
    }

    /// Runs a future in the process.
    pub fn run<F: Future>(&self, work: F) -> ProcessTask<F> {
        ProcessTask { process: Some(self.clone()), work: Box::pin(work) }
    }

    /// Stops its tasks.
    pub fn freeze(&self) {
        self.0.frozen.lock().get_or_insert_default();
    }

    /// Lets its tasks go on.
    pub fn thaw(&self) {
        let waiting = self.0.frozen.lock().take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether its tasks stand still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.0.frozen.lock().is_some()
    }
}

/// Returns the rate of the clocks in the process of the caller; `None` outside of all processes.
pub(crate) fn clock_rate() -> Option<f64> {
    CURRENT.with_borrow(|current| current.as_ref().map(|process| process.0.rate))
}

/// A future that runs in a process. Dropping it drops the future, also while the process is frozen.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct ProcessTask<F> {
    process: Option<Process>,
    work: Pin<Box<F>>,
}

impl<F> ProcessTask<F> {
    pub(crate) fn of_caller(work: F) -> Self {
        Self { process: CURRENT.with_borrow(Clone::clone), work: Box::pin(work) }
    }
}

impl<F: Future> Future for ProcessTask<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let Some(process) = &this.process else { return this.work.as_mut().poll(context) };
        if let Some(waiting) = &mut *process.0.frozen.lock() {
            waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        let _entered = Entered(CURRENT.replace(Some(process.clone())));
        this.work.as_mut().poll(context)
    }
}

/// Leaves the process, also when the task panics.
struct Entered(Option<Process>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::process::inherit;

    #[tokio::test(start_paused = true)]
    async fn tasks_of_a_frozen_process_stand_still_and_others_go_on() {
        let (stopped, other) = (Process::new(1.0), Process::new(1.0));
        let begun = Instant::now();
        // The inner task belongs to the process that spawned it.
        let ticks = |process: &Process| {
            tokio::spawn(process.run(async move {
                let inner = tokio::spawn(inherit(async move {
                    sleep(Duration::from_secs(1)).await;
                    begun.elapsed().as_secs()
                }));
                sleep(Duration::from_secs(2)).await;
                (inner.await.unwrap(), begun.elapsed().as_secs())
            }))
        };
        let (late, timely) = (ticks(&stopped), ticks(&other));
        tokio::task::yield_now().await;
        stopped.freeze();
        assert_eq!(timely.await.unwrap(), (1, 2));
        sleep(Duration::from_secs(7)).await;
        assert!(stopped.is_frozen() && !late.is_finished());
        stopped.thaw();
        assert_eq!(late.await.unwrap(), (9, 9));
        assert_eq!(clock_rate(), None);
    }
}
