//! Facts about a task: one partition of an exactly-once processor under one lease.

use std::{fmt::Debug, sync::Arc};

/// State of a task in the group and in the engine when its partition is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskFacts {
    /// Offset at which reading begins.
    pub(crate) start: i64,
    /// Offset that the group has stored; `None` before the first commit.
    pub(crate) next: Option<i64>,
    /// Text of the last commit; empty before the first one and after a reset.
    pub(crate) metadata: String,
    /// Offset that the engine has stored for the group, looked up only where the group has stored none.
    pub(crate) in_engine: Option<i64>,
    /// Whether the member got the lease by its own join: the owner before it may not have heard of that yet.
    pub(crate) by_join: bool,
}

/// The progress of a task, which its heartbeats store.
pub(crate) trait TaskProgress: Debug + Send + Sync {
    /// Returns the offset of the next record to handle, and the text to store with it. `settled`: the records handed out are
    /// finished, and no further ones come under this lease.
    fn commit(&self, settled: bool) -> (i64, String);
}

/// Shared progress of a task.
pub(crate) type SharedProgress = Arc<dyn TaskProgress>;
