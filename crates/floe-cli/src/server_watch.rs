//! Tells the user when the command waits for a server, and when the server is back.
//!
//! ```text
//! every engine call ──► layer ──┐
//! connecting                  ──┼──► Calls ──► announcements in the log
//! a health check when quiet   ──┘
//! ```
//!
//! A call is in trouble while its attempts fail for reasons that pass, or while no answer comes. A reader waits for records
//! without a call, so while nothing else is asked, a health check finds out whether the server is there.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use floe::{
    Client, ClientBuilder, Error, ErrorKind, Result,
    engine::{BatchReader, EncodedBatch, NodeHealth},
    layer::{Layer, Operation, OperationKind, OperationTarget},
    topic::TopicPartition,
    url::{EngineUrl, shown},
};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Time without an answer before the user is told. Most restarts of a connection take less.
const PATIENCE: Duration = Duration::from_secs(2);

/// Interval between looks at the calls.
const LOOK: Duration = Duration::from_millis(250);

/// Origin of the announcements in the log.
pub(crate) const TARGET: &str = "floe::server";

/// Watches the calls of one command to its servers.
#[derive(Debug, Clone)]
pub(crate) struct ServerWatch {
    calls: Arc<Mutex<Calls>>,
}

impl ServerWatch {
    /// Watches an engine on the network; `None` for engines inside the process, and for an invalid URL.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let parsed: EngineUrl = url.parse().ok()?;
        if !parsed.scheme.is_network() {
            return None;
        }
        let hosts: Vec<_> = parsed.hosts.iter().map(ToString::to_string).collect();
        let address = if hosts.is_empty() { shown(url) } else { hosts.join(", ") };
        Some(Self { calls: Arc::new(Mutex::new(Calls::new(address))) })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, and passes the client on to the command; announces meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future drops the command.
    pub(crate) async fn over<T, E: From<Error>>(
        &self,
        builder: ClientBuilder,
        command: impl AsyncFnOnce(&Client) -> Result<T, E>,
    ) -> Result<T, E> {
        let work = async {
            let connecting = builder.layer(self.clone()).connect();
            let client = self.observe(Subject::CONTROLLER, connecting).await?;
            tokio::select! {
                biased;
                done = command(&client) => done,
                never = self.check_when_quiet(&client) => match never {},
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = self.announce() => match never {},
        }
    }

    async fn observe<T>(&self, subject: Subject, attempt: impl Future<Output = Result<T>>) -> Result<T> {
        let running = RunningCall::begin(self, subject);
        let outcome = attempt.await;
        running.end(outcome.as_ref().err());
        outcome
    }

    /// Announces until the future is dropped.
    async fn announce(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let notices = self.calls().look(Instant::now());
            notices.iter().for_each(Notice::log);
        }
    }

    /// Checks the health while no other call runs, until the future is dropped.
    async fn check_when_quiet(&self, client: &Client) -> Infallible {
        loop {
            tokio::time::sleep(PATIENCE).await;
            if self.calls().is_quiet(Instant::now()) {
                // The outcome is in the calls.
                let _ = self.observe(Subject::CONTROLLER, readiness(client)).await;
            }
        }
    }
}

/// Returns the reason why an engine is not ready.
async fn readiness(client: &Client) -> Result<()> {
    let health = client.health().await?;
    let failed = if health.ready {
        // Data may flow while no controller answers, of which a command that watches topics hears nothing else.
        let is_controller = |node: &&NodeHealth| node.leads != Some(false);
        let mut controllers = health.nodes.iter().filter(is_controller).peekable();
        if client.info().name != "fluvio"
            || controllers.peek().is_none()
            || controllers.any(|node| node.ready)
        {
            return Ok(());
        }
        health.nodes.iter().find(is_controller)
    } else {
        health.nodes.iter().find(|node| !node.ready)
    };
    let failed = failed.cloned();
    let (name, state) = failed.map_or((None, String::new()), |node| (Some(node.name), node.state));
    let error = Error::new(ErrorKind::NetworkError, state);
    Err(name.into_iter().fold(error, |error, name| error.with_endpoint(name)))
}

impl Layer for ServerWatch {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        match operation.kind {
            // The check of the health is observed where it is made; a close needs no server.
            OperationKind::Health | OperationKind::Close => attempt().await,
            OperationKind::Open => {
                let running = RunningCall::begin(self, Subject::of(operation));
                let outcome = attempt().await;
                match &outcome {
                    // No answer yet: some engines open a reader without a request.
                    Ok(_) => self.calls().reads(&running.subject, Instant::now()),
                    Err(error) => running.end(Some(error)),
                }
                outcome
            }
            _ => self.observe(Subject::of(operation), attempt()).await,
        }
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(WatchedReader { watch: self.clone(), subject: Subject::of(operation), reader })
    }
}

/// A reader whose outcomes are observed, but not its waits: they are for records.
#[derive(Debug)]
struct WatchedReader {
    watch: ServerWatch,
    subject: Subject,
    reader: Box<dyn BatchReader>,
}

impl BatchReader for WatchedReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let outcome = self.reader.next().await;
            let now = Instant::now();
            self.watch.calls().ended(&self.subject, now, outcome.as_ref().err(), now);
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

/// Part of an engine that is away or there as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    target: &'static str,
    /// The partition, of calls to its leader.
    at: Option<TopicPartition>,
}

impl Subject {
    const CONTROLLER: Self = Self { target: "controller", at: None };

    fn of(operation: &Operation) -> Self {
        match operation.kind.target() {
            OperationTarget::Leader => {
                let at = operation.topic.as_ref().zip(operation.partition);
                Self { target: "leader", at: at.map(|(topic, partition)| topic.partition(partition)) }
            }
            OperationTarget::Offsets => Self { target: "offsets", at: None },
            _ => Self::CONTROLLER,
        }
    }
}

/// A call that has no outcome yet. Dropped without one, it does not count.
struct RunningCall<'a> {
    watch: &'a ServerWatch,
    number: u64,
    subject: Subject,
    began: Instant,
}

impl<'a> RunningCall<'a> {
    fn begin(watch: &'a ServerWatch, subject: Subject) -> Self {
        let began = Instant::now();
        let number = watch.calls().begin(&subject, began);
        Self { watch, number, subject, began }
    }

    fn end(self, error: Option<&Error>) {
        self.watch.calls().ended(&self.subject, self.began, error, Instant::now());
    }
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.watch.calls().running.remove(&self.number);
    }
}

/// A subject that does not answer.
#[derive(Debug)]
struct Trouble {
    /// Begin of the first call that failed, or got no answer in time.
    since: Instant,
    address: String,
    reason: String,
    /// When a reader was opened after the last failure. A reader that stays open has recovered.
    reads_since: Option<Instant>,
}

/// Line for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Notice {
    Away { address: String, reason: String },
    Back { address: String, away: Duration },
}

impl Notice {
    fn log(&self) {
        match self {
            Self::Away { address, reason } => {
                tracing::warn!(target: TARGET, address, reason, "waiting for the server");
            }
            Self::Back { address, away } => {
                let away = format!("{:.1}s", away.as_secs_f64());
                tracing::info!(target: TARGET, address, away, "the server is back");
            }
        }
    }
}

/// Outcomes of calls, and the calls without one: the state without clock and output.
#[derive(Debug)]
struct Calls {
    /// Address of the engine where an error names none.
    address: String,
    next_number: u64,
    running: BTreeMap<u64, (Subject, Instant)>,
    /// Time of the last answer, whether success or refusal.
    answered: BTreeMap<Subject, Instant>,
    troubles: BTreeMap<Subject, Trouble>,
    /// Addresses that the user was told of, with the time since when they are away.
    announced: BTreeMap<String, Instant>,
    /// Recoveries that the user was not told of yet.
    recovered: Vec<Notice>,
}

impl Calls {
    fn new(address: String) -> Self {
        Self {
            address,
            next_number: 0,
            running: BTreeMap::new(),
            answered: BTreeMap::new(),
            troubles: BTreeMap::new(),
            announced: BTreeMap::new(),
            recovered: Vec::new(),
        }
    }

    fn begin(&mut self, subject: &Subject, now: Instant) -> u64 {
        self.next_number += 1;
        self.running.insert(self.next_number, (subject.clone(), now));
        self.next_number
    }

    fn ended(&mut self, subject: &Subject, began: Instant, error: Option<&Error>, now: Instant) {
        match error {
            Some(error) if passes(error) => {
                let address = error.endpoint().map_or_else(|| self.address.clone(), ToOwned::to_owned);
                let trouble = self.troubles.entry(subject.clone()).or_insert_with(|| Trouble {
                    since: began,
                    address: address.clone(),
                    reason: String::new(),
                    reads_since: None,
                });
                trouble.reads_since = None;
                // A refusal by the circuit breaker says less than the failures that opened the circuit.
                if error.kind() != ErrorKind::CircuitOpen || trouble.reason.is_empty() {
                    trouble.address = address;
                    error.message().clone_into(&mut trouble.reason);
                }
            }
            _ => {
                self.answered.insert(subject.clone(), now);
                self.recover(subject, now);
            }
        }
    }

    /// Notes that a reader was opened.
    fn reads(&mut self, subject: &Subject, now: Instant) {
        if let Some(trouble) = self.troubles.get_mut(subject) {
            trouble.reads_since = Some(now);
        } else {
            self.answered.insert(subject.clone(), now);
        }
    }

    fn recover(&mut self, subject: &Subject, now: Instant) {
        let Some(trouble) = self.troubles.remove(subject) else { return };
        let Some(since) = self.announced.remove(&trouble.address) else { return };
        // Other subjects at this address have to fail again to count.
        self.troubles.retain(|_, other| other.address != trouble.address);
        let away = now.duration_since(since);
        self.recovered.push(Notice::Back { address: trouble.address, away });
    }

    /// Whether nothing runs, and nothing was answered for a while.
    fn is_quiet(&self, now: Instant) -> bool {
        self.running.is_empty() && self.answered.values().all(|at| now.duration_since(*at) >= PATIENCE)
    }

    /// Returns what the user should know by now.
    fn look(&mut self, now: Instant) -> Vec<Notice> {
        let reading: Vec<_> = self
            .troubles
            .iter()
            .filter(|(_, trouble)| trouble.reads_since.is_some_and(|at| now.duration_since(at) >= PATIENCE))
            .map(|(subject, _)| subject.clone())
            .collect();
        reading.iter().for_each(|subject| self.recover(subject, now));
        for (subject, began) in self.running.values() {
            let answered = self.answered.get(subject).copied().unwrap_or(*began).max(*began);
            if now.duration_since(answered) >= PATIENCE {
                self.troubles.entry(subject.clone()).or_insert_with(|| Trouble {
                    since: answered,
                    address: self.address.clone(),
                    reason: format!("no answer for {} s", PATIENCE.as_secs()),
                    reads_since: None,
                });
            }
        }
        let mut notices = std::mem::take(&mut self.recovered);
        for trouble in self.troubles.values() {
            if now.duration_since(trouble.since) >= PATIENCE && !self.announced.contains_key(&trouble.address)
            {
                self.announced.insert(trouble.address.clone(), trouble.since);
                let (address, reason) = (trouble.address.clone(), trouble.reason.clone());
                notices.push(Notice::Away { address, reason });
            }
        }
        notices
    }
}

/// Whether the client retries after an error of this kind.
fn passes(error: &Error) -> bool {
    error.is_retriable() || error.kind().is_unanswered()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const ADDRESS: &str = "10.0.0.1:9003, 10.0.0.2:9003";

    fn refused() -> Error {
        Error::new(ErrorKind::ConnectionRefused, "no connection: refused").with_endpoint("10.0.0.9:9010")
    }

    fn leader(partition: u32) -> Subject {
        Subject { target: "leader", at: Some(floe::Topic::from("orders").partition(partition)) }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn away(address: &str, reason: &str) -> Notice {
        Notice::Away { address: address.to_owned(), reason: reason.to_owned() }
    }

    fn back(address: &str, count: u64) -> Notice {
        Notice::Back { address: address.to_owned(), away: seconds(count) }
    }

    #[test]
    fn failing_calls_are_announced_once_with_address_and_reason() {
        let (mut calls, began) = (Calls::new(ADDRESS.to_owned()), Instant::now());
        for (at, expected) in
            [(0, vec![]), (1, vec![]), (2, vec![away("10.0.0.9:9010", "no connection: refused")])]
        {
            let now = began + seconds(at);
            for partition in 0..3 {
                calls.ended(&leader(partition), now, Some(&refused()), now);
            }
            assert_eq!(calls.look(now), expected, "{at}");
        }
        let circuit = Error::new(ErrorKind::CircuitOpen, "the circuit is open");
        calls.ended(&leader(0), began, Some(&circuit), began + seconds(3));
        assert_eq!(calls.look(began + seconds(9)), []);
        // The first partition that answers ends the outage for all of them.
        calls.ended(&leader(1), began, None, began + seconds(12));
        assert_eq!(calls.look(began + seconds(12)), [back("10.0.0.9:9010", 12)]);
        assert_eq!(calls.look(began + seconds(20)), []);
    }

    #[test]
    fn calls_without_an_answer_are_announced() {
        let (mut calls, began) = (Calls::new(ADDRESS.to_owned()), Instant::now());
        calls.begin(&Subject::CONTROLLER, began);
        assert_eq!(calls.look(began + Duration::from_millis(1999)), []);
        assert_eq!(calls.look(began + seconds(2)), [away(ADDRESS, "no answer for 2 s")]);
        calls.ended(&Subject::CONTROLLER, began, None, began + seconds(3));
        assert_eq!(calls.look(began + seconds(3)), [back(ADDRESS, 3)]);
    }

    #[test]
    fn a_call_behind_others_that_are_answered_waits_for_no_server() {
        let (mut calls, began) = (Calls::new(ADDRESS.to_owned()), Instant::now());
        calls.begin(&leader(0), began);
        for at in 1..9 {
            calls.ended(&leader(0), began, None, began + seconds(at));
            assert_eq!(calls.look(began + seconds(at)), []);
        }
    }

    #[test]
    fn short_outages_and_refusals_are_not_announced() {
        let (mut calls, began) = (Calls::new(ADDRESS.to_owned()), Instant::now());
        calls.ended(&leader(0), began, Some(&refused()), began);
        calls.ended(&leader(0), began, None, began + seconds(1));
        let missing = Error::new(ErrorKind::TopicNotFound, "no such topic");
        calls.ended(&Subject::CONTROLLER, began, Some(&missing), began + seconds(1));
        assert_eq!(calls.look(began + seconds(9)), []);
    }

    #[test]
    fn a_reader_is_back_when_it_stays_open() {
        let (mut calls, began) = (Calls::new(ADDRESS.to_owned()), Instant::now());
        // Opened without a request, and broken at once.
        for at in 0..3 {
            let now = began + seconds(at);
            calls.reads(&leader(0), now);
            calls.ended(&leader(0), now, Some(&refused()), now);
        }
        assert_eq!(calls.look(began + seconds(2)), [away("10.0.0.9:9010", "no connection: refused")]);
        calls.reads(&leader(0), began + seconds(5));
        assert_eq!(calls.look(began + seconds(6)), []);
        assert_eq!(calls.look(began + seconds(7)), [back("10.0.0.9:9010", 7)]);
    }

    #[test]
    fn engines_inside_the_process_are_not_watched() {
        assert!(ServerWatch::of("embedded:data").is_none());
        assert!(ServerWatch::of("nonsense").is_none());
        let watch = ServerWatch::of("walrus://h:1,i").unwrap();
        assert_eq!(watch.calls().address, "h:1, i:9091");
    }

    /// An engine that is asked for nothing is asked for its health.
    #[tokio::test(start_paused = true)]
    async fn a_quiet_command_learns_that_its_server_is_away() {
        #[derive(Debug)]
        struct Outage(Arc<AtomicBool>);

        impl Layer for Outage {
            async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
            where
                T: Send,
                F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
            {
                let away = self.0.load(Ordering::Relaxed) && operation.kind == OperationKind::Health;
                if away { Err(refused()) } else { attempt().await }
            }
        }

        let watch = ServerWatch::of("fluvio://10.0.0.1:9003").unwrap();
        let outage = Arc::new(AtomicBool::new(true));
        let client = Client::builder("memory:").layer(Outage(Arc::clone(&outage))).connect().await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let checked = tokio::time::timeout(seconds(7), watch.check_when_quiet(&client)).await;
            assert!(checked.is_err(), "it ends with the command");
            seen.extend(watch.calls().look(Instant::now()));
            outage.store(false, Ordering::Relaxed);
        }
        let told: Vec<_> = seen.iter().map(|notice| matches!(notice, Notice::Away { .. })).collect();
        assert_eq!(told, [true, false], "{seen:?}");
    }
}
