//! Appending: the entries of one topic go one after the other through the topic's lane.
//!
//! ```text
//!  append ──► lane of the topic (a task) ──► leased connection ──► node
//!    │  encoded entries, in order                  │
//!    └──────────────◄──── answer ◄─────────────────┘
//! ```
//!
//! A server goes on with the next request of a connection after it refused one. So entries sent behind one that is
//! refused may be stored before it is sent again: with more than one entry on its way, a refusal (not a broken
//! connection) can change the order. Packed batches are therefore sent one at a time unless the URL asks for more, and
//! where the server knows `BATCH_PUT`, which is all or nothing, several go together without that risk.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::{Acks, AppendRequest},
};
use floe_wire::{
    batch::EncodedBatch,
    walrus::{
        MAX_BATCH_ENTRIES, MAX_BATCH_FRAME_LEN, Request, encode_packed_put, max_packed_batch,
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
    options::{Framing, Options},
    plain_framing,
};
use crate::pipelined::Answer;

/// Appends of one topic that may wait in its lane.
pub(super) const LANE_DEPTH: usize = 8;

/// How long the rest of a batch is tried, after some of its entries were stored.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// Pause before entries are sent again.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// Where the records of a plain batch are in their frames: after the length, `PUT`, the topic and a space.
const LENGTH_AND_PUT: usize = 4 + 5;

/// The lane of one topic.
#[derive(Debug)]
pub(super) struct Lane {
    jobs: mpsc::Sender<Job>,
    /// How many failures their callers have seen.
    seen: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One append.
#[derive(Debug)]
struct Job {
    /// A `PUT` for each entry.
    frames: Vec<Bytes>,
    /// Send once, whatever happens.
    once: bool,
    /// Failures that callers had seen when this was started.
    seen_before: u64,
    answer: oneshot::Sender<Outcome>,
}

type Outcome = std::result::Result<(), Failure>;

/// An error on its way to the caller. What was started before it arrived is refused: the caller will send all of it
/// again, in order.
#[derive(Debug)]
struct Failure {
    error: Error,
    _notice: Notice,
}

/// Counts a failure as seen when it is dropped.
#[derive(Debug)]
struct Notice(Arc<AtomicU64>);

impl Drop for Notice {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
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

impl Lane {
    pub(super) fn start(cluster: Arc<Cluster>, options: Arc<Options>, topic: Arc<str>) -> Arc<Self> {
        let (jobs, receiver) = mpsc::channel(LANE_DEPTH);
        let seen = Arc::default();
        let worker = Worker { cluster, options, topic, seen: Arc::clone(&seen), failed: 0 };
        let task = tokio::spawn(worker.run(receiver)).abort_handle();
        Arc::new(Self { jobs, seen, task })
    }

    pub(super) async fn append(&self, request: &AppendRequest, framing: Framing) -> Result<()> {
        let frames = frames(request.target.topic.as_str(), &request.batch, framing)?;
        let (answer, outcome) = oneshot::channel();
        let seen_before = self.seen.load(Ordering::Acquire);
        let job = Job { frames, once: request.acks == Acks::None, seen_before, answer };
        // Without waiting where there is room, so that the order is that of the first polls.
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(job)) => {
                if self.jobs.send(job).await.is_err() {
                    return Err(Error::closed("client"));
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::closed("client")),
        }
        match outcome.await {
            Ok(outcome) => outcome.map_err(|failure| failure.error),
            Err(_) => Err(Error::closed("client").with_effect(Effect::Unknown)),
        }
    }
}

struct Worker {
    cluster: Arc<Cluster>,
    options: Arc<Options>,
    topic: Arc<str>,
    seen: Arc<AtomicU64>,
    /// How many appends failed.
    failed: u64,
}

/// What became of one entry.
#[derive(Debug, Clone)]
enum Entry {
    Stored,
    Failed(Error),
    NotSent,
}

impl Worker {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            if first.seen_before != self.failed {
                self.fail(first, stopped_by_another(Effect::None));
                continue;
            }
            match self.options.framing {
                Framing::Plain => self.append_plain(first).await,
                Framing::Packed => self.append_packed(first, &mut jobs).await,
            }
        }
    }

    fn fail(&mut self, job: Job, error: Error) {
        self.failed += 1;
        let failure = Failure { error, _notice: Notice(Arc::clone(&self.seen)) };
        // The caller may have gone away; the failure then counts as seen.
        let _ = job.answer.send(Err(failure));
    }

    /// Sends one batch, or several that wait, each in an entry of its own.
    async fn append_packed(&mut self, first: Job, jobs: &mut mpsc::Receiver<Job>) {
        let lease = match self.cluster.lease_for_write(&self.topic).await {
            Ok(lease) => lease,
            Err(error) => return self.fail(first, error),
        };
        let atomic = lease.link().is_some_and(|link| link.knows_batches);
        let most = if atomic { LANE_DEPTH } else { self.options.window };
        let mut group = vec![first];
        while group.len() < most
            && let Ok(job) = jobs.try_recv()
        {
            // Started in the light of the same failures as the first, which may be sent.
            group.push(job);
        }
        let frames: Vec<Bytes> = group.iter().flat_map(|job| job.frames.iter().cloned()).collect();
        let entries = self.send(&lease, &frames, atomic && frames.len() > 1).await;
        let mut failed = false;
        for (job, entry) in group.into_iter().zip(entries) {
            match entry {
                Entry::Stored if !failed => {
                    let _ = job.answer.send(Ok(()));
                }
                // Stored, but behind one that was not: sent again behind it, and the reader drops this one or that.
                Entry::Stored => self.fail(job, stopped_by_another(Effect::Unknown)),
                Entry::Failed(error) => {
                    failed = true;
                    self.fail(job, error);
                }
                Entry::NotSent => {
                    failed = true;
                    self.fail(job, stopped_by_another(Effect::None));
                }
            }
        }
    }

    /// Sends the records of one batch, each as an entry. Once some are stored the batch cannot fail as a whole any more,
    /// so the rest is sent again here, and what is stored is not.
    async fn append_plain(&mut self, job: Job) {
        let mut left = job.frames.clone();
        let mut give_up_at = None;
        loop {
            let outcome = match self.cluster.lease_for_write(&self.topic).await {
                Ok(lease) => {
                    let atomic = lease.link().is_some_and(|link| link.knows_batches);
                    self.send(&lease, &left, atomic).await
                }
                Err(error) => vec![Entry::Failed(error)],
            };
            let mut outcome = outcome.into_iter();
            let mut first_error = None;
            let mut uncertain = false;
            left.retain(|_| match outcome.next() {
                Some(Entry::Stored) => false,
                Some(Entry::Failed(error)) => {
                    uncertain |= error.effect() == Effect::Unknown;
                    first_error.get_or_insert(error);
                    true
                }
                Some(Entry::NotSent) | None => true,
            });
            let Some(error) = first_error else {
                let _ = job.answer.send(Ok(()));
                return;
            };
            let stored = job.frames.len() - left.len();
            if stored == 0 {
                let effect = if uncertain { Effect::Unknown } else { error.effect() };
                return self.fail(job, error.with_effect(effect));
            }
            let give_up_at = *give_up_at.get_or_insert_with(|| Instant::now() + FINISH_WITHIN);
            if job.once || !error.is_retriable() || Instant::now() + RESEND_PAUSE >= give_up_at {
                let message = format!(
                    "{stored} of {} records are stored, the others are not: {}",
                    job.frames.len(),
                    error.message()
                );
                let partly =
                    Error::new(error.kind(), message).with_retriable(false).with_effect(Effect::Unknown);
                return self.fail(job, partly.with_source(error));
            }
            tokio::time::sleep(error.retry_after().unwrap_or_default().max(RESEND_PAUSE)).await;
        }
    }

    /// Sends entries and collects what became of each. Stops sending when one fails.
    async fn send(&self, lease: &NodeLease, frames: &[Bytes], as_batches: bool) -> Vec<Entry> {
        let entries = if as_batches {
            self.send_batches(lease, frames).await
        } else {
            self.send_singles(lease, frames).await
        };
        if entries.iter().any(|entry| matches!(entry, Entry::Failed(_))) {
            self.cluster.forget_leader(&self.topic);
        }
        entries
    }

    /// `PUT`s, pipelined as far as the window allows.
    async fn send_singles(&self, lease: &NodeLease, frames: &[Bytes]) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(frames.len());
        let mut answers: VecDeque<Answer> = VecDeque::new();
        let mut failed = false;
        for frame in frames {
            while let Some(front) = answers.front_mut() {
                let reply = match front.now_or_never() {
                    Some(reply) => reply,
                    None if answers.len() >= self.options.window => match answers.front_mut() {
                        Some(front) => front.await,
                        None => break,
                    },
                    None => break,
                };
                answers.pop_front();
                let entry = self.judge(lease, reply);
                failed |= matches!(entry, Entry::Failed(_));
                entries.push(entry);
            }
            if failed {
                break;
            }
            let Some(link) = lease.link() else { break };
            match link.send(frame.clone(), Instant::now() + self.options.timeout).await {
                Ok(answer) => answers.push_back(answer),
                Err(error) => {
                    // The first unanswered one says why; this one was not sent.
                    if answers.is_empty() {
                        blame(lease, &error);
                        entries.push(Entry::Failed(error));
                    }
                    break;
                }
            }
        }
        for answer in answers {
            let reply = answer.await;
            entries.push(self.judge(lease, reply));
        }
        entries.resize(frames.len(), Entry::NotSent);
        entries
    }

    fn judge(&self, lease: &NodeLease, reply: Result<Bytes>) -> Entry {
        match reply {
            Ok(reply) => match parse_done(&reply) {
                Ok(()) => {
                    lease.state().worked();
                    Entry::Stored
                }
                Err(error) => Entry::Failed(self.cluster.refuse(&self.topic, lease, error)),
            },
            Err(error) => {
                blame(lease, &error);
                Entry::Failed(error)
            }
        }
    }

    /// `BATCH_PUT`s, one after the other; each is stored whole or not at all.
    async fn send_batches(&self, lease: &NodeLease, frames: &[Bytes]) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(frames.len());
        let start = LENGTH_AND_PUT + self.topic.len();
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
            let outcome = match encode(&Request::BatchPut { topic: &self.topic, entries: payloads }) {
                Ok(frame) => exchange(lease, frame, Instant::now() + self.options.timeout).await,
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
                Ok(()) => entries.extend(std::iter::repeat_n(Entry::Stored, count)),
                Err(error) => {
                    entries.extend(std::iter::repeat_n(Entry::Failed(error), count));
                    break;
                }
            }
        }
        entries.resize(frames.len(), Entry::NotSent);
        entries
    }
}

fn stopped_by_another(effect: Effect) -> Error {
    Error::new(ErrorKind::NetworkError, "an append before it failed").with_effect(effect).with_retriable(true)
}
