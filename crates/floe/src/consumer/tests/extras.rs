//! Rate limits, chunks, and concurrent handlers.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::time::Instant;

use super::*;

fn rate(records_per_second: u32) -> NonZeroU32 {
    NonZeroU32::new(records_per_second).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_spaces_records() {
    let engine = ten().await;
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Beginning).rate_limit(rate(2)).start().await.unwrap();
    let began = Instant::now();
    assert_eq!(offsets(&mut consumer, 10).await, (0..10).collect::<Vec<_>>());
    let took = began.elapsed();
    // Nine delays of half a second, less the burst of an idle consumer.
    assert!((4300..4600).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_counts_the_records_of_batches() {
    let engine = ten().await;
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Beginning).rate_limit(rate(1)).start().await.unwrap();
    let began = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..4 {
        consumer.next_batch().await.unwrap().unwrap();
        waits.push(began.elapsed().as_secs_f64().round() as u64);
    }
    assert_eq!(waits, [0, 3, 6, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_loses_nothing_to_a_dropped_wait() {
    let engine = ten().await;
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Beginning).rate_limit(rate(1)).start().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..1000 {
        match tokio::time::timeout(Duration::from_millis(300), consumer.try_next()).await {
            Ok(next) => seen.push(next.unwrap().unwrap().offset),
            Err(_) if seen.len() == 10 => break,
            Err(_) => {}
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

fn offsets_of(messages: &[Message]) -> Vec<i64> {
    messages.iter().map(|message| message.offset).collect()
}

#[tokio::test(start_paused = true)]
async fn chunks_are_bounded() {
    let engine = ten().await;
    let client = over(&engine);
    let mut consumer = client.consumer(TOPIC).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let wait = Duration::from_secs(1);
    assert_eq!(offsets_of(&consumer.next_chunk(4, wait).await.unwrap()), [0, 1, 2, 3]);
    assert_eq!(consumer.try_next().await.unwrap().unwrap().offset, 4);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), [5, 6, 7, 8, 9]);
    assert!(consumer.next_chunk(100, wait).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_chunk_waits_for_its_first_record_and_then_for_its_limit() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    let appending = {
        let engine = engine.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            append(&engine, 0, &["a", "b"]).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            append(&engine, 0, &["c"]).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            append(&engine, 0, &["d"]).await;
        })
    };
    let wait = Duration::from_secs(10);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), [0, 1, 2]);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), [3]);
    appending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_chunk_is_neither_lost_nor_finished() {
    let engine = ten().await;
    let group = || over(&engine).consumer(TOPIC).group("g").commit(CommitPolicy::Manual);
    let mut consumer = group().start().await.unwrap();
    let wait = Duration::from_secs(10);
    let given_up = tokio::time::timeout(Duration::from_secs(5), consumer.next_chunk(100, wait)).await;
    assert!(given_up.is_err());
    consumer.commit().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(0), "nothing was handed out");
    assert_eq!(consumer.next_batch().await.unwrap_err().kind(), ErrorKind::InvalidCommand);
    assert_eq!(offsets(&mut consumer, 2).await, [0, 1]);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), (2..10).collect::<Vec<_>>());
    consumer.commit().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(10));
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_after_the_records_before_it() {
    let engine = ten().await;
    engine.lose_batch(TOPIC, 0, 1);
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let wait = Duration::from_secs(1);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), [0, 1, 2]);
    assert_eq!(consumer.next_chunk(100, wait).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(offsets_of(&consumer.next_chunk(100, wait).await.unwrap()), [6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn concurrent_handlers_acknowledge_their_records() {
    let engine = ten().await;
    let group = over(&engine).consumer(TOPIC).group("g").ack_mode(AckMode::Explicit).stop_at_end();
    let mut consumer = group.start().await.unwrap();
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcome = consumer
        .handle_each(4, async |message: Message| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100 - message.offset as u64)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            if message.offset == 6 { Err(Error::new(ErrorKind::ServerError, "six")) } else { Ok(()) }
        })
        .await;
    assert_eq!(outcome.unwrap_err().message(), "six");
    assert_eq!(most.load(Ordering::SeqCst), 4);
    consumer.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(6));
}

#[tokio::test(start_paused = true)]
async fn concurrent_handlers_need_explicit_acknowledgements() {
    let engine = ten().await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    let outcome = consumer.handle_each(2, async |_| Ok::<_, Error>(())).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidCommand);
}
