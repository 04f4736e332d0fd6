//! The breaker around an engine that fails on demand.

use futures_util::StreamExt;

use super::*;
use crate::{
    Topic,
    engine::{ReadRequest, Start},
    fake_engine::{FakeEngine, Fault},
    layer::testing::{Faulty, append, append_to, engine_of},
};

fn broken() -> Error {
    Error::new(ErrorKind::NetworkError, "broken")
}

fn around(engine: SharedEngine) -> (SharedEngine, Breakers) {
    Breaker::around(BreakerPolicy::default(), engine)
}

async fn fail_topics(engine: &SharedEngine, times: usize) {
    for _ in 0..times {
        assert_eq!(engine.topics().await.unwrap_err().kind(), ErrorKind::NetworkError);
    }
}

#[tokio::test(start_paused = true)]
async fn circuit_opens_on_failures_and_closes_after_trials() {
    let (faulty, calls) = Faulty::around(vec![broken(); 5]);
    let (engine, breakers) = around(faulty);
    let mut changes = breakers.changes();
    fail_topics(&engine, 5).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = engine.topics().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::CircuitOpen, Some(Duration::from_secs(20))));
    for said in ["in a row", "breaker.failures", "not attempted", "in 20.0s"] {
        assert!(error.message().contains(said), "{said}: {error}");
    }
    assert_eq!((error.operation(), calls()), (Some("topics"), 5), "it was not made");
    let [status] = breakers.troubled().try_into().unwrap();
    assert_eq!((status.circuit.as_str(), status.state), ("engine", BreakerState::Open));
    assert_eq!(status.time_left, Some(Duration::from_secs(20)));

    tokio::time::sleep(Duration::from_secs(20)).await;
    for _ in 0..3 {
        engine.topics().await.unwrap();
    }
    assert!(breakers.troubled().is_empty());
    drop((engine, breakers));
    let mut seen = Vec::new();
    while let Some(change) = changes.next().await {
        assert_eq!(&*change.circuit, "engine");
        seen.push((change.from, change.to));
    }
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(seen, [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed)]);
}

#[tokio::test(start_paused = true)]
async fn refusals_count_as_answers() {
    let refusals = (0..20).map(|_| Error::new(ErrorKind::TopicNotFound, "no"));
    let (faulty, calls) = Faulty::around(refusals.collect());
    let (engine, breakers) = around(faulty);
    for _ in 0..20 {
        engine.topics().await.unwrap_err();
    }
    assert_eq!((calls(), breakers.troubled().len()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn failing_server_does_not_block_the_others() {
    let fake = FakeEngine::with_topic("orders", 4);
    // Even partitions are led by one server, odd ones by another.
    fake.set_endpoints(|at| at.map(|at| if at.partition % 2 == 0 { "even:1" } else { "odd:1" }));
    fake.fail_appends(vec![Fault::Refuse(broken().with_endpoint("even:1")); 5]);
    let (engine, breakers) = around(engine_of(&fake));
    for _ in 0..5 {
        append_to(&engine, 0, 0).await.unwrap_err();
    }
    assert_eq!(breakers.troubled()[0].circuit, "even:1");
    let error = append_to(&engine, 2, 0).await.unwrap_err();
    assert_eq!((error.kind(), error.partition()), (ErrorKind::CircuitOpen, Some(2)));
    append_to(&engine, 1, 0).await.unwrap();
    append_to(&engine, 3, 0).await.unwrap();
    engine.topics().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failure_counts_for_the_server_that_failed() {
    let fake = FakeEngine::with_topic("orders", 1);
    fake.set_endpoints(|at| at.map(|_| "new:1"));
    // Sent while another server still led the partition.
    fake.fail_appends(vec![Fault::Refuse(broken().with_endpoint("old:1")); 5]);
    let (engine, breakers) = around(engine_of(&fake));
    for _ in 0..5 {
        append(&engine, 0).await.unwrap_err();
    }
    assert_eq!(breakers.troubled()[0].circuit, "old:1");
    append(&engine, 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn partitions_have_circuits_where_servers_are_unknown() {
    let fake = FakeEngine::with_topic("orders", 2);
    fake.fail_appends(vec![Fault::Refuse(broken()); 5]);
    let (engine, breakers) = around(engine_of(&fake));
    for _ in 0..5 {
        append_to(&engine, 0, 0).await.unwrap_err();
    }
    assert_eq!(breakers.troubled()[0].circuit, "orders/0");
    append_to(&engine, 1, 0).await.unwrap();
    assert_eq!(append_to(&engine, 0, 0).await.unwrap_err().kind(), ErrorKind::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn broken_readers_count_and_open_readers_go_on() {
    let fake = FakeEngine::with_topic("orders", 1);
    let (engine, breakers) = around(engine_of(&fake));
    let request = || ReadRequest::new(Topic::from("orders").partition(0), Start::Earliest);
    let mut survivor = engine.open(request()).await.unwrap();
    append(&engine, 0).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(engine.open(request()).await.unwrap());
    }
    fake.fail_reads((0..5).map(|_| broken()));
    for reader in &mut others {
        reader.next().await.unwrap_err();
    }
    assert_eq!(breakers.troubled()[0].state, BreakerState::Open);
    assert_eq!(engine.open(request()).await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert!(survivor.next().await.unwrap().is_some());
    engine.health().await.unwrap();
}

/// Calls that hang while the server fails, is found well again, and only then fail themselves.
#[tokio::test(start_paused = true)]
async fn late_failures_of_calls_from_before_an_outage_do_not_count() {
    let (slow, _) = Faulty::around((0..20).map(|_| broken()).collect());
    let breakers = Breakers::new(BreakerPolicy::default().open_for(Duration::from_millis(500)), None);
    let slow = Breaker::with(breakers.clone(), Delay(Duration::from_secs(20)).layer(slow));
    let hanging: Vec<_> = (0..8)
        .map(|_| {
            let slow = slow.clone();
            tokio::spawn(async move { slow.topics().await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;

    let (faulty, _) = Faulty::around(vec![broken(); 5]);
    let engine = Breaker::with(breakers.clone(), faulty);
    fail_topics(&engine, 5).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..3 {
        engine.topics().await.unwrap();
    }
    for call in hanging {
        call.await.unwrap().unwrap_err();
    }
    assert!(breakers.troubled().is_empty(), "{:?}", breakers.troubled());
    engine.topics().await.unwrap();
}

/// Delays every call.
#[derive(Debug)]
struct Delay(Duration);

impl Layer for Delay {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        tokio::time::sleep(self.0).await;
        attempt().await
    }
}

#[tokio::test(start_paused = true)]
async fn producer_recovers_in_order_soon_after_an_outage() {
    let fake = FakeEngine::with_topic("orders", 1);
    let (engine, breakers) = around(engine_of(&fake));
    fake.fail_appends(vec![Fault::Refuse(broken().with_effect(crate::Effect::None)); 9]);
    let client = crate::Client::from_engine(engine);
    let orders = client.producer("orders").batch_size(1).start().await.unwrap();
    let began = Instant::now();
    let mut deliveries = Vec::new();
    for number in 0..20 {
        deliveries.push(orders.enqueue(number.to_string()).await.unwrap());
    }
    for (offset, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, Some(offset as i64));
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "no batch came near its timeout: {:?}",
        began.elapsed()
    );
    assert!(breakers.troubled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancelled_trials_do_not_block_the_circuit() {
    let fake = FakeEngine::with_topic("orders", 1);
    fake.fail_appends(vec![Fault::Refuse(broken()); 5]);
    let (engine, breakers) = around(engine_of(&fake));
    for _ in 0..5 {
        append(&engine, 0).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    fake.fail_appends(vec![Fault::Hold; 4]);
    for _ in 0..4 {
        let given_up = tokio::time::timeout(Duration::from_secs(1), append(&engine, 0)).await;
        assert!(given_up.is_err(), "it was let through and hangs");
    }
    assert_eq!(breakers.troubled()[0].state, BreakerState::HalfOpen);
    for _ in 0..3 {
        append(&engine, 0).await.unwrap();
    }
    assert!(breakers.troubled().is_empty());
}

/// Fails every call of one kind.
#[derive(Debug)]
struct FailKind(OperationKind);

impl Layer for FailKind {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind == self.0 { Err(broken()) } else { attempt().await }
    }
}

/// A producer that recovers from a lost acknowledgement needs `log_end`, which the partition's leader answers.
#[tokio::test(start_paused = true)]
async fn log_end_is_gated_by_the_leaders_circuit_alone() {
    let fake = FakeEngine::with_topic("orders", 1);
    fake.set_endpoints(|at| Some(if at.is_some() { "leader:1" } else { "controller:1" }));
    let (engine, breakers) = around(FailKind(OperationKind::Topics).layer(engine_of(&fake)));
    fail_topics(&engine, 5).await;
    let open = |circuit: &str| {
        let troubled = breakers.troubled();
        troubled.iter().any(|status| status.circuit == circuit && status.state == BreakerState::Open)
    };
    assert!(open("controller:1"));
    let at = Topic::from("orders").partition(0);
    for _ in 0..3 {
        assert_eq!(engine.log_end(at.clone()).await.unwrap(), 0);
    }
    assert!(open("controller:1"), "the leader's answers say nothing about the controller");

    fake.fail_appends(vec![Fault::Refuse(broken().with_endpoint("leader:1")); 5]);
    for _ in 0..5 {
        append(&engine, 0).await.unwrap_err();
    }
    assert!(open("leader:1"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.log_end(at.clone()).await.unwrap();
    assert!(!open("leader:1"), "the answer proves that the leader is back");
}

#[test]
fn every_kind_has_the_circuit_of_its_target() {
    let fake = FakeEngine::with_topic("orders", 1);
    let key = |kind, fake: &FakeEngine| {
        let operation = Operation::new("fake", kind).with_topic(&Topic::from("orders")).with_partition(0);
        key_of(fake, &operation).to_string()
    };
    for &kind in OperationKind::ALL {
        let expected = match kind.target() {
            OperationTarget::Leader => "orders/0",
            OperationTarget::Offsets => "offsets",
            _ => "engine",
        };
        assert_eq!(key(kind, &fake), expected, "{}", kind.as_str());
    }
    fake.set_endpoints(|at| Some(if at.is_some() { "leader:1" } else { "controller:1" }));
    for &kind in OperationKind::ALL {
        let expected = match kind.target() {
            OperationTarget::Leader => "leader:1",
            OperationTarget::Offsets => "offsets",
            _ => "controller:1",
        };
        assert_eq!(key(kind, &fake), expected, "{}", kind.as_str());
    }
}

#[test]
fn every_error_kind_is_a_failure_an_answer_or_neither() {
    let kinds = |verdict| -> Vec<_> {
        let kinds = ErrorKind::ALL.iter().copied();
        kinds.filter(|kind| counts(&Error::new(*kind, "")) == verdict).map(ErrorKind::as_str).collect()
    };
    assert_eq!(
        kinds(Some(true)),
        ["connection_timeout", "connection_refused", "network_error", "request_timeout"]
    );
    assert_eq!(
        kinds(None),
        [
            "server_error",
            "not_leader",
            "rate_limited",
            "circuit_open",
            "invalid_config",
            "unsupported",
            "closed"
        ]
    );
    let overloaded = Error::new(ErrorKind::ServerError, "").with_retriable(true);
    assert_eq!(counts(&overloaded), Some(true));
}
