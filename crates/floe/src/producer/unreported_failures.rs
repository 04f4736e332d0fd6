//! Failures that nobody has looked at yet.
//!
//! A record whose [`super::Delivery`] was dropped may fail without anybody noticing. The unreported counts such records, so
//! that the next flush or close reports them. Each report turns the page; a failure seen later through its delivery
//! is then not subtracted from a page it is not on.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::delivery::BatchState;
use crate::Error;

/// Records of one partition that were not delivered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Undelivered {
    /// The partition they were meant for.
    pub partition: u32,
    /// How many.
    pub records: u64,
    /// Why the first of them was not.
    pub error: Error,
}

#[derive(Debug, Default)]
pub(super) struct UnreportedFailures {
    page: Mutex<Page>,
}

#[derive(Debug, Default)]
struct Page {
    number: u64,
    failed: BTreeMap<u32, Undelivered>,
}

impl UnreportedFailures {
    /// Enters a batch that failed. Call before the outcome is published: a delivery may be looked at right after.
    pub(super) fn enter(&self, state: &BatchState, records: u32, error: &Error) {
        let mut page = self.page.lock();
        state.entry.lock().page = Some(page.number);
        add(&mut page.failed, state.partition, u64::from(records), error);
    }

    /// The owner of so many deliveries was told that they failed.
    pub(super) fn observe(&self, state: &BatchState, records: u32) {
        let records = u64::from(records);
        let mut page = self.page.lock();
        let mut entry = state.entry.lock();
        entry.observed += records;
        if entry.page != Some(page.number) {
            return;
        }
        if let Some(failed) = page.failed.get_mut(&state.partition) {
            failed.records = failed.records.saturating_sub(records);
            if failed.records == 0 {
                page.failed.remove(&state.partition);
            }
        }
    }

    /// Takes everything that nobody has seen, adds what failed among the batches given whether seen or not, and turns
    /// the page.
    pub(super) fn report(&self, waited_for: &[(Arc<BatchState>, u32)]) -> Vec<Undelivered> {
        let mut page = self.page.lock();
        let number = page.number;
        page.number += 1;
        let mut failed = std::mem::take(&mut page.failed);
        for (state, records) in waited_for {
            let Some(Err(error)) = state.outcome() else { continue };
            let entry = *state.entry.lock();
            // What is on this page already and unseen must not be counted twice.
            let missing = if entry.page == Some(number) { entry.observed } else { u64::from(*records) };
            if missing > 0 {
                add(&mut failed, state.partition, missing, error);
            }
        }
        failed.into_values().collect()
    }
}

fn add(failed: &mut BTreeMap<u32, Undelivered>, partition: u32, records: u64, error: &Error) {
    failed.entry(partition).and_modify(|known| known.records += records).or_insert_with(|| Undelivered {
        partition,
        records,
        error: error.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn failed_batch(unreported: &Arc<UnreportedFailures>, partition: u32, records: u32) -> Arc<BatchState> {
        let state = Arc::new(BatchState::new(partition, Arc::clone(unreported)));
        let error = Error::new(ErrorKind::ServerError, "no");
        unreported.enter(&state, records, &error);
        state.complete(Err(error));
        state
    }

    fn counts(report: &[Undelivered]) -> Vec<(u32, u64)> {
        report.iter().map(|undelivered| (undelivered.partition, undelivered.records)).collect()
    }

    #[test]
    fn what_nobody_saw_is_reported_once() {
        let unreported = Arc::new(UnreportedFailures::default());
        let state = failed_batch(&unreported, 1, 3);
        failed_batch(&unreported, 2, 1);
        unreported.observe(&state, 1);
        assert_eq!(counts(&unreported.report(&[])), [(1, 2), (2, 1)]);
        assert_eq!(counts(&unreported.report(&[])), []);
    }

    #[test]
    fn a_late_look_does_not_disturb_the_next_page() {
        let unreported = Arc::new(UnreportedFailures::default());
        let old = failed_batch(&unreported, 1, 3);
        unreported.report(&[]);
        failed_batch(&unreported, 1, 5);
        unreported.observe(&old, 1);
        assert_eq!(counts(&unreported.report(&[])), [(1, 5)]);
    }

    #[test]
    fn batches_waited_for_count_whole_whoever_saw_them() {
        let unreported = Arc::new(UnreportedFailures::default());
        let state = failed_batch(&unreported, 1, 3);
        unreported.observe(&state, 1);
        let waited = [(state, 3)];
        assert_eq!(counts(&unreported.report(&waited)), [(1, 3)]);
        // Another flush that waited for the same batch reports it as well.
        assert_eq!(counts(&unreported.report(&waited)), [(1, 3)]);
    }
}
