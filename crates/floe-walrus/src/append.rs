//! Appends: the entries of one topic go in order through the topic's appender.
//!
//! ```text
//!  append ──► TopicAppender (a task) ──► leased connection ──► node
//!    │  encoded entries, in order                │
//!    └──────────────◄── outcome ◄────────────────┘
//! ```
//!
//! A server continues with the next request of a connection after it refused one. With several entries in flight, a
//! refusal (not a broken connection) can therefore change the order: later entries may be stored before the refused one
//! is resent. The appender sends packed batches one at a time unless the URL asks for more. Where the server knows
//! `BATCH_PUT`, which is all or nothing, it sends several together without that risk.
//!
//! After a failure the appender refuses the queued appends of the same [epoch](AppendEpoch); their producer resends them
//! in order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::{Acks, AppendEpoch, AppendRequest},
};
use floe_wire::{
    batch::EncodedBatch,
    walrus::{
        Command, MAX_BATCH_ENTRIES, MAX_BATCH_FRAME_LEN, encode_packed_put, max_packed_batch,
        parse_batch_put, parse_done,
    },
};
use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

use super::{
    cluster::{Cluster, NodeLease, blame, exchange},
    errors,
    link::encode,
    options::{Framing, WalrusOptions},
    plain_framing,
};
use crate::pipelined::Answer;

/// Appends of one topic that are sent together, and that one producer has in flight.
pub(super) const QUEUE_DEPTH: usize = 8;

/// How long to retry the rest of a batch after some of its entries were stored.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// Pause before entries are resent.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// Offset of the payload in a `PUT` frame, without the topic: length, `PUT` and two spaces.
const PUT_OVERHEAD: usize = 4 + 5;

/// The append queue of one topic, and the task that sends from it.
#[derive(Debug)]
pub(super) struct TopicAppender {
    /// Without a bound, because the order is that of the first polls: a sender that waits for room is overtaken by one that
    /// comes when there is room. The producers bound what waits here, and own it already.
    queue: mpsc::UnboundedSender<QueuedAppend>,
    task: AbortHandle,
}

impl Drop for TopicAppender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One append.
#[derive(Debug)]
struct QueuedAppend {
    /// A `PUT` for each entry.
    frames: Vec<Bytes>,
    /// Whether to send once, whatever happens.
    once: bool,
    epoch: AppendEpoch,
    done: oneshot::Sender<Result<()>>,
}

impl QueuedAppend {
    fn succeed(self) {
        // The caller may have dropped its future.
        let _ = self.done.send(Ok(()));
    }

    fn fail(self, error: Error) {
        self.epoch.fail(&error);
        // The caller may have dropped its future.
        let _ = self.done.send(Err(error));
    }

    /// Passes the append on unless its epoch has ended; it has its outcome then.
    fn admit(self) -> Option<Self> {
        match self.epoch.check() {
            Ok(()) => Some(self),
            Err(refused) => {
                self.fail(refused);
                None
            }
        }
    }
}

/// Encodes the entries of a batch.
fn frames(topic: &str, batch: &EncodedBatch, framing: Framing) -> Result<Vec<Bytes>> {
    match framing {
        Framing::Packed => {
            let limit = max_packed_batch(topic.len());
            if batch.len() > limit {
                let message = format!(
                    "a batch of {} bytes; packed into one entry of this topic, a batch has at most {limit}",
                    batch.len()
                );
                return Err(Error::new(ErrorKind::RecordTooLarge, message));
            }
            let mut out = BytesMut::new();
            encode_packed_put(&mut out, topic, batch).map_err(errors::request)?;
            Ok(vec![out.freeze()])
        }
        Framing::Plain => plain_framing::values(topic, batch)?
            .iter()
            .map(|value| plain_framing::put(topic, value))
            .collect(),
    }
}

impl TopicAppender {
    pub(super) fn start(cluster: Arc<Cluster>, options: Arc<WalrusOptions>, topic: Arc<str>) -> Arc<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "producers bound what waits, and a bound would break the order"
        )]
        let (queue, receiver) = mpsc::unbounded_channel();
        let task = AppendTask { cluster, options, topic, receiver, not_sent: VecDeque::new() };
        let task = tokio::spawn(task.run()).abort_handle();
        Arc::new(Self { queue, task })
    }

    pub(super) async fn append(&self, request: &AppendRequest, framing: Framing) -> Result<()> {
        request.epoch.check()?;
        let frames = frames(request.target.topic.as_str(), &request.batch, framing)?;
        let (done, outcome) = oneshot::channel();
        let once = request.acks == Acks::None;
        let append = QueuedAppend { frames, once, epoch: request.epoch.clone(), done };
        if self.queue.send(append).is_err() {
            return Err(Error::closed("client"));
        }
        outcome.await.unwrap_or_else(|_| Err(Error::closed("client").with_effect(Effect::Unknown)))
    }
}

struct AppendTask {
    cluster: Arc<Cluster>,
    options: Arc<WalrusOptions>,
    topic: Arc<str>,
    receiver: mpsc::UnboundedReceiver<QueuedAppend>,
    /// Taken from the queue and not sent, because an append of another epoch failed before; in order.
    not_sent: VecDeque<QueuedAppend>,
}

/// The outcome of one entry.
#[derive(Debug, Clone)]
enum EntryOutcome {
    Stored,
    Failed(Error),
    NotSent,
}

impl AppendTask {
    async fn run(mut self) {
        loop {
            let next = match self.not_sent.pop_front() {
                Some(append) => append,
                None => match self.receiver.recv().await {
                    Some(append) => append,
                    None => return,
                },
            };
            let Some(append) = next.admit() else { continue };
            match self.options.framing {
                Framing::Plain => self.append_plain(append).await,
                Framing::Packed => self.append_packed(append).await,
            }
        }
    }

    /// Sends one batch, or several that wait, each in an entry of its own.
    async fn append_packed(&mut self, first: QueuedAppend) {
        let lease = match self.cluster.lease_for_write(&self.topic).await {
            Ok(lease) => lease,
            Err(error) => return first.fail(error),
        };
        let atomic = lease.link().is_some_and(|link| link.knows_batches);
        let most = if atomic { QUEUE_DEPTH } else { self.options.entries_in_flight() };
        let mut group = vec![first];
        while group.len() < most
            && let Some(next) = self.not_sent.pop_front().or_else(|| self.receiver.try_recv().ok())
        {
            group.extend(next.admit());
        }
        let frames: Vec<Bytes> = group.iter().flat_map(|append| append.frames.iter().cloned()).collect();
        let outcomes = self.send(&lease, &frames, atomic && frames.len() > 1).await;
        let mut failed = false;
        let mut not_sent = Vec::new();
        for (append, outcome) in group.into_iter().zip(outcomes) {
            match (outcome, append.epoch.check()) {
                // Stored behind one of its epoch that failed: the producer resends both in order, and readers drop the
                // duplicate.
                (EntryOutcome::Stored, Err(refused)) => append.fail(refused.with_effect(Effect::Unknown)),
                (EntryOutcome::Stored, Ok(())) => append.succeed(),
                (EntryOutcome::Failed(error), _) => {
                    failed = true;
                    append.fail(error);
                }
                (EntryOutcome::NotSent, Err(refused)) => append.fail(refused),
                // Each round removes the append that failed, so this ends.
                (EntryOutcome::NotSent, Ok(())) if failed => not_sent.push(append),
                (EntryOutcome::NotSent, Ok(())) => append.fail(no_connection()),
            }
        }
        not_sent.into_iter().rev().for_each(|append| self.not_sent.push_front(append));
    }

    /// Sends the records of one batch, each as an entry. Once some are stored, the batch can no longer fail as a whole, so
    /// this retries the rest.
    async fn append_plain(&self, append: QueuedAppend) {
        let mut left = append.frames.clone();
        let mut give_up_at = None;
        loop {
            let outcome = match self.cluster.lease_for_write(&self.topic).await {
                Ok(lease) => {
                    let atomic = lease.link().is_some_and(|link| link.knows_batches);
                    self.send(&lease, &left, atomic).await
                }
                Err(error) => vec![EntryOutcome::Failed(error)],
            };
            let mut outcome = outcome.into_iter();
            let mut first_error = None;
            let mut uncertain = false;
            left.retain(|_| match outcome.next() {
                Some(EntryOutcome::Stored) => false,
                Some(EntryOutcome::Failed(error)) => {
                    uncertain |= error.effect() == Effect::Unknown;
                    first_error.get_or_insert(error);
                    true
                }
                Some(EntryOutcome::NotSent) | None => true,
            });
            let Some(error) = first_error else {
                return append.succeed();
            };
            let stored = append.frames.len() - left.len();
            if stored == 0 {
                let effect = if uncertain { Effect::Unknown } else { error.effect() };
                return append.fail(error.with_effect(effect));
            }
            let give_up_at = *give_up_at.get_or_insert_with(|| Instant::now() + FINISH_WITHIN);
            if append.once || !error.is_retriable() || Instant::now() + RESEND_PAUSE >= give_up_at {
                let message = format!(
                    "{stored} of {} records are stored, the others are not: {}",
                    append.frames.len(),
                    error.message()
                );
                let partly =
                    Error::new(error.kind(), message).with_retriable(false).with_effect(Effect::Unknown);
                return append.fail(partly.with_source(error));
            }
            tokio::time::sleep(error.retry_after().unwrap_or_default().max(RESEND_PAUSE)).await;
        }
    }

    /// Sends entries and collects their outcomes. Stops sending when one fails.
    async fn send(&self, lease: &NodeLease, frames: &[Bytes], as_batches: bool) -> Vec<EntryOutcome> {
        let outcomes = if as_batches {
            self.send_batches(lease, frames).await
        } else {
            self.send_singles(lease, frames).await
        };
        if outcomes.iter().any(|outcome| matches!(outcome, EntryOutcome::Failed(_))) {
            self.cluster.forget_leader(&self.topic);
        }
        outcomes
    }

    /// Sends `PUT`s, pipelined as far as the window allows.
    async fn send_singles(&self, lease: &NodeLease, frames: &[Bytes]) -> Vec<EntryOutcome> {
        let mut outcomes = Vec::with_capacity(frames.len());
        let mut answers: VecDeque<Answer> = VecDeque::new();
        let mut failed = false;
        for frame in frames {
            while let Some(front) = answers.front_mut() {
                let reply = match front.now_or_never() {
                    Some(reply) => reply,
                    None if answers.len() >= self.options.entries_in_flight() => match answers.front_mut() {
                        Some(front) => front.await,
                        None => break,
                    },
                    None => break,
                };
                answers.pop_front();
                let outcome = self.judge(lease, reply);
                failed |= matches!(outcome, EntryOutcome::Failed(_));
                outcomes.push(outcome);
            }
            if failed {
                break;
            }
            let Some(link) = lease.link() else { break };
            match link.send(frame.clone(), Instant::now() + self.options.request_timeout).await {
                Ok(answer) => answers.push_back(answer),
                Err(error) => {
                    // The first unanswered entry reports the cause; this one was not sent.
                    if answers.is_empty() {
                        blame(lease, &error);
                        outcomes.push(EntryOutcome::Failed(error));
                    }
                    break;
                }
            }
        }
        for answer in answers {
            let reply = answer.await;
            outcomes.push(self.judge(lease, reply));
        }
        outcomes.resize(frames.len(), EntryOutcome::NotSent);
        outcomes
    }

    fn judge(&self, lease: &NodeLease, reply: Result<Bytes>) -> EntryOutcome {
        match reply {
            Ok(reply) => match parse_done(&reply) {
                Ok(()) => {
                    lease.state().worked();
                    EntryOutcome::Stored
                }
                Err(error) => EntryOutcome::Failed(self.cluster.refuse(&self.topic, lease, error)),
            },
            Err(error) => {
                blame(lease, &error);
                EntryOutcome::Failed(error)
            }
        }
    }

    /// Sends `BATCH_PUT`s sequentially; each is stored whole or not at all.
    async fn send_batches(&self, lease: &NodeLease, frames: &[Bytes]) -> Vec<EntryOutcome> {
        let mut outcomes = Vec::with_capacity(frames.len());
        let start = PUT_OVERHEAD + self.topic.len();
        let mut rest = frames;
        while !rest.is_empty() {
            let mut size = 64 + self.topic.len();
            let fits = |frame: &&Bytes| {
                size += frame.len() + 16;
                size <= MAX_BATCH_FRAME_LEN
            };
            let count = rest.iter().take(MAX_BATCH_ENTRIES).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let payloads = now.iter().map(|frame| frame.get(start..).unwrap_or_default()).collect();
            let outcome = match encode(&Command::BatchPut { topic: &self.topic, entries: payloads }) {
                Ok(frame) => exchange(lease, frame, Instant::now() + self.options.request_timeout).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.and_then(|reply| match parse_batch_put(&reply) {
                Ok(stored) if stored == count => Ok(()),
                Ok(stored) => {
                    let message = format!("the server stored {stored} of {count} entries of a batch");
                    Err(Error::new(ErrorKind::ProtocolError, message))
                }
                Err(error) => Err(self.cluster.refuse(&self.topic, lease, error)),
            });
            match outcome {
                Ok(()) => outcomes.extend(std::iter::repeat_n(EntryOutcome::Stored, count)),
                Err(error) => {
                    outcomes.extend(std::iter::repeat_n(EntryOutcome::Failed(error), count));
                    break;
                }
            }
        }
        outcomes.resize(frames.len(), EntryOutcome::NotSent);
        outcomes
    }
}

/// The error of an entry that could not be sent although none before it failed.
fn no_connection() -> Error {
    Error::new(ErrorKind::NetworkError, "the connection was closed before the entry was sent")
        .with_effect(Effect::None)
        .with_retriable(true)
}
