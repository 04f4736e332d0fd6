//! Leaves servers that fail alone for a while.
//!
//! There is one circuit for each server where the engine knows which one it will ask ([`Engine::endpoint`]), so that one
//! bad server does not keep calls from the others. Else there is one for each partition, and one for everything that
//! concerns no partition.
//!
//! Appends, the opening of readers and questions for the ends of a partition are counted like everything else. Those who
//! make them wait between their attempts already, and if they were refused for long, a short outage would become a long
//! one, and records would time out: also those that a producer looks for before it sends them again. One of them each
//! second may therefore try an open circuit, and the first that works ends it.

mod circuit;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

pub use circuit::BreakerState;
use circuit::{Circuit, Pass};
use floe_wire::batch::EncodedBatch;
use futures_core::Stream;
use futures_util::{future::BoxFuture, stream};
use parking_lot::Mutex;
use tokio::{sync::broadcast, time::Instant};

use super::{Layer, Operation, OperationKind, OperationTarget};
use crate::{
    Error, ErrorKind, Result,
    engine::{BatchReader, Engine, SharedEngine},
    telemetry::Telemetry,
    topic::TopicPartition,
};

/// Changes that wait for those who are slow to take them.
const CHANGES: usize = 64;

/// When calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row after which calls are refused. Default: 5.
    pub failures: u32,
    /// How long they are refused. Default: 30 s.
    pub open_for: Duration,
    /// How many calls are then let through to see whether it works; when so many succeed, all pass again. Default: 3.
    pub trials: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30), trials: 3 }
    }
}

/// What a circuit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// One server.
    Endpoint(Arc<str>),
    /// One partition, where nobody knows which server it takes.
    Partition(TopicPartition),
    /// Stored offsets.
    Offsets,
    /// Everything else.
    Engine,
}

impl fmt::Display for Key {
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
    /// Address of the server, or `TOPIC/PARTITION`, `offsets` or `engine` where nobody knows the address.
    pub circuit: Arc<str>,
    /// The state before.
    pub from: BreakerState,
    /// The state now.
    pub to: BreakerState,
}

/// How one circuit is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitStatus {
    /// As in [`BreakerChange::circuit`].
    pub circuit: String,
    /// The state.
    pub state: BreakerState,
    /// How long calls are refused, where they are.
    pub time_left: Option<Duration>,
}

/// The circuits of one client.
#[derive(Clone)]
pub struct Breakers {
    shared: Arc<Shared>,
}

struct Shared {
    policy: BreakerPolicy,
    /// Those with which something is wrong; a sound circuit is not remembered.
    circuits: Mutex<HashMap<Key, Circuit>>,
    changes: broadcast::Sender<BreakerChange>,
    telemetry: Option<Telemetry>,
}

impl Breakers {
    pub(crate) fn new(policy: BreakerPolicy, telemetry: Option<Telemetry>) -> Self {
        let changes = broadcast::channel(CHANGES).0;
        Self { shared: Arc::new(Shared { policy, circuits: Mutex::default(), changes, telemetry }) }
    }

    /// Circuits with which something is wrong, ordered by name. All others are closed.
    #[must_use]
    pub fn troubled(&self) -> Vec<CircuitStatus> {
        let now = Instant::now();
        let circuits = self.shared.circuits.lock();
        let mut found: Vec<_> = circuits
            .iter()
            .map(|(key, circuit)| CircuitStatus {
                circuit: key.to_string(),
                state: circuit.state(),
                time_left: circuit.time_left(now),
            })
            .collect();
        found.sort_by(|one, other| one.circuit.cmp(&other.circuit));
        found
    }

    /// Every change of state from now on. Who takes too long misses the oldest.
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

    /// Does something to a circuit, tells of a change of its state, and forgets it when it is sound.
    fn update<T>(&self, key: &Key, act: impl FnOnce(&mut Circuit) -> T) -> T {
        let (outcome, change) = {
            let mut circuits = self.shared.circuits.lock();
            let circuit = circuits.entry(key.clone()).or_insert_with(Circuit::new);
            let from = circuit.state();
            let outcome = act(circuit);
            let to = circuit.state();
            if circuit.is_sound() {
                circuits.remove(key);
            }
            (outcome, (from != to).then_some((from, to)))
        };
        if let Some((from, to)) = change {
            self.tell(key, from, to);
        }
        outcome
    }

    fn tell(&self, key: &Key, from: BreakerState, to: BreakerState) {
        let circuit: Arc<str> = key.to_string().into();
        match to {
            BreakerState::Open => {
                tracing::warn!(%circuit, "too many failures: calls are refused for a while")
            }
            BreakerState::HalfOpen => tracing::info!(%circuit, "some calls try whether it works again"),
            BreakerState::Closed => tracing::info!(%circuit, "it works again"),
        }
        if let Some(telemetry) = &self.shared.telemetry {
            telemetry.breaker_changed(&circuit, from.as_str(), to.as_str());
        }
        // Nobody has to listen.
        let _ = self.shared.changes.send(BreakerChange { circuit, from, to });
    }

    /// Lets a call through or refuses it. Nothing is looked up while nothing is wrong anywhere.
    fn admit(&self, key: impl FnOnce() -> Key, operation: &Operation) -> Result<Option<Ticket<'_>>> {
        if self.shared.circuits.lock().is_empty() {
            return Ok(None);
        }
        let key = key();
        if !self.shared.circuits.lock().contains_key(&key) {
            return Ok(None);
        }
        let paced = operation.kind.is_recovery();
        let policy = &self.shared.policy;
        match self.update(&key, |circuit| circuit.admit(policy, Instant::now(), paced)) {
            Ok(pass) => Ok(Some(Ticket { breakers: self, key, pass: Some(pass) })),
            Err(wait) => {
                let message = format!("recent calls to {key} failed, so this one was not made");
                let error = Error::new(ErrorKind::CircuitOpen, message).with_retry_after(wait);
                Err(operation.locate(error))
            }
        }
    }

    fn failed(&self, key: &Key, pass: Option<Pass>) {
        self.update(key, |circuit| circuit.failed(&self.shared.policy, Instant::now(), pass));
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("policy", &self.shared.policy).finish_non_exhaustive()
    }
}

/// A call that was let through. Dropped without an outcome, it says nothing.
struct Ticket<'a> {
    breakers: &'a Breakers,
    key: Key,
    pass: Option<Pass>,
}

impl Ticket<'_> {
    fn succeeded(mut self) {
        if let Some(pass) = self.pass.take() {
            let policy = &self.breakers.shared.policy;
            self.breakers.update(&self.key, |circuit| circuit.succeeded(policy, pass));
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.breakers.update(&self.key, |circuit| circuit.undecided(pass));
        }
    }
}

/// Refuses calls to what failed too often, with [`ErrorKind::CircuitOpen`] and the time left.
#[derive(Debug)]
pub struct Breaker {
    breakers: Breakers,
    /// Asked which server a call goes to.
    engine: SharedEngine,
}

impl Breaker {
    /// Puts a breaker around an engine.
    #[must_use]
    pub fn around(policy: BreakerPolicy, engine: SharedEngine) -> (SharedEngine, Breakers) {
        let breakers = Breakers::new(policy, None);
        (Self::with(breakers.clone(), engine), breakers)
    }

    /// Puts these breakers around an engine.
    pub(crate) fn with(breakers: Breakers, engine: SharedEngine) -> SharedEngine {
        Self { breakers, engine: Arc::clone(&engine) }.layer(engine)
    }
}

fn key_of(engine: &dyn Engine, operation: &Operation) -> Key {
    match (operation.kind.target(), &operation.topic, operation.partition) {
        (OperationTarget::Offsets, ..) => Key::Offsets,
        (OperationTarget::Leader, Some(topic), Some(partition)) => {
            let at = topic.partition(partition);
            engine.endpoint(Some(&at)).map_or(Key::Partition(at), Key::Endpoint)
        }
        _ => engine.endpoint(None).map_or(Key::Engine, Key::Endpoint),
    }
}

/// Which circuit a failure counts for: that of the server which failed, where the engine thinks in servers.
fn failing_key(key: Key, error: &Error) -> Key {
    match (key, error.endpoint()) {
        (Key::Endpoint(known), Some(endpoint)) if *known != *endpoint => Key::Endpoint(endpoint.into()),
        (key, _) => key,
    }
}

/// What an outcome says about the server.
fn counts(error: &Error) -> Option<bool> {
    match error.kind() {
        ErrorKind::ConnectionTimeout
        | ErrorKind::ConnectionRefused
        | ErrorKind::NetworkError
        | ErrorKind::RequestTimeout => Some(true),
        ErrorKind::ServerError => error.is_retriable().then_some(true),
        // Said by the client itself, or while the cluster finds its order again.
        ErrorKind::CircuitOpen
        | ErrorKind::RateLimited
        | ErrorKind::NotLeader
        | ErrorKind::Closed
        | ErrorKind::Unsupported
        | ErrorKind::InvalidConfig => None,
        // An answer, if not the one hoped for.
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
        let ticket = self.breakers.admit(|| key_of(&*self.engine, operation), operation)?;
        let outcome = attempt().await;
        match (outcome.as_ref().err().map_or(Some(false), counts), ticket) {
            (Some(false), Some(ticket)) => ticket.succeeded(),
            (Some(false) | None, _) => {}
            (Some(true), ticket) => {
                let (key, pass) = match ticket {
                    Some(mut ticket) => {
                        // What failed may be another server than the one that was expected to be asked.
                        let pass = ticket.pass;
                        let key = ticket.key.clone();
                        if outcome.as_ref().err().is_none_or(|error| failing_key(key.clone(), error) == key) {
                            ticket.pass = None;
                            (key, pass)
                        } else {
                            drop(ticket);
                            (key, None)
                        }
                    }
                    None => (key_of(&*self.engine, operation), None),
                };
                if let Err(error) = &outcome {
                    self.breakers.failed(&failing_key(key, error), pass);
                }
            }
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

/// Counts what breaks a reader. Nothing is refused: it is open already.
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
            let outcome = next.await;
            if let Err(error) = &outcome
                && counts(error) == Some(true)
            {
                breakers.failed(&failing_key(key_of(&**engine, operation), error), None);
            }
            outcome
        })
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

#[cfg(test)]
mod tests;
