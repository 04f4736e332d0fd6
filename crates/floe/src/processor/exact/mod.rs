//! Exactly once: the records made from the input are in the output once each, whatever is killed.
//!
//! ```text
//!  message ──► place in the order of its partition ──► handler, on any thread ──► records made
//!                          │                                                          │
//!                          ▼                                                          ▼
//!  task of the partition: waits for the oldest ──► numbers them by output partition ──► already written?
//!     begins with `take_over`                                                     │          │
//!                                                            compares them ◄──────┘ yes      │ no
//!                                                                                            ▼
//!  heartbeat: next offset and numbers ◄── acknowledged, in order ◄── producer of the task, behind the lease gate
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `opening` | limits that are checked before the start |
//! | `context` | what the tasks of a processor have in common |
//! | `numbering` | numbers of records, and their text in the commits of the group |
//! | `take_over` | the begin of a task after another owner |
//! | `written_tail`, `fingerprint` | records that are written beyond the commit, and how they are recognized |
//! | `task` | order, numbers, comparison, acknowledgements |
//! | `task/recording`, `changelog`, `changelog_record` | outputs that are recorded before they are sent |
//! | `lease_gate` | appends end with the lease |
//!
//! The number of a record in its output partition is its sequence in the batches of the task, whose producer id follows from
//! the name of the processor and the input partition. A later owner therefore computes the same number for the same record,
//! and finds by it what is written. Each task has one append in flight for an output partition, so that no number is missing
//! behind another one.

mod changelog;
mod changelog_record;
mod context;
mod fingerprint;
mod lease_gate;
mod numbering;
mod opening;
mod patience;
mod take_over;
mod task;
mod written_tail;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_core::process;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use self::{
    context::TaskContext,
    task::{RecordedUpTo, TaskInput},
};
pub(super) use self::{
    opening::ExactOpening,
    task::{Made, Settled},
};
use crate::{Error, Message, consumer::TaskLease};

/// How long tasks may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The place of an input record in the order of its partition. Dropping it gives the record up, and all behind it.
#[derive(Debug)]
pub(super) struct Slot {
    offset: i64,
    made: oneshot::Sender<Made>,
    /// Set where outputs are recorded.
    recorded: Option<watch::Receiver<RecordedUpTo>>,
}

impl Slot {
    /// Waits until it is known whether outputs of the record are recorded, so that no handler may be called for it any more.
    /// `None` if the task has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn is_recorded(&mut self) -> Option<bool> {
        let Some(recorded) = &mut self.recorded else { return Some(false) };
        let up_to = recorded.wait_for(Option::is_some).await.ok()?;
        up_to.map(|up_to| self.offset < up_to)
    }

    /// Gives the records that were made to the task. They are dropped if it is lost.
    pub(super) fn give(self, made: Made) {
        drop(self.made.send(made));
    }
}

struct RunningTask {
    lease: TaskLease,
    inputs: mpsc::Sender<TaskInput>,
    recorded: watch::Receiver<RecordedUpTo>,
}

/// The tasks of a processor: one for each input partition that it holds.
pub(super) struct ExactTasks {
    context: Arc<TaskContext>,
    leases: mpsc::Receiver<TaskLease>,
    running: BTreeMap<u32, RunningTask>,
    ends: JoinSet<Result<(), Error>>,
    /// Output of dead letters, if they are kept.
    dead_letters: Option<usize>,
    /// Most records that the processor holds.
    max_held: usize,
}

impl ExactTasks {
    /// Returns the output of dead letters, if they are kept.
    pub(super) fn dead_letters(&self) -> Option<usize> {
        self.dead_letters
    }

    /// Gives a record that was just read its place in the order. `None` for a record without a lease, which no shared group
    /// hands out.
    pub(super) fn register(&mut self, message: &Message) -> Option<Slot> {
        let lease = message.task_lease()?;
        self.begin(lease);
        let (slot, made) = oneshot::channel();
        let task = self.running.get(&message.partition)?;
        let offset = message.offset;
        // A task that has ended has lost its lease, and its records are given up. There is room for all that are held.
        let _ = task.inputs.try_send(TaskInput { offset, made });
        let recorded = self.context.changelog().map(|_| task.recorded.clone());
        Some(Slot { offset, made: slot, recorded })
    }

    /// Begins the tasks of partitions that are taken up. Returns the failure of one of them.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn failed(&mut self) -> Error {
        loop {
            tokio::select! {
                biased;
                Some(lease) = self.leases.recv() => self.begin(lease),
                Some(ended) = self.ends.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error,
                    Err(stopped) => return Error::closed("task of the processor").with_source(stopped),
                },
                else => std::future::pending().await,
            }
        }
    }

    fn begin(&mut self, lease: TaskLease) {
        let partition = lease.partition();
        if lease.is_lost() || self.running.get(&partition).is_some_and(|running| running.lease == lease) {
            return;
        }
        let (inputs, received) = mpsc::channel(self.max_held);
        let (begins, recorded) = watch::channel(None);
        let work = task::run(Arc::clone(&self.context), lease.clone(), received, begins);
        self.ends.spawn(process::inherit(work));
        self.running.insert(partition, RunningTask { lease, inputs, recorded });
    }

    /// Ends all tasks. Nothing is sent afterwards.
    pub(super) async fn end(&mut self) {
        self.running.clear();
        let all = async { while self.ends.join_next().await.is_some() {} };
        if tokio::time::timeout(END_TIMEOUT, all).await.is_err() {
            self.ends.shutdown().await;
        }
    }
}
