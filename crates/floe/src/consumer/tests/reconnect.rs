//! Failed readers.

use super::*;
use crate::RetryPolicy;

fn from_beginning(engine: &FakeEngine) -> ConsumerBuilder {
    over(engine).consumer(TOPIC).from(StartAt::Beginning)
}

#[tokio::test(start_paused = true)]
async fn reconnects_lose_and_duplicate_nothing() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 20, 2).await;
    fill(&engine, 1, 20, 2).await;
    let mut consumer = from_beginning(&engine).prefetch_bytes(1).stop_at_end().start().await.unwrap();
    let mut came = [Vec::new(), Vec::new()];
    let mut turn = 0;
    while let Some(message) = consumer.try_next().await.unwrap() {
        came[message.partition as usize].push(message.offset);
        turn += 1;
        match turn % 9 {
            0 => engine.fail_reads([broken()]),
            3 => engine.fail_reads([Error::new(ErrorKind::NotLeader, "moved")]),
            6 => engine.close_reads(1),
            _ => {}
        }
    }
    assert_eq!(came[0], (0..40).collect::<Vec<_>>());
    assert_eq!(came[1], (0..40).collect::<Vec<_>>());
    assert!(engine.opened_at().len() > 8, "nothing broke");
}

#[tokio::test(start_paused = true)]
async fn backoff_grows_and_resets_after_a_batch() {
    let engine = ten().await;
    engine.fail_opens((0..8).map(|_| broken()));
    let mut consumer = from_beginning(&engine).prefetch_bytes(1).start().await.unwrap();
    assert_eq!(next(&mut consumer).await.offset, 0);
    let full = [100, 200, 400, 800, 1600, 3200, 5000, 5000];
    let opened = engine.opened_at();
    assert_eq!(opened.len(), 9);
    for (pair, full) in opened.windows(2).zip(full) {
        let waited = pair[1] - pair[0];
        let full = Duration::from_millis(full);
        assert!(waited <= full + Duration::from_millis(2), "{waited:?} for {full:?}");
    }
    // Each delay may be short, but not all eight.
    assert!(opened[8] - opened[0] > Duration::from_millis(100), "{opened:?}");
    offsets(&mut consumer, 9).await;
    let broke_at = Instant::now();
    engine.fail_reads([broken()]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let waited = *engine.opened_at().last().unwrap() - broke_at;
    assert!(waited <= Duration::from_millis(102), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_error_of_the_last_attempt_is_returned_once() {
    let engine = ten().await;
    engine.fail_opens((0..100).map(|_| broken()));
    let policy = RetryPolicy::default().max_attempts(4);
    let mut consumer = from_beginning(&engine).retry(policy).start().await.unwrap();
    let error = next_error(&mut consumer).await;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::NetworkError, 4));
    assert!(consumer.try_next().await.unwrap().is_none());
    assert_eq!(engine.opened_at().len(), 4);

    let mut consumer = from_beginning(&engine).retry(RetryPolicy::never()).start().await.unwrap();
    assert_eq!(next_error(&mut consumer).await.kind(), ErrorKind::NetworkError);
    assert!(consumer.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_retried() {
    let engine = ten().await;
    engine.fail_reads([Error::new(ErrorKind::CorruptData, "a segment is damaged")]);
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    assert_eq!(drain(&mut consumer).await, [Err(ErrorKind::CorruptData)]);
    assert_eq!(engine.opened_at().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_contradicting_engine_is_not_retried_without_end() {
    let engine = ten().await;
    engine.fail_reads((0..100).map(|_| Error::new(ErrorKind::OffsetOutOfRange, "not here")));
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    assert_eq!(drain(&mut consumer).await, [Err(ErrorKind::OffsetOutOfRange)]);
    assert_eq!(engine.opened_at().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn eviction_during_an_outage_is_a_gap() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).prefetch_bytes(1).start().await.unwrap();
    offsets(&mut consumer, 6).await;
    engine.fail_reads([broken()]);
    engine.evict(TOPIC, 0, 9);
    // Prefetched records come first.
    let mut came = Vec::new();
    let gap = loop {
        match consumer.try_next().await {
            Ok(message) => came.push(message.unwrap().offset),
            Err(error) => break Gap::of(&error).unwrap().clone(),
        }
    };
    assert_eq!((gap.from, gap.to, gap.reason), (6 + came.len() as i64, 9, GapReason::Evicted));
    assert_eq!(offsets(&mut consumer, 1).await, [9]);
}
