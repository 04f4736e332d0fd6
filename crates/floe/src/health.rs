//! Health of a client: the engine and its servers, queues, breakers.

use std::{sync::Arc, time::Duration};

pub use crate::engine::NodeHealth;
use crate::{
    engine::Health,
    layer::{BreakerState, CircuitStatus},
    topic::Topic,
};

/// Overall status, ordered from good to bad. Matching is exhaustive: the values are those of the health-check response
/// draft for HTTP APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The client works.
    Pass,
    /// The client works, with findings that need attention.
    Warn,
    /// The client does not work.
    Fail,
}

impl Status {
    /// Returns the machine-readable word: `pass`, `warn` or `fail`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// Use of the memory of a producer, of a consumer, or of the spool of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueHealth {
    /// Bytes in use: records that are buffered and not acknowledged, or read ahead and not handed out.
    pub used: u64,
    /// Bytes that may be in use.
    pub limit: u64,
}

impl QueueHealth {
    pub(crate) fn new(used: u64, limit: u64) -> Self {
        Self { used, limit }
    }

    /// Returns the share in use, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

/// An open producer, consumer, processor or outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentHealth {
    /// `producer`, `consumer`, `processor` or `outbox`.
    pub kind: &'static str,
    /// Topic that it reads; for a producer or an outbox the topic that it sends to.
    pub topic: Topic,
    /// Topic that a processor sends its results to.
    pub to: Option<Topic>,
    /// Group of a consumer or a processor.
    pub group: Option<Arc<str>>,
    /// Use of its memory, or of the spool of an outbox.
    pub queue: Option<QueueHealth>,
    /// Names and values of its counters, such as `delivered` and `waiting` of an outbox.
    pub counters: Vec<(&'static str, u64)>,
    /// A problem in words.
    pub finding: Option<String>,
}

impl ComponentHealth {
    pub(crate) fn new(kind: &'static str, topic: &Topic) -> Self {
        let (to, group, queue, counters, finding) = (None, None, None, Vec::new(), None);
        Self { kind, topic: topic.clone(), to, group, queue, counters, finding }
    }

    pub(crate) fn queue(mut self, used: u64, limit: u64) -> Self {
        self.queue = Some(QueueHealth::new(used, limit));
        self
    }
}

/// Health of a client; from [`Client::health`](crate::Client::health).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClientHealth {
    /// Overall status.
    pub status: Status,
    /// Name of the engine.
    pub engine: &'static str,
    /// Whether the engine is ready.
    pub ready: bool,
    /// Its servers, nodes or stores.
    pub nodes: Vec<NodeHealth>,
    /// Name of the leading node, where the engine has one that is ready.
    pub leader: Option<String>,
    /// Time since the last successful call of this client; `None` before the first.
    pub last_success: Option<Duration>,
    /// Producers, consumers, processors and outboxes that are open.
    pub components: Vec<ComponentHealth>,
    /// Circuit breakers that are not closed, or have counted failures.
    pub circuits: Vec<CircuitStatus>,
    /// Problems in words; empty when the status is [`Status::Pass`].
    pub findings: Vec<String>,
}

impl ClientHealth {
    pub(crate) fn assess(
        engine: &'static str,
        health: Health,
        queue_warning: f64,
        components: Vec<ComponentHealth>,
        circuits: Vec<CircuitStatus>,
    ) -> Self {
        let Health { ready, nodes, .. } = health;
        let leader = nodes.iter().find(|node| node.ready && node.leads == Some(true));
        let leader = leader.map(|node| node.name.clone());
        let mut findings = Vec::new();
        if !ready {
            findings.push("the engine is not ready".to_owned());
        }
        for node in nodes.iter().filter(|node| !node.ready) {
            findings.push(format!("{} is not ready: {}", node.name, node.state));
        }
        // A consumer reads ahead until its queue is full: that is no problem.
        for ComponentHealth { topic, queue, .. } in components.iter().filter(|one| one.kind == "producer") {
            if let Some(queue) = queue.filter(|queue| queue.share() >= queue_warning && queue.used > 0) {
                let percent = (queue.share() * 100.0).round();
                findings.push(format!("the producer of {topic} uses {percent} % of its memory"));
            }
        }
        for circuit in circuits.iter().filter(|circuit| circuit.state != BreakerState::Closed) {
            findings.push(format!(
                "the circuit breaker of {} is {}",
                circuit.circuit,
                circuit.state.as_str()
            ));
        }
        findings.extend(components.iter().filter_map(|one| one.finding.clone()));
        let status = match (ready, findings.is_empty()) {
            (false, _) => Status::Fail,
            (true, true) => Status::Pass,
            (true, false) => Status::Warn,
        };
        Self { status, engine, ready, nodes, leader, last_success: None, components, circuits, findings }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        Client, Error, ErrorKind,
        fake_engine::{FakeEngine, Fault},
        layer::BreakerPolicy,
    };

    fn node(name: &str, ready: bool) -> NodeHealth {
        NodeHealth::new(name, ready, "follower").leads(Some(false))
    }

    #[test]
    fn leader_is_the_ready_node_that_leads() {
        let leader = |ready| node("b", ready).leads(Some(true));
        let assess = |nodes| {
            ClientHealth::assess("fake", Health::new(true, nodes), 0.8, Vec::new(), Vec::new()).leader
        };
        assert_eq!(assess(vec![node("a", true), leader(true), node("c", true)]).as_deref(), Some("b"));
        assert_eq!(assess(vec![node("a", true), leader(false)]), None);
        assert_eq!(assess(vec![node("a", true).leads(None)]), None);
    }

    #[test]
    fn findings_warn_and_an_engine_that_is_not_ready_fails() {
        let health = Health::new;
        let assess = |health, open| ClientHealth::assess("fake", health, 0.8, open, Vec::new());
        let good = assess(health(true, vec![node("a", true)]), Vec::new());
        assert_eq!((good.status, good.findings.len()), (Status::Pass, 0));
        let lame = assess(health(true, vec![node("a", true), node("b", false)]), Vec::new());
        assert_eq!((lame.status, lame.findings), (Status::Warn, vec!["b is not ready: follower".to_owned()]));
        let dead = assess(health(false, vec![node("a", false)]), Vec::new());
        assert_eq!((dead.status, dead.findings.len()), (Status::Fail, 2));
        let queue = |used| vec![ComponentHealth::new("producer", &"orders".into()).queue(used, 100)];
        assert_eq!(assess(health(true, Vec::new()), queue(79)).status, Status::Pass);
        let full = assess(health(true, Vec::new()), queue(80));
        assert_eq!(full.findings, ["the producer of orders uses 80 % of its memory"]);
    }

    #[tokio::test(start_paused = true)]
    async fn client_reports_queues_breakers_and_last_success() {
        let fake = FakeEngine::with_topic("orders", 1);
        let engine: crate::engine::SharedEngine = Arc::new(fake.clone());
        let client = Client::builder("x:").breaker(BreakerPolicy::default()).from_engine(engine).unwrap();
        let before = client.health().await.unwrap();
        assert_eq!((before.status, before.last_success), (Status::Pass, None));

        let orders = client.producer("orders").buffer_memory(1000).start().await.unwrap();
        orders.send("a").await.unwrap();
        tokio::time::advance(Duration::from_secs(7)).await;
        fake.fail_appends([Fault::Hold]);
        let _waits = orders.enqueue("x".repeat(900)).await.unwrap();
        let full = client.health().await.unwrap();
        assert_eq!(full.last_success, Some(Duration::from_secs(7)));
        assert_eq!(full.status, Status::Warn, "{full:?}");
        let queue = full.components[0].queue.unwrap();
        assert!(queue.used >= 900 && queue.limit == 1000, "{full:?}");
        fake.release(1);
        orders.flush().await.unwrap();

        let refused = Error::new(ErrorKind::ConnectionRefused, "refused");
        fake.fail_appends(vec![Fault::Refuse(refused); 5]);
        let _fails = orders.enqueue("b").await.unwrap();
        while client
            .breakers()
            .unwrap()
            .troubled()
            .iter()
            .all(|circuit| circuit.state == BreakerState::Closed)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let open = client.health().await.unwrap();
        assert_eq!((open.status, open.circuits.len()), (Status::Warn, 1), "{open:?}");
        assert!(open.findings[0].contains("the circuit breaker of orders/0 is open"), "{open:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn health_check_has_a_timeout() {
        use crate::layer::testing::hang_health;
        let client = Client::from_engine(hang_health());
        let began = Instant::now();
        let error = client.health().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::RequestTimeout, Duration::from_secs(5)));
    }
}
