//! Failed appends: draining, order, backoff, lookup of lost acknowledgements, final failure.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{counts, enqueue_all, lost, orders, over, refused, rejected, settle, values};
use crate::{
    Client, Effect, Error, ErrorKind, RetryPolicy,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
    layer::{Breaker, BreakerPolicy, BreakerState},
};

#[tokio::test(start_paused = true)]
async fn refused_batches_are_retried_in_order() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold, Fault::Refuse(refused())]);
    let orders = builder.batch_size(150).start().await.unwrap();
    let names: Vec<_> = (0..6).map(|n| n.to_string().repeat(100)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let deliveries = enqueue_all(&orders, &names).await;
    settle().await;
    // The second was refused at once: no append starts while the first has no result.
    assert_eq!(engine.appends(), 2);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(engine.appends(), 2);
    engine.release(1);
    for (offset, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, Some(offset));
    }
    assert_eq!(values(&engine, 0), names);
    assert_eq!(orders.stats().retries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_causes_no_duplicate() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::LoseAnswer(lost())]);
    let orders = builder.start().await.unwrap();
    assert_eq!(orders.send("a").await.unwrap().offset, Some(0));
    assert_eq!(orders.send("b").await.unwrap().offset, Some(1));
    assert_eq!(values(&engine, 0), ["a", "b"]);
    assert_eq!((engine.appends(), orders.stats().retries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_lookup_skips_batches_of_other_producers() {
    let (engine, builder) = orders();
    let (_, other) = over(engine.clone());
    let other = other.start().await.unwrap();
    other.send("before").await.unwrap();
    let orders = builder.start().await.unwrap();
    engine.fail_appends([Fault::LoseAnswer(lost())]);
    let delivery = orders.enqueue("mine").await.unwrap();
    settle().await;
    other.send("after").await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, Some(1));
    assert_eq!(values(&engine, 0), ["before", "mine", "after"]);
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_batch_that_is_not_found_is_retried() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(lost()), Fault::Refuse(lost())]);
    let orders = builder.start().await.unwrap();
    assert_eq!(orders.send("a").await.unwrap().offset, Some(0));
    assert_eq!((values(&engine, 0), engine.appends()), (vec!["a".to_owned()], 3));
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_is_retried() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::LoseAnswer(lost())]);
    engine.fail_reads([lost(), lost()]);
    let orders = builder.start().await.unwrap();
    assert_eq!(orders.send("a").await.unwrap().offset, Some(0));
    assert_eq!((values(&engine, 0).len(), engine.appends()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_tail_leaves_the_effect_unknown_at_the_timeout() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::LoseAnswer(lost())]);
    engine.fail_reads(vec![lost(); 1000]);
    let orders = builder.timeout(Duration::from_secs(9)).start().await.unwrap();
    let began = Instant::now();
    let error = orders.send("a").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
    assert_eq!(began.elapsed(), Duration::from_secs(9));
    assert_eq!(engine.appends(), 1, "no blind retry");
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_offsets_gets_a_duplicate() {
    let mut capabilities = Capabilities::FULL;
    capabilities.offsets = false;
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(capabilities));
    engine.fail_appends([Fault::LoseAnswer(lost())]);
    let orders = builder.start().await.unwrap();
    orders.send("a").await.unwrap();
    assert_eq!(values(&engine, 0), ["a", "a"]);
    let batches = engine.batches("orders", 0);
    assert_eq!(batches[0].header().producer, batches[1].header().producer, "readers recognise the duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_without_effect_keeps_the_effect_unknown() {
    let mut capabilities = Capabilities::FULL;
    capabilities.offsets = false;
    for last in [refused(), rejected()] {
        let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(capabilities));
        engine.fail_appends([Fault::LoseAnswer(lost())]);
        engine.fail_appends(vec![Fault::Refuse(last.clone()); 1000]);
        let orders = builder.timeout(Duration::from_secs(9)).start().await.unwrap();
        let error = orders.send("a").await.unwrap_err();
        assert_eq!((error.effect(), values(&engine, 0).len()), (Effect::Unknown, 1), "{last}");
    }
    // A lookup decides the effect.
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(lost()), Fault::Refuse(rejected())]);
    let error = builder.start().await.unwrap().send("a").await.unwrap_err();
    assert_eq!((error.effect(), values(&engine, 0).len()), (Effect::None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_fails_its_batch_only() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Pass, Fault::Refuse(rejected())]);
    let orders = builder.batch_size(150).start().await.unwrap();
    let names = ["a", "b", "c"].map(|name| name.repeat(100));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut deliveries = enqueue_all(&orders, &names).await.into_iter();
    let began = Instant::now();
    assert_eq!(deliveries.next().unwrap().await.unwrap().offset, Some(0));
    let error = deliveries.next().unwrap().await.unwrap_err();
    assert_eq!((error.kind(), error.effect(), error.attempts()), (ErrorKind::ServerError, Effect::None, 1));
    super::assert_at_orders(&error, 0);
    assert_eq!(deliveries.next().unwrap().await.unwrap().offset, Some(1));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(values(&engine, 0), [names[0], names[2]]);
}

#[tokio::test(start_paused = true)]
async fn all_records_of_a_failed_batch_get_the_error() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Refuse(rejected())]);
    let orders = builder.linger(Duration::from_millis(1)).start().await.unwrap();
    for delivery in enqueue_all(&orders, &["a", "b", "c"]).await {
        assert_eq!(delivery.await.unwrap_err().kind(), ErrorKind::ServerError);
    }
    assert_eq!(orders.stats().failed, 3);
    orders.flush().await.expect("each failure was observed");
}

#[tokio::test(start_paused = true)]
async fn lookups_pass_an_open_circuit_breaker() {
    let engine = FakeEngine::with_topic("orders", 1);
    let policy = BreakerPolicy::default();
    let (guarded, breakers) = Breaker::around(policy, Arc::new(engine.clone()));
    let orders = Client::from_engine(guarded).producer("orders").start().await.unwrap();
    let refusals = (1..policy.failures).map(|_| Fault::Refuse(lost().with_effect(Effect::None)));
    engine.fail_appends(refusals.chain([Fault::LoseAnswer(lost())]));
    let began = Instant::now();
    orders.send("x").await.unwrap();
    assert!(began.elapsed() < policy.open_for, "{:?}", began.elapsed());
    assert_eq!(values(&engine, 0), ["x"]);
    assert_eq!(orders.stats().retries, u64::from(policy.failures - 1), "the batch was found, not retried");
    assert!(breakers.troubled().iter().all(|circuit| circuit.state != BreakerState::Open), "{breakers:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_are_limited() {
    let (engine, builder) = orders();
    engine.fail_appends(vec![Fault::Refuse(refused()); 3]);
    let policy = RetryPolicy::default().max_attempts(3);
    let orders = builder.retry(policy).start().await.unwrap();
    let error = orders.send("a").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::NotLeader, 3));
    assert_eq!(orders.send("b").await.unwrap().offset, Some(0));
    assert_eq!(engine.appends(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_looked_up_as_well() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::LoseAnswer(lost()), Fault::Refuse(lost())]);
    let orders = builder.retry(RetryPolicy::never()).start().await.unwrap();
    assert_eq!(orders.send("a").await.unwrap().offset, Some(0));
    let error = orders.send("b").await.unwrap_err();
    assert_eq!((error.kind(), values(&engine, 0).len()), (ErrorKind::NetworkError, 1));
}

#[tokio::test(start_paused = true)]
async fn backoff_stays_within_its_bounds() {
    let (engine, builder) = orders();
    engine.fail_appends(vec![Fault::Refuse(refused()); 5]);
    let policy = RetryPolicy::default().first_delay(Duration::from_secs(1)).max_delay(Duration::from_secs(4));
    let orders = builder.retry(policy).start().await.unwrap();
    let began = Instant::now();
    orders.send("a").await.unwrap();
    // At most 1 + 2 + 4 + 4 + 4; five delays near zero are too unlikely to occur.
    assert!(began.elapsed() <= Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_delay_that_an_engine_suggests_is_kept() {
    let (engine, builder) = orders();
    let limited = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(8));
    engine.fail_appends([Fault::Refuse(limited)]);
    let orders = builder.start().await.unwrap();
    let began = Instant::now();
    orders.send("a").await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_batch_fails_at_its_timeout_and_later_ones_are_sent() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.timeout(Duration::from_secs(3)).start().await.unwrap();
    let began = Instant::now();
    let first = orders.enqueue("a").await.unwrap();
    settle().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = orders.enqueue("b").await.unwrap();
    let error = first.await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
    super::assert_at_orders(&error, 0);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(second.await.unwrap().offset, Some(0));
    assert_eq!(began.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_never_sent_times_out_without_effect() {
    let mut capabilities = Capabilities::FULL;
    capabilities.append_window = 1;
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(capabilities));
    engine.fail_appends(vec![Fault::Hold; 9]);
    let limit = Duration::from_secs(3);
    let orders = builder.timeout(limit).batch_size(150).start().await.unwrap();
    let began = Instant::now();
    let [a, b, open] = ["a", "b", "c"].map(|name| name.repeat(100));
    let deliveries = enqueue_all(&orders, &[&a, &b, &open]).await;
    let mut errors = Vec::new();
    for delivery in deliveries {
        errors.push(delivery.await.unwrap_err());
        assert_eq!(began.elapsed(), limit);
    }
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::RequestTimeout));
    assert_eq!(errors[0].effect(), Effect::Unknown);
    assert_eq!(errors[1].effect(), Effect::None);
    assert_eq!(errors[2].effect(), Effect::None);
    assert!(counts(&engine, 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_the_timeout_with_the_last_error() {
    let (engine, builder) = orders();
    engine.fail_appends(vec![Fault::Refuse(refused()); 1000]);
    let orders = builder.timeout(Duration::from_secs(20)).start().await.unwrap();
    let began = Instant::now();
    let error = orders.send("a").await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::None));
    assert!(error.message().contains("producer.timeout") && error.partition() == Some(0), "{error}");
    assert_eq!(error.attempts() as usize, engine.appends());
    assert!(error.attempts() > 5, "{error}");
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains("not the leader"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_fails_without_retries() {
    let (engine, builder) = orders();
    let orders = builder.start().await.unwrap();
    orders.send("a").await.unwrap();
    crate::engine::Engine::delete_topic(&engine, "orders".into()).await.unwrap();
    assert_eq!(orders.send("b").await.unwrap_err().kind(), ErrorKind::TopicNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_clock_ends_at_the_timeout() {
    let (engine, builder) = orders();
    let limited = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::MAX);
    engine.fail_appends([Fault::Refuse(limited)]);
    let orders = builder.timeout(Duration::from_secs(60)).start().await.unwrap();
    let error = orders.send("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout, "{error:?}");
    assert!(orders.send("b").await.is_ok(), "the producer still works");
}
