//! A partition of a consumer and the task that fetches it.

use std::sync::Arc;

use floe_core::process;
use tokio::task::JoinHandle;

use super::ack_tracker::AckTracker;
use crate::topic::TopicPartition;

/// One partition of a consumer.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) at: TopicPartition,
    /// Offset of the next record to hand out.
    pub(super) position: i64,
    /// Offset at which reading ends.
    pub(super) end: Option<i64>,
    pub(super) acks: Arc<AckTracker>,
    /// The fetch task; `None` once the partition was left.
    pub(super) task: Option<AbortOnDrop>,
}

/// A task that is aborted when its handle is dropped.
#[derive(Debug)]
pub(super) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(process::inherit(work)))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
