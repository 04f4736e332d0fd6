//! Background work of a log as tasks of the paused clock.

use std::sync::Arc;

use floe_log::Work;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::{rng::Rng, trace::Trace};

/// The work of one incarnation of a log. It ends with the log: the executor holds it weakly.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogWork(Arc<Mutex<JoinSet<()>>>);

impl LogWork {
    /// Returns the executor of a log, which runs each piece of work after a random latency of at most `slowness` milliseconds.
    pub(crate) fn executor(
        &self,
        slowness: u64,
        latencies: Rng,
        trace: &Trace,
    ) -> impl Fn(Work) + Send + Sync + 'static {
        let (tasks, latencies, trace) = (Arc::downgrade(&self.0), Mutex::new(latencies), trace.clone());
        move |work: Work| {
            let Some(tasks) = tasks.upgrade() else { return };
            let latency = latencies.lock().millis(0..=slowness);
            let trace = trace.clone();
            let mut tasks = tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                tokio::time::sleep(work.delay() + latency).await;
                trace.note(format_args!("the log works: {:?}", work.kind()));
                work.run();
            });
        }
    }

    /// Drops the work that is left, as a crash does.
    pub(crate) fn abort(&self) {
        self.0.lock().abort_all();
    }
}
