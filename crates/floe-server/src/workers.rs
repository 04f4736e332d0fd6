//! Threads for work that takes long: large checks and decodings, and SmartModules.
//!
//! The work of all clients shares one thread per processor, with a lower priority than the rest of the server: the requests
//! of a client that asks for little do not wait behind it. A blocking thread of the runtime waits for the result, so that
//! the runtime knows of the work, as its paused clock must.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, mpsc},
    thread,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};

use crate::platform;

type QueuedWork = Box<dyn FnOnce() + Send>;

/// The threads. Clones share them; they end with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    /// One permit per thread.
    turns: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// Threads that start when they are first needed.
#[derive(Debug)]
struct Threads {
    most: usize,
    started: Mutex<Started>,
}

#[derive(Debug)]
struct Started {
    count: usize,
    jobs: mpsc::Sender<QueuedWork>,
    queue: Arc<Mutex<mpsc::Receiver<QueuedWork>>>,
}

/// The right to run one piece of work.
#[derive(Debug)]
pub(crate) struct Turn {
    threads: Arc<Threads>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Workers {
    pub(crate) fn new() -> Self {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = mpsc::channel();
        let started = Mutex::new(Started { count: 0, jobs, queue: Arc::new(Mutex::new(queue)) });
        Self { turns: Arc::new(Semaphore::new(most)), threads: Arc::new(Threads { most, started }) }
    }

    /// Waits for a turn, first come, first served.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn turn(&self) -> Turn {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        Turn { threads: Arc::clone(&self.threads), permit }
    }
}

impl Turn {
    /// Runs `work`. Dropping the future does not end it: the turn is over when the work is.
    ///
    /// # Errors
    /// The work panicked, or the runtime stops.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let Self { threads, permit } = self;
        tokio::task::spawn_blocking(move || {
            let outcome = threads.run(work);
            drop(permit);
            outcome
        })
        .await
    }
}

impl Threads {
    /// Runs `work` on one of the threads and waits for it; on this thread if none can be started.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(jobs) = self.jobs() else { return work() };
        let (done, outcome) = mpsc::sync_channel(1);
        let job = move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            // The receiver waits below.
            drop(done.send(outcome));
        };
        if let Err(refused) = jobs.send(Box::new(job)) {
            refused.0();
        }
        match outcome.recv() {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => resume_unwind(Box::new("a job was dropped before it ran")),
        }
    }

    /// Returns the queue, with a thread for each job that may be in it; `None` if no thread can be started.
    fn jobs(&self) -> Option<mpsc::Sender<QueuedWork>> {
        let mut started = self.started.lock();
        if started.count < self.most {
            let queue = Arc::clone(&started.queue);
            match thread::Builder::new().name("floe-work".to_owned()).spawn(move || serve(&queue)) {
                Ok(_) => started.count += 1,
                Err(_) if started.count == 0 => return None,
                Err(_) => {}
            }
        }
        Some(started.jobs.clone())
    }
}

/// Runs jobs until the last sender is gone.
fn serve(queue: &Mutex<mpsc::Receiver<QueuedWork>>) {
    platform::lower_priority();
    loop {
        // The guard must not be held while the job runs.
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_on_threads_of_its_own_and_a_panic_ends_none() {
        let workers = Workers::new();
        for _ in 0..20 {
            let panicked = workers.turn().await.run(|| panic!("a bad job")).await;
            assert!(panicked.unwrap_err().is_panic());
            let name = workers.turn().await.run(|| thread::current().name().map(str::to_owned)).await;
            assert_eq!(name.unwrap().as_deref(), Some("floe-work"));
        }
    }

    #[tokio::test]
    async fn a_turn_lasts_until_its_work_ends() {
        let workers = Workers::new();
        let most = workers.turns.available_permits();
        let (go_on, waits) = mpsc::channel::<()>();
        let (begins, begun) = tokio::sync::oneshot::channel();
        let turn = workers.turn().await;
        let running = tokio::spawn(turn.run(move || {
            begins.send(()).unwrap();
            let _ = waits.recv();
        }));
        begun.await.unwrap();
        running.abort();
        drop(running.await);
        assert_eq!(workers.turns.available_permits(), most - 1);
        go_on.send(()).unwrap();
        drop(workers.turns.acquire_many(u32::try_from(most).unwrap()).await.unwrap());
    }
}
