//! Takes the entries of one topic from the cluster.
//!
//! All readers of a topic in one client share one fetcher, as all readers of the cluster share one cursor. Batches stay in
//! the fetcher until a reader takes them: dropping a reader loses nothing. Batches that are left when the client is closed
//! are lost, and reported.
//!
//! The fetcher requests entries while a reader waits for a batch, by default one at a time, because an entry that is taken
//! and not handed out is lost with the process. With a larger `prefetch` the number of entries adapts: one after the server
//! had none, then two, four, up to the prefetch.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use floe_core::{Error, ErrorKind, Result, units::count};
use floe_wire::{
    batch::EncodedBatch,
    walrus::{Command, EntryContent, MAX_BATCH_ENTRIES, parse_batch_get, parse_get},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    WalrusCounters,
    cluster::{Cluster, NodeLease, blame},
    dedup::{Dedup, Step},
    journal::Journal,
    link::encode,
    options::WalrusOptions,
    plain_framing,
};
use crate::{balance::ConsistentHash, pipelined::Answer};

/// Expected size of an entry, to convert a number of bytes to a number of entries.
const ENTRY_BYTES: usize = 64 * 1024;

/// How long closing waits for a reply that may carry an entry.
const LAST_REPLY: Duration = Duration::from_secs(1);

/// The fetcher of one topic.
#[derive(Debug)]
pub(super) struct TopicFetcher {
    topic: Arc<str>,
    cluster: Arc<Cluster>,
    options: Arc<WalrusOptions>,
    counters: Arc<WalrusCounters>,
    closing: watch::Receiver<bool>,
    state: Mutex<FetchState>,
}

/// Requests in flight and received batches. They survive a reader that is dropped while it waits.
#[derive(Debug, Default)]
struct FetchState {
    ready: VecDeque<EncodedBatch>,
    pending: VecDeque<PendingReply>,
    /// The connection of the pending replies.
    lease: Option<NodeLease>,
    /// The node to read from as long as it is up.
    node: Option<usize>,
    /// Number of entries to request at once.
    ahead: usize,
    poll: PollBackoff,
    dedup: Dedup,
    /// The task that writes the first ready batch to the journal.
    writing: Option<JoinHandle<Result<()>>>,
}

/// A reply in flight.
struct PendingReply {
    answer: Answer,
    batch: bool,
}

impl std::fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingReply").field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// Back-off between polls of an empty topic.
#[derive(Debug, Default)]
struct PollBackoff {
    delay: Duration,
    not_before: Option<Instant>,
}

impl PollBackoff {
    fn found(&mut self) {
        *self = Self::default();
    }

    fn empty(&mut self, least: Duration, most: Duration) {
        self.delay = (self.delay * 2).clamp(least, most);
        self.not_before = Some(Instant::now() + self.delay);
    }
}

impl TopicFetcher {
    pub(super) fn new(
        topic: Arc<str>,
        cluster: Arc<Cluster>,
        options: Arc<WalrusOptions>,
        counters: Arc<WalrusCounters>,
        closing: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { topic, cluster, options, counters, closing, state: Mutex::default() })
    }

    /// Returns the next batch; waits until there is one, or, with `stop_when_empty`, until the server has none.
    ///
    /// # Cancel safety
    /// Dropping the future keeps requested entries for the next call.
    pub(super) async fn next(&self, max_bytes: usize, stop_when_empty: bool) -> Result<Option<EncodedBatch>> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            // A dropped engine counts as closed.
            _ = closing.wait_for(|closing| *closing) => Err(Error::closed("client")),
            batch = async {
                let state = &mut *self.state.lock().await;
                self.fill(state, max_bytes, stop_when_empty).await?;
                Ok(state.ready.pop_front())
            } => batch,
        }
    }

    /// Moves the next batch into the journal; waits until there is one.
    ///
    /// # Cancel safety
    /// A batch is written to the journal once, by this call or a later one.
    pub(super) async fn next_to_journal(&self, journal: &Arc<Journal>, max_bytes: usize) -> Result<()> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(Error::closed("client")),
            done = async { self.journal(&mut *self.state.lock().await, journal, max_bytes).await } => done,
        }
    }

    async fn journal(&self, state: &mut FetchState, journal: &Arc<Journal>, max_bytes: usize) -> Result<()> {
        loop {
            if let Some(writing) = &mut state.writing {
                let written = writing.await;
                state.writing = None;
                return match written {
                    Ok(Ok(())) => {
                        state.ready.pop_front();
                        Ok(())
                    }
                    Ok(Err(error)) => Err(error),
                    Err(stopped) => Err(Error::closed("client").with_source(stopped)),
                };
            }
            self.fill(state, max_bytes, false).await?;
            let Some(batch) = state.ready.front().cloned() else { continue };
            // A separate task, so that dropping the reader does not interrupt the write.
            let (journal, topic) = (Arc::clone(journal), Arc::clone(&self.topic));
            state.writing = Some(tokio::spawn(async move { journal.append(&topic, batch).await }));
        }
    }

    /// Waits for the replies in flight, and returns how many batches were taken from the cluster and not read.
    pub(super) async fn finish(&self) -> usize {
        let state = &mut *self.state.lock().await;
        while let Some(front) = state.pending.front_mut() {
            let reply = timeout(LAST_REPLY, &mut front.answer).await.unwrap_or_else(|_| {
                let message = "the client was closed before a reply came";
                Err(Error::new(ErrorKind::RequestTimeout, message))
            });
            // A failure counts its reads as unanswered.
            if self.settle(state, reply).is_err() && state.lease.is_none() {
                break;
            }
        }
        state.ready.len()
    }

    /// Waits until at least one batch is ready, or, with `stop_when_empty`, until the server has none.
    async fn fill(&self, state: &mut FetchState, max_bytes: usize, stop_when_empty: bool) -> Result<()> {
        while state.ready.is_empty() {
            if let Some(front) = state.pending.front_mut() {
                let reply = (&mut front.answer).await;
                self.settle(state, reply)?;
                let is_empty = state.poll.not_before.is_some() && state.pending.is_empty();
                if stop_when_empty && is_empty && state.ready.is_empty() {
                    return Ok(());
                }
                continue;
            }
            // Returns the idle connection to the pool.
            state.lease = None;
            if let Some(at) = state.poll.not_before {
                sleep_until(at).await;
                state.poll.not_before = None;
            }
            self.request(state, max_bytes).await?;
        }
        Ok(())
    }

    /// Requests the next entries.
    async fn request(&self, state: &mut FetchState, max_bytes: usize) -> Result<()> {
        let most = (max_bytes / ENTRY_BYTES).clamp(1, count(self.options.prefetch));
        state.ahead = state.ahead.clamp(1, most);
        let (index, lease) = self.lease(state.node).await?;
        if state.node != Some(index) {
            tracing::debug!(topic = %self.topic, node = index, "reads use this node now");
            state.node = Some(index);
        }
        if let Err(error) = self.cluster.wait_for_leader(index, &lease).await {
            if error.kind() == ErrorKind::NotLeader {
                // Another node may know the leader.
                lease.state().failed(&error);
            }
            state.node = None;
            return Err(error);
        }
        let knows_batches = lease.link().is_some_and(|link| link.knows_batches);
        let (frame, count) = if knows_batches {
            // One reply holds as many entries as single requests would have fetched.
            let max_entries =
                if count(self.options.prefetch) == 1 { 1 } else { (state.ahead * 64).min(MAX_BATCH_ENTRIES) };
            let request =
                Command::BatchGet { topic: &self.topic, max_entries, max_bytes: max_bytes.clamp(1, 1 << 20) };
            (encode(&request)?, 1)
        } else {
            (encode(&Command::Get { topic: &self.topic })?, state.ahead)
        };
        let lease = state.lease.insert(lease);
        for _ in 0..count {
            let Some(link) = lease.link() else { break };
            // Each request is recorded once it is sent, because this future may be dropped between two of them.
            match link.send(frame.clone(), Instant::now() + self.options.request_timeout).await {
                Ok(answer) => state.pending.push_back(PendingReply { answer, batch: knows_batches }),
                Err(error) if state.pending.is_empty() => {
                    blame(lease, &error);
                    state.lease = None;
                    state.node = None;
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Returns a connection to the previous node if it is up, otherwise to the preferred one.
    async fn lease(&self, before: Option<usize>) -> Result<(usize, NodeLease)> {
        let up =
            |index: usize| self.cluster.node(index).is_some_and(|node| node.state().down_for().is_none());
        let order = match before.filter(|index| up(*index)) {
            Some(before) => {
                let mut order = self.cluster.order(&ConsistentHash, &self.topic);
                order.retain(|index| *index != before);
                order.insert(0, before);
                order
            }
            None => self.cluster.read_order(&self.topic).await,
        };
        self.cluster.lease(&order).await
    }

    /// Processes the oldest reply, and later ones that are ready.
    fn settle(&self, state: &mut FetchState, first: Result<Bytes>) -> Result<()> {
        let mut texts = Vec::new();
        let mut next = Some(first);
        let mut outcome = Ok(());
        while let Some(reply) = next.take() {
            let pending = state.pending.pop_front();
            floe_core::invariant!(pending.is_some(), "a reply for {} came without a request", self.topic);
            let Some(pending) = pending else { break };
            outcome = self.process_reply(state, &pending, reply, &mut texts);
            if outcome.is_err() {
                break;
            }
            next = state.pending.front_mut().and_then(|front| (&mut front.answer).now_or_never());
        }
        self.flush(state, &mut texts)?;
        if outcome.is_err() && state.pending.is_empty() {
            state.lease = None;
        }
        // Received batches are returned before the failure, which occurs again if it lasts.
        if outcome.is_err() && !state.ready.is_empty() {
            return Ok(());
        }
        outcome
    }

    fn process_reply(
        &self,
        state: &mut FetchState,
        pending: &PendingReply,
        reply: Result<Bytes>,
        texts: &mut Vec<Bytes>,
    ) -> Result<()> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.lost(state, &error);
                return Err(error);
            }
        };
        let parsed = if pending.batch {
            parse_batch_get(&reply)
        } else {
            parse_get(&reply).map(|entry| entry.into_iter().collect())
        };
        let entries = match parsed {
            Ok(entries) => entries,
            Err(error) => {
                return Err(match &state.lease {
                    Some(lease) => self.cluster.refuse(&self.topic, lease, error),
                    None => super::errors::reply(error),
                });
            }
        };
        if let Some(lease) = &state.lease {
            lease.state().worked();
        }
        if entries.is_empty() {
            state.ahead = 1;
            if state.pending.is_empty() {
                state.poll.empty(self.options.poll_min, self.options.poll_max);
            }
            return Ok(());
        }
        state.poll.found();
        if state.pending.is_empty() {
            state.ahead = state.ahead.saturating_mul(2).min(count(self.options.prefetch));
        }
        for entry in entries {
            match EntryContent::parse(entry) {
                EntryContent::Text(text) => texts.push(text),
                EntryContent::Batch(batch) => {
                    self.flush(state, texts)?;
                    let duplicate = self.check_sequence(state, &batch);
                    // Consumers drop duplicates themselves, but not from a journal, whose records have offsets.
                    if !(duplicate && self.options.journal.is_some()) {
                        state.ready.push_back(batch);
                    }
                }
            }
        }
        Ok(())
    }

    /// Converts plain entries to one batch.
    fn flush(&self, state: &mut FetchState, texts: &mut Vec<Bytes>) -> Result<()> {
        if !texts.is_empty() {
            state.ready.push_back(plain_framing::batch_of(&std::mem::take(texts))?);
        }
        Ok(())
    }

    /// Counts reads without a reply: each may have taken an entry, which is lost then.
    fn lost(&self, state: &mut FetchState, error: &Error) {
        let mut unanswered = u64::from(error.effect() == floe_core::Effect::Unknown);
        while let Some(mut pending) = state.pending.pop_front() {
            match (&mut pending.answer).now_or_never() {
                Some(Err(error)) if error.effect() == floe_core::Effect::None => {}
                _ => unanswered += 1,
            }
        }
        if unanswered > 0 {
            self.counters.unanswered_reads.fetch_add(unanswered, Ordering::Relaxed);
            tracing::warn!(
                topic = %self.topic, unanswered, %error,
                "reads got no reply; each may have taken an entry, which is lost then"
            );
        }
        if let Some(lease) = state.lease.take() {
            blame(&lease, error);
            lease.discard();
        }
        state.node = None;
        state.ahead = 1;
    }

    /// Checks the sequence of the producer. True if the batch is a duplicate.
    fn check_sequence(&self, state: &mut FetchState, batch: &EncodedBatch) -> bool {
        let step = state.dedup.step(batch.header());
        match step {
            Step::Follows => {}
            Step::Duplicate => {
                self.counters.duplicate_batches.fetch_add(1, Ordering::Relaxed);
            }
            Step::Late => {
                self.counters.late_batches.fetch_add(1, Ordering::Relaxed);
            }
            Step::Skips(records) => {
                self.counters.missing_records.fetch_add(u64::from(records), Ordering::Relaxed);
                tracing::warn!(
                    topic = %self.topic, producer = batch.header().producer.id, records,
                    "records of a producer are missing: another reader took them, or the server skipped them"
                );
            }
        }
        step == Step::Duplicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn poll_backoff_grows_and_resets() {
        let (least, most) = (Duration::from_millis(5), Duration::from_millis(50));
        let mut poll = PollBackoff::default();
        let mut delays = Vec::new();
        for _ in 0..6 {
            poll.empty(least, most);
            delays.push(poll.delay.as_millis());
            assert_eq!(poll.not_before, Some(Instant::now() + poll.delay));
        }
        assert_eq!(delays, [5, 10, 20, 40, 50, 50]);
        poll.found();
        assert_eq!(poll.not_before, None);
        poll.empty(least, most);
        assert_eq!(poll.delay.as_millis(), 5);
    }
}
