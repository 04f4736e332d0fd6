//! The lease of an exactly-once processor on one partition.

use std::{fmt, sync::Arc};

use tokio::sync::mpsc;

use super::{
    ack_tracker::AckTracker,
    task_facts::{SharedProgress, TaskFacts},
};
use crate::Result;

/// Decides whether a member may take part in a group which has stored this text for a partition of this topic.
pub(crate) type AcceptsMetadata = Arc<dyn Fn(&str, &str) -> Result<()> + Send + Sync>;

/// The processor behind a consumer that reads for tasks.
#[derive(Clone)]
pub(crate) struct TaskKeeper {
    /// Gets the lease of each partition that is taken up, as long as there is room; its records tell of it, too.
    pub(crate) leases: mpsc::Sender<TaskLease>,
    pub(crate) accepts: AcceptsMetadata,
}

impl fmt::Debug for TaskKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskKeeper")
    }
}

/// The lease under which a processor works on one partition. Ends when another member of the group may have the partition.
#[derive(Debug, Clone)]
pub(crate) struct TaskLease {
    partition: u32,
    acks: Arc<AckTracker>,
}

impl TaskLease {
    pub(super) fn new(partition: u32, acks: Arc<AckTracker>) -> Self {
        Self { partition, acks }
    }

    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// Returns what was stored when the partition was taken up; `None` if the consumer reads for no task.
    pub(crate) fn facts(&self) -> Option<&TaskFacts> {
        self.acks.task()
    }

    /// Stores this progress from now on. Until then the group keeps what it has. The first progress stays.
    pub(crate) fn store(&self, progress: SharedProgress) {
        self.acks.set_progress(progress);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.acks.is_lost()
    }

    /// Waits for the end of the lease.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(crate) async fn lost(&self) {
        self.acks.lost().await;
    }
}

/// Two of them are equal if they are the same lease of the same partition, taken up once.
impl PartialEq for TaskLease {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.acks, &other.acks)
    }
}
