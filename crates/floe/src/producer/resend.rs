//! Retries failed appends: drain the window, back off, look up, resend.
//!
//! No append is started until every append of the window has a result or is past its deadline. The failed ones are then
//! handled in order. A batch whose acknowledgement was lost is looked up in the partition before it is resent.

use std::{collections::VecDeque, time::Duration};

use floe_wire::batch::ProducerIdentity;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    batch::Batch,
    sender::{Sender, Settled},
    tail_lookup,
};
use crate::{Effect, Error, ErrorKind};

impl Sender<'_> {
    /// Leaves the batches to resend in `self.resend`, in order; all others of the window have their outcome.
    pub(super) async fn resend_failed(&mut self) {
        self.drain().await;
        self.begin_epoch();
        let mut failed: VecDeque<Batch> = VecDeque::new();
        for entry in std::mem::take(&mut self.window) {
            let mut batch = entry.batch;
            match entry.result {
                // SmartModules leave nothing to recognise a batch by, so a retry could store a duplicate.
                Some(Err(error)) if self.through_modules() && error.effect() == Effect::Unknown => {
                    batch.fail(error);
                }
                Some(Err(error)) if self.shared.config.retries.should_retry.accepts(&error) => {
                    batch.attempt_failed(error);
                    if batch.overtaken && !(batch.uncertain && self.can_look_up()) {
                        batch.fail_overtaken();
                    } else {
                        failed.push_back(batch);
                    }
                }
                Some(Err(error)) => batch.fail(error),
                Some(Ok(_)) | None => {
                    floe_core::invariant!(false, "a drained window holds failed appends only");
                }
            }
        }
        // Batches that already waited to be resent come after them.
        failed.append(&mut self.resend);
        self.prepare(&mut failed).await;
        self.resend = failed;
    }

    async fn drain(&mut self) {
        loop {
            self.settle();
            if self.window.iter().all(|entry| entry.result.is_some()) {
                return;
            }
            self.wait(None, false).await;
        }
    }

    /// Backs off, looks up uncertain batches, and fails those without attempts left.
    async fn prepare(&mut self, failed: &mut VecDeque<Batch>) {
        let mut failures = failed.front().map_or(0, |batch| batch.attempts);
        let mut looked_up = false;
        loop {
            let look_up = self.can_look_up() && failed.iter().any(|batch| batch.uncertain);
            if !look_up {
                self.fail_exhausted(failed);
            }
            let Some(oldest) = failed.front() else { return };
            // An engine may suggest a delay that overflows the clock.
            let until = Instant::now().checked_add(self.delay(oldest.last_error.as_ref(), failures));
            sleep_until(until.map_or(oldest.deadline, |until| until.min(oldest.deadline))).await;
            expire(failed);
            let conclusive = looked_up || !failed.iter().any(may_be_late);
            if !look_up || failed.is_empty() {
                self.fail_exhausted(failed);
                return;
            }
            match self.look_up(failed, conclusive).await {
                Lookup::Complete => {
                    self.fail_exhausted(failed);
                    return;
                }
                Lookup::Inconclusive => looked_up = true,
                Lookup::Failed => {}
            }
            failures = failures.saturating_add(1);
        }
    }

    fn delay(&self, error: Option<&Error>, failures: u32) -> Duration {
        self.shared.config.retries.delay(failures, error)
    }

    fn fail_exhausted(&self, failed: &mut VecDeque<Batch>) {
        let policy = &self.shared.config.retries;
        for mut batch in std::mem::take(failed) {
            if policy.allows_after(batch.attempts) {
                failed.push_back(batch);
                continue;
            }
            match batch.last_error.take() {
                Some(error) => batch.fail(error),
                None => batch.expire(),
            }
        }
    }

    /// Looks up uncertain batches in the partition. Unless `conclusive`, batches that are not found stay uncertain.
    async fn look_up(&mut self, failed: &mut VecDeque<Batch>, conclusive: bool) -> Lookup {
        let Some(deadline) = failed.front().map(|batch| batch.deadline) else { return Lookup::Complete };
        let wanted: Vec<ProducerIdentity> = failed
            .iter()
            .filter(|batch| batch.uncertain)
            .filter_map(|batch| Some(batch.encoded()?.header().producer))
            .collect();
        let uncertain = failed.iter().filter(|batch| batch.uncertain).count();
        floe_core::invariant!(wanted.len() == uncertain, "a batch that was sent is encoded");
        let from = match self.settled {
            Settled::Before(offset) => Some(offset),
            Settled::Unasked | Settled::Unknown => None,
        };
        let lookup = tail_lookup::find(self.engine, &self.target, from, &wanted);
        let offsets = match timeout_at(deadline, lookup).await {
            Ok(Ok(offsets)) => offsets,
            Ok(Err(error)) => {
                tracing::debug!(target = %self.target, %error, "the tail of the partition cannot be read");
                lookup_failed(failed, &error);
                return Lookup::Failed;
            }
            Err(_) => {
                expire(failed);
                return Lookup::Failed;
            }
        };
        let mut offsets = offsets.into_iter();
        let mut missing = false;
        for mut batch in std::mem::take(failed) {
            if !batch.uncertain {
                failed.push_back(batch);
                continue;
            }
            match offsets.next().flatten() {
                Some(base_offset) => self.acknowledge(batch, Some(base_offset), true),
                None => {
                    if conclusive {
                        batch.was_not_found();
                        if batch.overtaken {
                            batch.fail_overtaken();
                            continue;
                        }
                    }
                    missing |= !conclusive;
                    failed.push_back(batch);
                }
            }
        }
        if missing { Lookup::Inconclusive } else { Lookup::Complete }
    }
}

/// Result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// Every batch was found, or is certainly not in the partition.
    Complete,
    /// Some batches were not found; a second lookup decides.
    Inconclusive,
    /// The partition could not be read; the lookup is retried.
    Failed,
}

/// Keeps the error of a lookup for the uncertain batches, or fails them if a retry of the lookup is pointless.
fn lookup_failed(failed: &mut VecDeque<Batch>, error: &Error) {
    let permanent =
        matches!(error.kind(), ErrorKind::Closed | ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound);
    for mut batch in std::mem::take(failed) {
        if permanent && batch.uncertain {
            batch.fail(error.clone().with_effect(Effect::Unknown));
            continue;
        }
        if batch.uncertain {
            batch.last_error = Some(error.clone());
        }
        failed.push_back(batch);
    }
}

/// Whether the server may still append the batch: the client abandoned the attempt, so the request may still wait in the
/// server. A connection that the server closed leaves no such request.
fn may_be_late(batch: &Batch) -> bool {
    let error = batch.last_error.as_ref();
    batch.uncertain && error.is_some_and(|error| error.kind() != ErrorKind::NetworkError)
}

/// Fails the batches that are past their deadline. The oldest are in front.
fn expire(failed: &mut VecDeque<Batch>) {
    let now = Instant::now();
    while failed.front().is_some_and(|batch| batch.deadline <= now) {
        if let Some(batch) = failed.pop_front() {
            batch.expire();
        }
    }
}
