//! Counts failed records whose failure no caller has observed.
//!
//! The failure of a record whose [`super::Delivery`] was dropped would stay unnoticed, so the next flush or close reports
//! it. Each report starts a new period; a failure of an earlier period that is observed later is not subtracted from the
//! current one.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::Error;

/// Records of one partition that were not delivered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Undelivered {
    /// The partition they were meant for.
    pub partition: u32,
    /// Number of records.
    pub records: u64,
    /// Error of the first of them.
    pub error: Error,
}

#[derive(Debug, Default)]
pub(super) struct UnreportedFailures {
    period: Mutex<ReportPeriod>,
}

#[derive(Debug, Default)]
struct ReportPeriod {
    number: u64,
    failed: BTreeMap<u32, Undelivered>,
}

/// How much of a failed batch was reported or observed. Only [`UnreportedFailures`] changes it, under its own lock.
#[derive(Debug, Default)]
pub(super) struct FailureProgress(Mutex<Progress>);

#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    /// Period in which the batch failed.
    period: Option<u64>,
    observed: u64,
}

/// A batch that failed.
#[derive(Clone, Copy)]
pub(super) struct FailedBatch<'a> {
    pub(super) partition: u32,
    pub(super) records: u32,
    pub(super) error: &'a Error,
    pub(super) progress: &'a FailureProgress,
}

impl UnreportedFailures {
    /// Counts a batch that failed. Call before the outcome is published: a delivery may be observed right after.
    pub(super) fn add(&self, batch: FailedBatch<'_>) {
        let mut period = self.period.lock();
        batch.progress.0.lock().period = Some(period.number);
        add(&mut period.failed, batch.partition, u64::from(batch.records), batch.error);
    }

    /// Subtracts records whose failure was handed to the owner of their delivery.
    pub(super) fn observe(&self, partition: u32, progress: &FailureProgress, records: u32) {
        let records = u64::from(records);
        let mut period = self.period.lock();
        let mut progress = progress.0.lock();
        progress.observed += records;
        if progress.period != Some(period.number) {
            return;
        }
        if let Some(failed) = period.failed.get_mut(&partition) {
            failed.records = failed.records.saturating_sub(records);
            if failed.records == 0 {
                period.failed.remove(&partition);
            }
        }
    }

    /// Takes all unobserved failures, adds every record of the batches in `waited_for`, observed or not, and starts the
    /// next period.
    pub(super) fn report<'a>(&self, waited_for: impl Iterator<Item = FailedBatch<'a>>) -> Vec<Undelivered> {
        let mut period = self.period.lock();
        let number = period.number;
        period.number += 1;
        let mut failed = std::mem::take(&mut period.failed);
        for batch in waited_for {
            let progress = *batch.progress.0.lock();
            // The unobserved records of this period are in `failed` already.
            let missing =
                if progress.period == Some(number) { progress.observed } else { u64::from(batch.records) };
            if missing > 0 {
                add(&mut failed, batch.partition, missing, batch.error);
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

    /// A failed batch with all that outlives the report of it.
    struct Failure {
        partition: u32,
        records: u32,
        error: Error,
        progress: FailureProgress,
    }

    impl Failure {
        fn added_to(failures: &UnreportedFailures, partition: u32, records: u32) -> Self {
            let error = Error::new(ErrorKind::ServerError, "no");
            let failure = Self { partition, records, error, progress: FailureProgress::default() };
            failures.add(failure.batch());
            failure
        }

        fn batch(&self) -> FailedBatch<'_> {
            let Self { partition, records, error, progress } = self;
            FailedBatch { partition: *partition, records: *records, error, progress }
        }

        fn observe(&self, failures: &UnreportedFailures, records: u32) {
            failures.observe(self.partition, &self.progress, records);
        }
    }

    fn counts(report: &[Undelivered]) -> Vec<(u32, u64)> {
        report.iter().map(|undelivered| (undelivered.partition, undelivered.records)).collect()
    }

    #[test]
    fn unobserved_failures_are_reported_once() {
        let failures = UnreportedFailures::default();
        let failure = Failure::added_to(&failures, 1, 3);
        Failure::added_to(&failures, 2, 1);
        failure.observe(&failures, 1);
        assert_eq!(counts(&failures.report(std::iter::empty())), [(1, 2), (2, 1)]);
        assert_eq!(counts(&failures.report(std::iter::empty())), []);
    }

    #[test]
    fn failures_observed_late_do_not_change_the_next_report() {
        let failures = UnreportedFailures::default();
        let old = Failure::added_to(&failures, 1, 3);
        let _ = failures.report(std::iter::empty());
        Failure::added_to(&failures, 1, 5);
        old.observe(&failures, 1);
        assert_eq!(counts(&failures.report(std::iter::empty())), [(1, 5)]);
    }

    #[test]
    fn batches_waited_for_count_as_a_whole() {
        let failures = UnreportedFailures::default();
        let failure = Failure::added_to(&failures, 1, 3);
        failure.observe(&failures, 1);
        let waited_for = || [failure.batch()].into_iter();
        assert_eq!(counts(&failures.report(waited_for())), [(1, 3)]);
        // A concurrent flush that waited for the same batch reports it as well.
        assert_eq!(counts(&failures.report(waited_for())), [(1, 3)]);
    }
}
