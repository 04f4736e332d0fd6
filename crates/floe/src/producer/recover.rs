//! What a sender does after an append failed: drain, wait, look, send again.
//!
//! Nothing new is started until every append of the window has its answer or is out of time. Those that failed are
//! then dealt with in order. One whose answer was lost is looked for in the partition before it is sent again.

use std::{collections::VecDeque, time::Duration};

use floe_wire::batch::ProducerIdentity;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    batch::Batch,
    resolve,
    sender::{Sender, Settled},
};
use crate::{Effect, Error, ErrorKind};

impl Sender<'_> {
    /// Leaves what is to be sent again in `self.again`, in order; everything else of the window has its outcome.
    pub(super) async fn recover(&mut self) {
        self.drain().await;
        self.begin_epoch();
        let mut failed: VecDeque<Batch> = VecDeque::new();
        for entry in std::mem::take(&mut self.window) {
            let mut batch = entry.batch;
            match entry.result {
                // Modules leave nothing to recognise a batch by: it may be there, and would be there twice.
                Some(Err(error)) if self.through_modules() && error.effect() == Effect::Unknown => {
                    batch.fail(error);
                }
                Some(Err(error)) if self.shared.config.retries.should_retry.accepts(&error) => {
                    batch.attempt_failed(error);
                    if batch.overtaken && !(batch.uncertain && self.can_look()) {
                        batch.fail_overtaken();
                    } else {
                        failed.push_back(batch);
                    }
                }
                Some(Err(error)) => batch.fail(error),
                // Drained: these have their outcome already.
                Some(Ok(_)) | None => {}
            }
        }
        // What was waiting to be sent again when this failed comes after it.
        failed.append(&mut self.again);
        self.prepare(&mut failed).await;
        self.again = failed;
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

    /// Backs off, finds out what was appended after all, and gives up what was tried often enough.
    async fn prepare(&mut self, failed: &mut VecDeque<Batch>) {
        let mut failures = failed.front().map_or(0, |batch| batch.attempts);
        let mut looked = false;
        loop {
            let look = self.can_look() && failed.iter().any(|batch| batch.uncertain);
            if !look {
                self.give_up_exhausted(failed);
            }
            let Some(oldest) = failed.front() else { return };
            // How long an engine asks to wait is not for it to overflow the clock with.
            let until = Instant::now().checked_add(self.delay(oldest.last_error.as_ref(), failures));
            sleep_until(until.map_or(oldest.deadline, |until| until.min(oldest.deadline))).await;
            expire(failed);
            let believe = looked || !failed.iter().any(may_be_late);
            if !look || failed.is_empty() {
                self.give_up_exhausted(failed);
                return;
            }
            match self.look(failed, believe).await {
                Looked::Done => {
                    self.give_up_exhausted(failed);
                    return;
                }
                Looked::Once => looked = true,
                Looked::InVain => {}
            }
            failures = failures.saturating_add(1);
        }
    }

    fn delay(&self, error: Option<&Error>, failures: u32) -> Duration {
        self.shared.config.retries.delay(failures, error)
    }

    fn give_up_exhausted(&self, failed: &mut VecDeque<Batch>) {
        let policy = &self.shared.config.retries;
        for mut batch in std::mem::take(failed) {
            // Those sent only once more than never were stopped by another's failure.
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

    /// Looks for batches without an answer. Unless `believe`, those that are not there stay uncertain.
    async fn look(&mut self, failed: &mut VecDeque<Batch>, believe: bool) -> Looked {
        let Some(deadline) = failed.front().map(|batch| batch.deadline) else { return Looked::Done };
        let wanted: Vec<ProducerIdentity> = failed
            .iter()
            .filter(|batch| batch.uncertain)
            .filter_map(|batch| Some(batch.encoded()?.header().producer))
            .collect();
        let from = match self.settled {
            Settled::Before(offset) => Some(offset),
            Settled::Unasked | Settled::Unknown => None,
        };
        let looking = resolve::find(self.engine, &self.target, from, &wanted);
        let places = match timeout_at(deadline, looking).await {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => {
                tracing::debug!(target = %self.target, %error, "the tail of the partition cannot be read");
                let hopeless = matches!(
                    error.kind(),
                    ErrorKind::Closed | ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound
                );
                for mut batch in std::mem::take(failed) {
                    if hopeless && batch.uncertain {
                        batch.fail(error.clone().with_effect(Effect::Unknown));
                        continue;
                    }
                    if batch.uncertain {
                        batch.last_error = Some(error.clone());
                    }
                    failed.push_back(batch);
                }
                return Looked::InVain;
            }
            Err(_) => {
                expire(failed);
                return Looked::InVain;
            }
        };
        let mut places = places.into_iter();
        let mut missing = false;
        for mut batch in std::mem::take(failed) {
            if !batch.uncertain {
                failed.push_back(batch);
                continue;
            }
            match places.next().flatten() {
                Some(base_offset) => self.acknowledge(batch, Some(base_offset), true),
                None => {
                    if believe {
                        batch.is_not_there();
                        if batch.overtaken {
                            batch.fail_overtaken();
                            continue;
                        }
                    }
                    missing |= !believe;
                    failed.push_back(batch);
                }
            }
        }
        if missing { Looked::Once } else { Looked::Done }
    }
}

/// What came of looking for batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// All that can be known is known.
    Done,
    /// Some are not there, which is to be believed when they are not there the next time either.
    Once,
    /// The partition could not be read, and it is worth trying again.
    InVain,
}

/// Whether a server may still append the batch: it was given up on this side, so the server may have its request before
/// it. After a connection that the server ended, nothing more comes of it.
fn may_be_late(batch: &Batch) -> bool {
    let error = batch.last_error.as_ref();
    batch.uncertain && error.is_some_and(|error| error.kind() != ErrorKind::NetworkError)
}

/// Fails the batches whose time is over. The oldest are in front.
fn expire(failed: &mut VecDeque<Batch>) {
    let now = Instant::now();
    while failed.front().is_some_and(|batch| batch.deadline <= now) {
        if let Some(batch) = failed.pop_front() {
            batch.expire();
        }
    }
}
