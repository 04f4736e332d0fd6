//! The end of a consumer.

use super::*;

fn from_beginning(engine: &FakeEngine) -> ConsumerBuilder {
    over(engine).consumer(TOPIC).from(StartAt::Beginning)
}

#[tokio::test(start_paused = true)]
async fn stops_at_the_end_of_its_start() {
    let engine = FakeEngine::with_topic(TOPIC, 3);
    fill(&engine, 0, 4, 5).await;
    fill(&engine, 2, 1, 2).await;
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    let mut records = 0;
    while let Some(message) = consumer.try_next().await.unwrap() {
        records += 1;
        fill(&engine, message.partition, 1, 3).await;
        fill(&engine, 1, 1, 1).await;
    }
    assert_eq!(records, 22);
    assert!(consumer.try_next().await.unwrap().is_none());
    assert!(consumer.next_batch().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_end_inside_a_batch_cuts_the_batch() {
    let mut check = OffsetCheck::new(1, Some(3), offset_check::Holes::None);
    let found = check.accept(batch_at(0, &["a", "b", "c", "d", "e"]));
    let found: Vec<_> = found.into_iter().flat_map(Found::check).collect();
    let [Found::Records(part)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((part.first_offset(), part.next_offset(), part.len()), (1, 3, 2));
    assert!(check.is_complete());
}

#[tokio::test(start_paused = true)]
async fn an_empty_topic_ends_at_once() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    assert!(consumer.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_reported_once_after_its_records() {
    let engine = FakeEngine::with_topic(TOPIC, 3);
    fill(&engine, 1, 2, 2).await;
    let mut consumer = from_beginning(&engine).group("g").start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.delete_topic(Topic::from(TOPIC)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(drain(&mut consumer).await, [Ok(0), Ok(1), Ok(2), Ok(3), Err(ErrorKind::TopicNotFound)]);
    assert!(consumer.try_next().await.unwrap().is_none());
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_reported_while_a_partition_is_paused() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 1, 1).await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    consumer.pause(&[0]);
    engine.delete_topic(Topic::from(TOPIC)).await.unwrap();
    assert_eq!(next_error(&mut consumer).await.kind(), ErrorKind::TopicNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_failed_partition_leaves_the_others() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 1, 1, 1).await;
    engine.fail_reads_of(0, [Error::new(ErrorKind::AuthFailed, "not allowed")]);
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    let (mut errors, mut records) = (0, 0);
    for _ in 0..2 {
        match consumer.try_next().await {
            Ok(message) => records += i32::from(message.unwrap().partition == 1),
            Err(error) => {
                errors += 1;
                assert_eq!((error.kind(), error.partition()), (ErrorKind::AuthFailed, Some(0)));
            }
        }
    }
    assert_eq!((errors, records), (1, 1));
    fill(&engine, 0, 1, 1).await;
    fill(&engine, 1, 1, 1).await;
    assert_eq!(next(&mut consumer).await.partition, 1);
    assert_silent(&mut consumer).await;

    consumer.seek(0, StartAt::Beginning).await.unwrap();
    assert_eq!(next(&mut consumer).await.partition, 0, "a seek revives a partition that has ended");
}

#[tokio::test(start_paused = true)]
async fn the_consumer_ends_when_all_partitions_fail() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    engine.fail_reads((0..2).map(|_| Error::new(ErrorKind::AuthFailed, "not allowed")));
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    assert_eq!(drain(&mut consumer).await, [Err(ErrorKind::AuthFailed), Err(ErrorKind::AuthFailed)]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_stops_reading() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    let consumer = from_beginning(&engine).group("g").start().await.unwrap();
    let queue = Arc::clone(&consumer.core.shared.queue);
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&queue), 1, "a task is still there");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_end_is_an_error() {
    let engine = ten().await;
    engine.lose_batch(TOPIC, 0, 3);
    let began = Instant::now();
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    assert_eq!(offsets(&mut consumer, 9).await.len(), 9);
    let error = next_error(&mut consumer).await;
    assert_eq!(error.kind(), ErrorKind::RequestTimeout);
    assert!(error.to_string().contains("offset 9") && error.to_string().contains("ends at 10"), "{error}");
    assert_eq!((began.elapsed().as_secs(), engine.opened_at().len()), (60, 2));
    assert!(consumer.try_next().await.unwrap().is_none());

    let at = Topic::from(TOPIC).partition(0);
    let error = over(&engine).fetch(at, 9, FetchLimit::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout);
}
