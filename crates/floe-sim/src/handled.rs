//! Records that the groups of a run have handled, and commits that ran ahead of them.

use std::{collections::BTreeMap, sync::Arc};

use floe::TopicPartition;
use parking_lot::Mutex;

/// Offset after the last handled record, by group and partition.
#[derive(Debug, Clone, Default)]
pub struct Handled(Arc<Mutex<Audit>>);

#[derive(Debug, Default)]
struct Audit {
    next: BTreeMap<(String, u32), i64>,
    violations: Vec<String>,
}

impl Handled {
    /// Notes that a record was handled.
    pub fn record(&self, group: &str, partition: u32, offset: i64) {
        let mut audit = self.0.lock();
        let next = audit.next.entry((group.to_owned(), partition)).or_default();
        *next = (*next).max(offset + 1);
    }

    /// Returns the offset after the last handled record.
    #[must_use]
    pub fn next(&self, group: &str, partition: u32) -> i64 {
        self.0.lock().next.get(&(group.to_owned(), partition)).copied().unwrap_or(0)
    }

    /// Returns the commits that ran ahead of handled records.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }

    pub(crate) fn check(&self, group: &str, positions: &[(TopicPartition, i64)]) {
        for (at, next) in positions {
            let handled = self.next(group, at.partition);
            if *next > handled {
                let violation =
                    format!("group {group} committed {next} for {at}, and has handled up to {handled}");
                self.0.lock().violations.push(violation);
            }
        }
    }
}
