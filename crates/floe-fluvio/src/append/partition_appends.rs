//! The order of one partition.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use floe_core::{
    Effect, Error, ErrorKind, Result,
    engine::{Acks, AppendAck, AppendRequest},
    topic::TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Outbox, spu_sender::Parcel};

/// Finds the way to leaders.
pub(crate) trait Routes: Send + Sync + 'static {
    /// Where batches of a partition go, as far as is known without asking.
    fn known(&self, at: &TopicPartition, acks: Acks) -> Option<Arc<Outbox>>;

    /// Asks until the way is known.
    fn ask(&self, at: TopicPartition) -> futures_util::future::BoxFuture<'static, Result<()>>;
}

/// The lanes of all partitions that were written to.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<HashMap<TopicPartition, Arc<Lane>>>);

impl Lanes {
    pub(crate) fn get(&self, at: &TopicPartition) -> Arc<Lane> {
        let mut lanes = self.0.lock();
        if let Some(lane) = lanes.get(at) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane { at: at.clone(), state: Mutex::default() });
        lanes.insert(at.clone(), Arc::clone(&lane));
        lane
    }

    /// Forgets the lane of a partition that does not exist; batches in it keep it alive.
    pub(crate) fn forget(&self, lane: &Arc<Lane>) {
        let mut lanes = self.0.lock();
        if lanes.get(&lane.at).is_some_and(|known| Arc::ptr_eq(known, lane)) {
            lanes.remove(&lane.at);
        }
    }
}

/// The batches of one partition that have no answer yet.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) at: TopicPartition,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Not handed to an outbox yet, in order.
    waiting: VecDeque<Waiting>,
    /// Handed to `outbox`, in order.
    flying: VecDeque<Flying>,
    outbox: Option<Arc<Outbox>>,
    /// Number of the first batch in `flying`.
    first: u64,
    /// Somebody asks for the leader.
    asking: bool,
    /// Why the first batch that failed did, until all before and after it have their outcome.
    cause: Option<Error>,
    /// Failures whose callers have not seen them yet.
    unreported: usize,
}

#[derive(Debug)]
struct Waiting {
    request: AppendRequest,
    done: oneshot::Sender<Result<AppendAck>>,
}

#[derive(Debug)]
struct Flying {
    done: oneshot::Sender<Result<AppendAck>>,
    outcome: Option<Result<AppendAck>>,
}

impl Lane {
    /// Takes the next batch of the partition.
    ///
    /// # Errors
    /// The failure of a batch before this one, as long as it was not reported.
    pub(crate) fn submit(
        self: &Arc<Self>,
        request: AppendRequest,
        routes: &Arc<impl Routes>,
    ) -> Result<Ticket> {
        let (done, outcome) = oneshot::channel();
        let mut state = self.state.lock();
        if state.unreported > 0 || state.cause.is_some() {
            return Err(held_back(state.cause.as_ref()));
        }
        state.waiting.push_back(Waiting { request, done });
        self.pump(&mut state, routes);
        Ok(Ticket { lane: Arc::clone(self), outcome, taken: false })
    }

    /// Hands to the outbox of the leader what waits.
    fn pump(self: &Arc<Self>, state: &mut State, routes: &Arc<impl Routes>) {
        while let Some(next) = state.waiting.front() {
            if state.asking || state.cause.is_some() {
                return;
            }
            let Some(outbox) = routes.known(&self.at, next.request.acks) else {
                self.ask(state, routes);
                return;
            };
            let same = state.outbox.as_ref().is_some_and(|current| Arc::ptr_eq(current, &outbox));
            if !same {
                // Batches on their way to one server must not be overtaken by others on their way to another.
                if !state.flying.is_empty() {
                    return;
                }
                state.outbox = Some(Arc::clone(&outbox));
            }
            let Some(Waiting { request, done }) = state.waiting.pop_front() else { return };
            let number = state.first + state.flying.len() as u64;
            state.flying.push_back(Flying { done, outcome: None });
            outbox.push(Parcel { lane: Arc::clone(self), number, request });
        }
    }

    fn ask(self: &Arc<Self>, state: &mut State, routes: &Arc<impl Routes>) {
        state.asking = true;
        let (lane, routes) = (Arc::clone(self), Arc::clone(routes));
        tokio::spawn(async move {
            let answer = routes.ask(lane.at.clone()).await;
            let mut state = lane.state.lock();
            state.asking = false;
            match answer {
                Ok(()) => lane.pump(&mut state, &routes),
                Err(error) => {
                    // None of them was sent, so each may have the cause itself.
                    for waiting in std::mem::take(&mut state.waiting) {
                        state.report(waiting.done, Err(error.clone()));
                    }
                }
            }
        });
    }

    /// Whether a batch may still be sent; otherwise it has its outcome now.
    pub(super) fn may_send(self: &Arc<Self>, number: u64, routes: &Arc<impl Routes>) -> bool {
        let cause = match &self.state.lock().cause {
            None => return true,
            Some(cause) => held_back(Some(cause)),
        };
        self.settle(number, Err(cause), routes);
        false
    }

    /// A batch has its outcome.
    pub(super) fn settle(
        self: &Arc<Self>,
        number: u64,
        outcome: Result<AppendAck>,
        routes: &Arc<impl Routes>,
    ) {
        let mut state = self.state.lock();
        let index = usize::try_from(number.wrapping_sub(state.first)).unwrap_or(usize::MAX);
        if let (Err(error), None) = (&outcome, &state.cause) {
            state.cause = Some(error.clone());
        }
        if let Some(flying) = state.flying.get_mut(index) {
            flying.outcome.get_or_insert(outcome);
        }
        state.report_front();
        self.pump(&mut state, routes);
    }

    /// A caller has seen its failure, or will never look.
    fn reported(&self) {
        let mut state = self.state.lock();
        state.unreported = state.unreported.saturating_sub(1);
    }
}

impl State {
    /// Reports the outcomes at the front. A failure waits until everything behind it has its outcome, because what is
    /// to be sent again must not have been overtaken.
    fn report_front(&mut self) {
        while matches!(self.flying.front(), Some(Flying { outcome: Some(Ok(_)), .. })) {
            let Some(Flying { done, outcome: Some(outcome) }) = self.flying.pop_front() else { return };
            self.first += 1;
            self.report(done, outcome);
        }
        if self.flying.is_empty() || self.flying.iter().any(|flying| flying.outcome.is_none()) {
            return;
        }
        let mut all: Vec<_> = std::mem::take(&mut self.flying).into();
        self.first += all.len() as u64;
        let cause = self.cause.take();
        let last_success = all.iter().rposition(|flying| matches!(flying.outcome, Some(Ok(_))));
        for (index, flying) in all.drain(..).enumerate() {
            let outcome = match flying.outcome {
                Some(Err(error)) if last_success.is_some_and(|last| index < last) => Err(overtaken(error)),
                Some(outcome) => outcome,
                None => Err(held_back(cause.as_ref())),
            };
            self.report(flying.done, outcome);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.report(waiting.done, Err(held_back(cause.as_ref())));
        }
    }

    fn report(&mut self, done: oneshot::Sender<Result<AppendAck>>, outcome: Result<AppendAck>) {
        let failed = outcome.is_err();
        // Nobody looks at the outcome of an append that was dropped.
        if done.send(outcome).is_ok() && failed {
            self.unreported += 1;
        }
    }
}

/// The error of a batch that was not sent because one before it failed.
fn held_back(cause: Option<&Error>) -> Error {
    let kind = cause.filter(|cause| cause.is_retriable()).map_or(ErrorKind::ServerError, Error::kind);
    let error = Error::new(kind, "not sent, because a batch before it failed");
    let error = error.with_retriable(true).with_effect(Effect::None);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// The error of a batch that failed while one behind it was appended. Sending it again would change the order, so that is
/// left to the application.
fn overtaken(error: Error) -> Error {
    if error.effect() == Effect::Unknown {
        // It may be there, in its place: looking tells.
        return error;
    }
    Error::new(error.kind(), format!("{}; batches behind it were appended", error.message()))
        .with_effect(error.effect())
        .with_retriable(false)
        .with_source(error)
}

/// Waits for the outcome of one batch.
#[derive(Debug)]
pub(crate) struct Ticket {
    lane: Arc<Lane>,
    outcome: oneshot::Receiver<Result<AppendAck>>,
    /// The outcome was received.
    taken: bool,
}

impl Ticket {
    /// # Cancel safety
    /// Dropping the future leaves the batch to its fate: it is appended once or not at all.
    pub(crate) async fn outcome(mut self) -> Result<AppendAck> {
        let outcome = (&mut self.outcome).await;
        self.taken = true;
        match outcome {
            Ok(Ok(ack)) => Ok(ack),
            Ok(Err(error)) => {
                self.lane.reported();
                Err(error)
            }
            Err(_) => Err(Error::closed("engine").with_effect(Effect::Unknown)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        self.outcome.close();
        if let Ok(Err(_)) = self.outcome.try_recv() {
            self.lane.reported();
        }
    }
}
