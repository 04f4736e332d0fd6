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
async fn failures_open_it_time_and_trials_close_it() {
    let (faulty, calls) = Faulty::around(vec![broken(); 5]);
    let (engine, breakers) = around(faulty);
    let mut changes = breakers.changes();
    fail_topics(&engine, 5).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let error = engine.topics().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::CircuitOpen, Some(Duration::from_secs(20))));
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
async fn answers_that_are_refusals_are_signs_of_life() {
    let refusals = (0..20).map(|_| Error::new(ErrorKind::TopicNotFound, "no"));
    let (faulty, calls) = Faulty::around(refusals.collect());
    let (engine, breakers) = around(faulty);
    for _ in 0..20 {
        engine.topics().await.unwrap_err();
    }
    assert_eq!((calls(), breakers.troubled().len()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn one_bad_server_does_not_keep_calls_from_the_others() {
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
async fn a_failure_counts_for_the_server_that_failed() {
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
async fn where_servers_are_not_known_partitions_fail_alone() {
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
async fn readers_that_break_count_and_open_ones_go_on() {
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

#[tokio::test(start_paused = true)]
async fn a_producer_gets_through_an_outage_in_order_and_soon_after_its_end() {
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
async fn trials_that_are_given_up_do_not_block_it() {
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
