//! Reading: takes the entries of one topic from the cluster.
//!
//! All readers of a topic in one client share one intake, as all readers of the cluster share one cursor. What was
//! taken stays here until somebody wants it: a reader that goes away loses nothing. Only what is here when the client
//! is closed is lost, and counted.
//!
//! Entries are asked for as long as somebody waits for a batch, as many at once as were there before: one after the
//! server had nothing, then two, four, up to the prefetch.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use floe_core::{Error, ErrorKind, Result};
use floe_wire::{
    batch::EncodedBatch,
    walrus::{EntryContent, MAX_BATCH_ENTRIES, Request, parse_batch_get, parse_get},
};
use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    WalrusCounters,
    cluster::{Cluster, NodeLease, blame},
    dedup::{Dedup, Step},
    journal::Journal,
    link::encode,
    options::Options,
    plain_framing,
};
use crate::{balance::Balance, pipelined::Answer};

/// About how large an entry is expected to be, when a number of bytes is turned into a number of entries.
const ENTRY_BYTES: usize = 64 * 1024;

/// The intake of one topic.
#[derive(Debug)]
pub(super) struct TopicFetcher {
    topic: Arc<str>,
    cluster: Arc<Cluster>,
    options: Arc<Options>,
    counters: Arc<WalrusCounters>,
    closing: watch::Receiver<bool>,
    state: Mutex<State>,
}

/// Requests on their way and what came of earlier ones. Everything that must survive a reader that is dropped while it
/// waits is here.
#[derive(Debug, Default)]
struct State {
    ready: VecDeque<EncodedBatch>,
    pending: VecDeque<Pending>,
    /// The connection that the pending answers come from.
    lease: Option<NodeLease>,
    /// The node that is asked as long as it lives.
    node: Option<usize>,
    /// How many entries are asked for at once.
    ahead: usize,
    pace: Pace,
    dedup: Dedup,
    /// The first ready batch is being written to the journal.
    writing: Option<JoinHandle<Result<()>>>,
}

/// An answer to come.
struct Pending {
    answer: Answer,
    batch: bool,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// When to ask again after the server had nothing: soon at first, then less and less often.
#[derive(Debug, Default)]
struct Pace {
    delay: Duration,
    not_before: Option<Instant>,
}

impl Pace {
    fn found(&mut self) {
        *self = Self::default();
    }

    fn empty(&mut self, (least, most): (Duration, Duration)) {
        self.delay = (self.delay * 2).clamp(least, most);
        self.not_before = Some(Instant::now() + self.delay);
    }
}

impl TopicFetcher {
    pub(super) fn new(
        topic: Arc<str>,
        cluster: Arc<Cluster>,
        options: Arc<Options>,
        counters: Arc<WalrusCounters>,
        closing: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { topic, cluster, options, counters, closing, state: Mutex::default() })
    }

    /// The next batch; waits until there is one.
    ///
    /// # Cancel safety
    /// What was asked for is kept for the next call.
    pub(super) async fn next(&self, max_bytes: usize) -> Result<EncodedBatch> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            // An error means that the engine is gone, which is closed as well.
            _ = closing.wait_for(|closing| *closing) => Err(Error::closed("client")),
            batch = async { self.take(&mut *self.state.lock().await, max_bytes).await } => batch,
        }
    }

    /// Moves the next batch into the journal; waits until there is one.
    ///
    /// # Cancel safety
    /// A batch that was taken is journalled once, by this call or a later one.
    pub(super) async fn next_to_journal(&self, journal: &Arc<Journal>, max_bytes: usize) -> Result<()> {
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(Error::closed("client")),
            done = async { self.journal(&mut *self.state.lock().await, journal, max_bytes).await } => done,
        }
    }

    async fn journal(&self, state: &mut State, journal: &Arc<Journal>, max_bytes: usize) -> Result<()> {
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
            self.fill(state, max_bytes).await?;
            let Some(batch) = state.ready.front().cloned() else { continue };
            // In a task of its own, so that a reader that is dropped now does not leave it half done.
            let (journal, topic) = (Arc::clone(journal), Arc::clone(&self.topic));
            state.writing = Some(tokio::spawn(async move { journal.append(&topic, batch).await }));
        }
    }

    /// Batches that were taken and that nobody has got.
    pub(super) async fn left(&self) -> usize {
        let state = self.state.lock().await;
        state.ready.len() + state.pending.len()
    }

    async fn take(&self, state: &mut State, max_bytes: usize) -> Result<EncodedBatch> {
        loop {
            self.fill(state, max_bytes).await?;
            if let Some(batch) = state.ready.pop_front() {
                return Ok(batch);
            }
        }
    }

    /// Waits until at least one batch is ready.
    async fn fill(&self, state: &mut State, max_bytes: usize) -> Result<()> {
        while state.ready.is_empty() {
            if let Some(front) = state.pending.front_mut() {
                let reply = (&mut front.answer).await;
                self.settle(state, reply)?;
                continue;
            }
            // Idle connections belong to everyone.
            state.lease = None;
            if let Some(at) = state.pace.not_before {
                sleep_until(at).await;
                state.pace.not_before = None;
            }
            self.ask(state, max_bytes).await?;
        }
        Ok(())
    }

    /// Asks for the next entries.
    async fn ask(&self, state: &mut State, max_bytes: usize) -> Result<()> {
        let most = (max_bytes / ENTRY_BYTES).clamp(1, self.options.prefetch);
        state.ahead = state.ahead.clamp(1, most);
        let (index, lease) = self.lease(state.node).await?;
        if state.node != Some(index) {
            tracing::debug!(topic = %self.topic, node = index, "reads go to this node now");
            state.node = Some(index);
        }
        if let Err(error) = self.cluster.wait_for_leader(index, &lease).await {
            if error.kind() == ErrorKind::NotLeader {
                // Another node may see one.
                lease.state().failed(&error);
            }
            state.node = None;
            return Err(error);
        }
        let knows_batches = lease.link().is_some_and(|link| link.knows_batches);
        let (frame, count) = if knows_batches {
            // One answer with as many entries as would have been asked for one by one.
            let max_entries = (state.ahead * 64).min(MAX_BATCH_ENTRIES);
            let request =
                Request::BatchGet { topic: &self.topic, max_entries, max_bytes: max_bytes.clamp(1, 1 << 20) };
            (encode(&request)?, 1)
        } else {
            (encode(&Request::Get { topic: &self.topic })?, state.ahead)
        };
        let lease = state.lease.insert(lease);
        for _ in 0..count {
            let Some(link) = lease.link() else { break };
            // Each request is kept as soon as it is sent: this future may be dropped between two of them.
            match link.send(frame.clone(), Instant::now() + self.options.timeout).await {
                Ok(answer) => state.pending.push_back(Pending { answer, batch: knows_batches }),
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

    /// A connection to the node that was asked before, if it is up, else to the one where reading begins.
    async fn lease(&self, before: Option<usize>) -> Result<(usize, NodeLease)> {
        let up =
            |index: usize| self.cluster.node(index).is_some_and(|node| node.state().down_for().is_none());
        let order = match before.filter(|index| up(*index)) {
            Some(before) => {
                let mut order = self.cluster.order(Balance::TopicHash, &self.topic);
                order.retain(|index| *index != before);
                order.insert(0, before);
                order
            }
            None => self.cluster.read_order(&self.topic).await,
        };
        self.cluster.lease(&order).await
    }

    /// Takes in the oldest answer, and those behind it that have come as well.
    fn settle(&self, state: &mut State, first: Result<Bytes>) -> Result<()> {
        let mut texts = Vec::new();
        let mut next = Some(first);
        let mut outcome = Ok(());
        while let Some(reply) = next.take() {
            let Some(pending) = state.pending.pop_front() else { break };
            outcome = self.take_in(state, &pending, reply, &mut texts);
            if outcome.is_err() {
                break;
            }
            next = state.pending.front_mut().and_then(|front| (&mut front.answer).now_or_never());
        }
        self.flush(state, &mut texts)?;
        if outcome.is_err() && state.pending.is_empty() {
            state.lease = None;
        }
        // What came in before the failure goes first; the failure shows again if it lasts.
        if outcome.is_err() && !state.ready.is_empty() {
            return Ok(());
        }
        outcome
    }

    fn take_in(
        &self,
        state: &mut State,
        pending: &Pending,
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
                state.pace.empty(self.options.poll);
            }
            return Ok(());
        }
        state.pace.found();
        if state.pending.is_empty() {
            state.ahead = state.ahead.saturating_mul(2).min(self.options.prefetch);
        }
        for entry in entries {
            match EntryContent::parse(entry) {
                EntryContent::Text(text) => texts.push(text),
                EntryContent::Batch(batch) => {
                    self.flush(state, texts)?;
                    let repeated = self.follow(state, &batch);
                    // Consumers drop repeats by themselves, but not from a journal, whose records have offsets.
                    if !(repeated && self.options.journal.is_some()) {
                        state.ready.push_back(batch);
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes one batch of entries that were no batches.
    fn flush(&self, state: &mut State, texts: &mut Vec<Bytes>) -> Result<()> {
        if !texts.is_empty() {
            state.ready.push_back(plain_framing::batch_of(&std::mem::take(texts))?);
        }
        Ok(())
    }

    /// A `GET` without an answer may have taken an entry, which is lost then.
    fn lost(&self, state: &mut State, error: &Error) {
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
                "reads were not answered; each may have taken an entry, which is lost then"
            );
        }
        if let Some(lease) = state.lease.take() {
            blame(&lease, error);
            lease.discard();
        }
        state.node = None;
        state.ahead = 1;
    }

    /// Looks at the numbers of the producer. True if the batch has come before.
    fn follow(&self, state: &mut State, batch: &EncodedBatch) -> bool {
        let step = state.dedup.step(batch.header());
        match step {
            Step::Follows => {}
            Step::Repeats => {
                self.counters.repeated_batches.fetch_add(1, Ordering::Relaxed);
            }
            Step::Late => {
                self.counters.late_batches.fetch_add(1, Ordering::Relaxed);
            }
            Step::Skips(records) => {
                self.counters.missing_records.fetch_add(u64::from(records), Ordering::Relaxed);
                tracing::warn!(
                    topic = %self.topic, producer = batch.header().producer.id, records,
                    "records of a producer are missing: another reader took them, or the server passed over them"
                );
            }
        }
        step == Step::Repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_slows_down_and_recovers() {
        let limits = (Duration::from_millis(5), Duration::from_millis(50));
        let mut pace = Pace::default();
        let mut delays = Vec::new();
        for _ in 0..6 {
            pace.empty(limits);
            delays.push(pace.delay.as_millis());
            assert_eq!(pace.not_before, Some(Instant::now() + pace.delay));
        }
        assert_eq!(delays, [5, 10, 20, 40, 50, 50]);
        pace.found();
        assert_eq!(pace.not_before, None);
        pace.empty(limits);
        assert_eq!(pace.delay.as_millis(), 5);
    }
}
