//! Circuit breakers: refuse calls to a server that keeps failing.
//!
//! Each server has a circuit of its own where the engine knows the server that a call goes to ([`Engine::endpoint`]), so
//! that one bad server does not block calls to the others. Elsewhere each partition has a circuit, and one more covers
//! the calls that concern no partition.
//!
//! Calls that a client needs to recover ([`OperationKind::is_recovery`]) count like all others. Their callers already
//! wait between attempts, and a long refusal would turn a short outage into a long one and let records time out. An open
//! circuit therefore lets one of them through each second, and the first success ends the outage.

mod circuit;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

pub use circuit::BreakerState;
use circuit::{Circuit, Pass};
use futures_core::Stream;
use futures_util::{future::BoxFuture, stream};
use parking_lot::Mutex;
use tokio::{sync::broadcast, time::Instant};

use super::{Layer, Operation, OperationKind, OperationTarget};
use crate::{
    Error, ErrorKind, Result,
    engine::{BatchReader, EncodedBatch, Engine, SharedEngine},
    telemetry::Telemetry,
    topic::TopicPartition,
};

/// State changes that are kept for a slow subscriber.
const CHANGES: usize = 64;

/// When a circuit opens and closes.
///
/// An open circuit refuses calls with [`ErrorKind::CircuitOpen`]. Appends, openings of readers and queries for the ends of a
/// partition pass it once a second, whatever `trials` says: their callers wait between attempts, and a refusal of 30 seconds
/// would turn a restart of 3 seconds into expired records. The refusal is retriable, so a call with retries left waits for the
/// next attempt instead of failing at once; [`RetryPolicy::never`](crate::RetryPolicy::never) makes it fail fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerPolicy {
    /// Consecutive failures after which calls are refused. Default: 5.
    pub failures: u32,
    /// How long calls are refused. Default: 30 s.
    pub open_for: Duration,
    /// Trial calls that are then let through; when all of them succeed, the circuit closes. Default: 3.
    pub trials: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30), trials: 3 }
    }
}

impl BreakerPolicy {
    /// Sets the consecutive failures after which calls are refused; at least 1.
    #[must_use]
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how long calls are refused.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// Why no call could be refused, or none let through.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.failures == 0 || self.trials == 0 {
            Some("failures and trials must be at least 1")
        } else if self.open_for.is_zero() {
            Some("open_for is 0: an open circuit would refuse nothing")
        } else {
            None
        }
    }

    /// Sets the number of trial calls that close the circuit when all of them succeed; at least 1.
    #[must_use]
    pub fn trials(mut self, trials: u32) -> Self {
        self.trials = trials;
        self
    }
}

/// Scope of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum CircuitKey {
    /// One server.
    Endpoint(Arc<str>),
    /// One partition, where the engine does not know its server.
    Partition(TopicPartition),
    /// Stored offsets.
    Offsets,
    /// Everything else.
    Engine,
}

impl fmt::Display for CircuitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => f.write_str(endpoint),
            Self::Partition(at) => write!(f, "{at}"),
            Self::Offsets => f.write_str("offsets"),
            Self::Engine => f.write_str("engine"),
        }
    }
}

/// A circuit changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerChange {
    /// Address of the server, or `TOPIC/PARTITION`, `offsets` or `engine` where the address is unknown.
    pub circuit: Arc<str>,
    /// The state before.
    pub from: BreakerState,
    /// The state now.
    pub to: BreakerState,
}

/// Status of one circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitStatus {
    /// As in [`BreakerChange::circuit`].
    pub circuit: String,
    /// The state.
    pub state: BreakerState,
    /// How long an open circuit goes on refusing calls; `None` in the other states.
    pub time_left: Option<Duration>,
}

/// The circuits of one client.
#[derive(Clone)]
pub struct Breakers {
    shared: Arc<BreakersShared>,
}

struct BreakersShared {
    policy: BreakerPolicy,
    circuits: Mutex<Circuits>,
    changes: broadcast::Sender<BreakerChange>,
    telemetry: Option<Telemetry>,
}

#[derive(Default)]
struct Circuits {
    /// Circuits that are not closed, have counted failures, or changed their state not long ago.
    by_key: HashMap<CircuitKey, Circuit>,
    /// Number of changes of all circuits: the clock that tells which calls began before a change.
    changes: u64,
}

impl Breakers {
    pub(crate) fn new(policy: BreakerPolicy, telemetry: Option<Telemetry>) -> Self {
        let changes = broadcast::channel(CHANGES).0;
        Self { shared: Arc::new(BreakersShared { policy, circuits: Mutex::default(), changes, telemetry }) }
    }

    /// Returns the circuits that are not closed or have counted failures, ordered by name.
    #[must_use]
    pub fn troubled(&self) -> Vec<CircuitStatus> {
        let now = Instant::now();
        let circuits = self.shared.circuits.lock();
        let mut found: Vec<_> = circuits
            .by_key
            .iter()
            .filter(|(_, circuit)| !circuit.is_sound())
            .map(|(key, circuit)| CircuitStatus {
                circuit: key.to_string(),
                state: circuit.state(),
                time_left: circuit.time_left(now),
            })
            .collect();
        found.sort_by(|one, other| one.circuit.cmp(&other.circuit));
        found
    }

    /// Returns a stream of all state changes from now on. A slow subscriber misses the oldest.
    pub fn changes(&self) -> impl Stream<Item = BreakerChange> + Send + Unpin + 'static {
        let receiver = self.shared.changes.subscribe();
        Box::pin(stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(change) => return Some((change, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }

    /// Applies `act` to a circuit, reports a change of its state, and drops it when it can be. Returns the number of the
    /// last change as well.
    fn update<T>(&self, key: &CircuitKey, act: impl FnOnce(&mut Circuit, Instant) -> T) -> (T, u64) {
        let now = Instant::now();
        let (outcome, change) = {
            let mut circuits = self.shared.circuits.lock();
            let Circuits { by_key, changes } = &mut *circuits;
            let circuit = by_key.entry(key.clone()).or_insert_with(Circuit::new);
            let from = circuit.state();
            let outcome = act(circuit, now);
            let to = circuit.state();
            if from != to {
                *changes += 1;
                circuit.note_change(*changes, now);
            }
            if circuit.is_forgettable(now) {
                by_key.remove(key);
            }
            ((outcome, *changes), (from != to).then_some((from, to)))
        };
        if let Some((from, to)) = change {
            self.report(key, from, to);
        }
        outcome
    }

    fn report(&self, key: &CircuitKey, from: BreakerState, to: BreakerState) {
        let circuit: Arc<str> = key.to_string().into();
        match to {
            BreakerState::Open => {
                let BreakerPolicy { failures, open_for, .. } = self.shared.policy;
                tracing::warn!(
                    %circuit, failures, ?open_for,
                    "circuit opened after as many failures in a row as breaker.failures allows: calls are refused for \
                     open_for, except one a second that tries the server"
                )
            }
            BreakerState::HalfOpen => {
                tracing::info!(%circuit, "circuit half open: trial calls are let through")
            }
            BreakerState::Closed => tracing::info!(%circuit, "circuit closed"),
        }
        if let Some(telemetry) = &self.shared.telemetry {
            telemetry.breaker_changed(&circuit, from.as_str(), to.as_str());
        }
        // The channel has no receiver when the application does not subscribe.
        let _ = self.shared.changes.send(BreakerChange { circuit, from, to });
    }

    /// Pass of a call that begins now and concerns no circuit that is known.
    fn pass(&self) -> Pass {
        Pass { began: self.shared.circuits.lock().changes, trial: false }
    }

    /// Lets a call through or refuses it. Does not look up the server while no circuit is known.
    fn admit(&self, key: impl FnOnce() -> CircuitKey, operation: &Operation) -> Result<Ticket<'_>> {
        let pass = {
            let circuits = self.shared.circuits.lock();
            let pass = Pass { began: circuits.changes, trial: false };
            if circuits.by_key.is_empty() {
                return Ok(Ticket { breakers: self, key: None, pass });
            }
            pass
        };
        let key = key();
        if !self.shared.circuits.lock().by_key.contains_key(&key) {
            return Ok(Ticket { breakers: self, key: None, pass });
        }
        let paced = operation.kind.is_recovery();
        let policy = &self.shared.policy;
        match self.update(&key, |circuit, now| circuit.admit(policy, now, paced)) {
            (Ok(trial), began) => Ok(Ticket { breakers: self, key: Some(key), pass: Pass { began, trial } }),
            (Err(wait), _) => {
                let message = format!(
                    "the circuit of {key} is open after {} failures in a row (limit: breaker.failures); the call was not \
                     attempted, and calls pass once more in {wait:.1?}",
                    policy.failures
                );
                let error = Error::new(ErrorKind::CircuitOpen, message).with_retry_after(wait);
                Err(operation.locate(error))
            }
        }
    }

    fn failed(&self, key: &CircuitKey, pass: Pass) {
        self.update(key, |circuit, now| circuit.failed(&self.shared.policy, now, pass));
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

/// A call that was let through. Dropped without an outcome, it does not count.
struct Ticket<'a> {
    breakers: &'a Breakers,
    /// The circuit that let it through; `None` if none was known or the outcome is counted.
    key: Option<CircuitKey>,
    pass: Pass,
}

impl Ticket<'_> {
    fn succeeded(mut self) {
        if let Some(key) = self.key.take() {
            let policy = &self.breakers.shared.policy;
            self.breakers.update(&key, |circuit, _| circuit.succeeded(policy, self.pass));
        }
    }

    /// Counts the failure for the circuit of the server that failed, which may differ from the one that the call was
    /// expected to go to.
    fn failed(mut self, expected: impl FnOnce() -> CircuitKey, error: &Error) {
        let expected = self.key.clone().unwrap_or_else(expected);
        let failing = failing_key(expected, error);
        let mut pass = self.pass;
        if self.key.as_ref() == Some(&failing) {
            self.key = None;
        } else {
            // The trial belongs to the other circuit, and ends undecided there.
            pass.trial = false;
        }
        self.breakers.failed(&failing, pass);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.breakers.update(&key, |circuit, _| circuit.undecided(self.pass));
        }
    }
}

/// Refuses calls to a server whose circuit is open, with [`ErrorKind::CircuitOpen`] and the time left.
#[derive(Debug)]
pub struct Breaker {
    breakers: Breakers,
    /// Knows which server a call goes to.
    engine: SharedEngine,
}

impl Breaker {
    /// Wraps an engine in a breaker. Returns both.
    #[must_use]
    pub fn around(policy: BreakerPolicy, engine: SharedEngine) -> (SharedEngine, Breakers) {
        let breakers = Breakers::new(policy, None);
        (Self::with(breakers.clone(), engine), breakers)
    }

    /// Wraps an engine in these breakers.
    pub(crate) fn with(breakers: Breakers, engine: SharedEngine) -> SharedEngine {
        Self { breakers, engine: Arc::clone(&engine) }.layer(engine)
    }
}

fn key_of(engine: &dyn Engine, operation: &Operation) -> CircuitKey {
    match (operation.kind.target(), &operation.topic, operation.partition) {
        (OperationTarget::Offsets, ..) => CircuitKey::Offsets,
        (OperationTarget::Leader, Some(topic), Some(partition)) => {
            let at = topic.partition(partition);
            engine.endpoint(Some(&at)).map_or(CircuitKey::Partition(at), CircuitKey::Endpoint)
        }
        _ => engine.endpoint(None).map_or(CircuitKey::Engine, CircuitKey::Endpoint),
    }
}

/// The circuit that a failure counts for: the one of the server that failed, where the engine knows servers.
fn failing_key(key: CircuitKey, error: &Error) -> CircuitKey {
    match (key, error.endpoint()) {
        (CircuitKey::Endpoint(known), Some(endpoint)) if *known != *endpoint => {
            CircuitKey::Endpoint(endpoint.into())
        }
        (key, _) => key,
    }
}

/// Whether an error counts as a failure of the server (`true`) or proves that it answers (`false`); `None` for neither.
fn counts(error: &Error) -> Option<bool> {
    match error.kind() {
        kind if kind.is_unanswered() => Some(true),
        ErrorKind::ServerError => error.is_retriable().then_some(true),
        // Raised by the client itself, or while the cluster elects leaders.
        ErrorKind::CircuitOpen
        | ErrorKind::RateLimited
        | ErrorKind::NotLeader
        | ErrorKind::Closed
        | ErrorKind::Unsupported
        | ErrorKind::InvalidConfig => None,
        // The server answered and refused.
        _ => Some(false),
    }
}

impl Layer for Breaker {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if matches!(operation.kind, OperationKind::Close | OperationKind::Health) {
            return attempt().await;
        }
        let key = || key_of(&*self.engine, operation);
        let ticket = self.breakers.admit(key, operation)?;
        let outcome = attempt().await;
        match &outcome {
            Ok(_) => ticket.succeeded(),
            Err(error) => match counts(error) {
                Some(false) => ticket.succeeded(),
                Some(true) => ticket.failed(key, error),
                None => drop(ticket),
            },
        }
        outcome
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        let operation = operation.with_kind(OperationKind::Read);
        Box::new(CountedReader {
            breakers: self.breakers.clone(),
            engine: Arc::clone(&self.engine),
            operation,
            reader,
        })
    }
}

/// Counts the failures of an open reader. Refuses nothing.
#[derive(Debug)]
struct CountedReader {
    breakers: Breakers,
    engine: SharedEngine,
    operation: Operation,
    reader: Box<dyn BatchReader>,
}

impl BatchReader for CountedReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        let next = self.reader.next();
        let (breakers, engine, operation) = (&self.breakers, &self.engine, &self.operation);
        Box::pin(async move {
            let pass = breakers.pass();
            let outcome = next.await;
            if let Err(error) = &outcome
                && counts(error) == Some(true)
            {
                breakers.failed(&failing_key(key_of(&**engine, operation), error), pass);
            }
            outcome
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

#[cfg(test)]
mod tests;
