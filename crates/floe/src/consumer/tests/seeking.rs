//! Pause, resume, seek, position, lag.

use super::*;

fn from_beginning(engine: &FakeEngine) -> ConsumerBuilder {
    over(engine).consumer(TOPIC).from(StartAt::Beginning)
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_keeps_its_position() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 2, 4).await;
    fill(&engine, 1, 2, 4).await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    let first = next(&mut consumer).await;
    consumer.pause(&[first.partition, 99]);
    let other = 1 - first.partition;
    for expected in 0..8 {
        let message = next(&mut consumer).await;
        assert_eq!((message.partition, message.offset), (other, expected));
    }
    assert_silent(&mut consumer).await;
    assert_eq!(consumer.position(first.partition), Some(1));
    consumer.resume(&[first.partition]);
    assert_eq!(offsets(&mut consumer, 7).await, (1..8).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn paused_partitions_neither_block_others_nor_grow() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    let mut consumer = from_beginning(&engine).prefetch_bytes(1).start().await.unwrap();
    consumer.pause(&[0]);
    fill(&engine, 0, 50, 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fill(&engine, 1, 50, 4).await;
    for expected in 0..200 {
        let message = next(&mut consumer).await;
        assert_eq!((message.partition, message.offset), (1, expected));
    }
    let (_, records) = consumer.core.shared.queue.held();
    assert!(records <= 4, "{records} records of a paused partition were read ahead");
}

#[tokio::test(start_paused = true)]
async fn pause_and_resume_are_idempotent() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    consumer.resume(&[0]);
    offsets(&mut consumer, 1).await;
    consumer.pause(&[0]);
    consumer.pause(&[0]);
    assert_silent(&mut consumer).await;
    consumer.resume(&[0]);
    assert_eq!(offsets(&mut consumer, 9).await, (1..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_seek_drops_prefetched_records() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 4, 3).await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    offsets(&mut consumer, 2).await;
    for (to, expected) in [
        (StartAt::Offset(7), vec![7, 8, 9]),
        (StartAt::Beginning, vec![0, 1]),
        (StartAt::BeforeEnd(1), vec![11]),
        (StartAt::Offset(4), vec![4, 5, 6, 7, 8, 9, 10, 11]),
    ] {
        consumer.seek(0, to).await.unwrap();
        assert_eq!(consumer.position(0), Some(expected[0]));
        assert_eq!(offsets(&mut consumer, expected.len()).await, expected, "{to:?}");
    }
    assert_silent(&mut consumer).await;
    assert_eq!(consumer.core.shared.queue.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refused_seek_changes_nothing() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    offsets(&mut consumer, 2).await;
    for (partition, to, kind) in [
        (0, StartAt::Offset(11), ErrorKind::OffsetOutOfRange),
        (7, StartAt::Beginning, ErrorKind::PartitionNotFound),
        (0, StartAt::StoredOrEnd, ErrorKind::InvalidCommand),
    ] {
        assert_eq!(consumer.seek(partition, to).await.unwrap_err().kind(), kind);
    }
    assert_eq!(offsets(&mut consumer, 8).await, (2..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_seek_moves_the_stored_offset_back_only_by_a_commit() {
    let engine = ten().await;
    let builder = over(&engine).consumer(TOPIC).group("g").commit(CommitPolicy::PerRecord);
    let mut consumer = builder.start().await.unwrap();
    offsets(&mut consumer, 6).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(5));
    consumer.seek(0, StartAt::Offset(2)).await.unwrap();
    assert_eq!(offsets(&mut consumer, 2).await, [2, 3]);
    assert_eq!(stored(&engine, "g", 0).await, Some(5), "not by the policy");
    consumer.commit().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(4));
    consumer.seek(0, StartAt::Offset(1)).await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(1), "nothing handed out: where reading goes on");
    consumer.seek(0, StartAt::Offset(9)).await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(1), "a seek forward finishes nothing");
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_before_a_seek_have_no_effect() {
    let engine = ten().await;
    let mut consumer =
        over(&engine).consumer(TOPIC).group("g").ack_mode(AckMode::Explicit).start().await.unwrap();
    let before = next(&mut consumer).await;
    consumer.seek(0, StartAt::Beginning).await.unwrap();
    let after = next(&mut consumer).await;
    before.ack();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(0), "the start");
    after.ack();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn seek_revives_a_consumer_that_has_ended() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    assert_eq!(drain(&mut consumer).await.len(), 10);
    consumer.seek(0, StartAt::Offset(8)).await.unwrap();
    assert_eq!(drain(&mut consumer).await, [Ok(8), Ok(9)]);
}

#[tokio::test(start_paused = true)]
async fn lag_and_positions() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 2, 3).await;
    fill(&engine, 1, 1, 2).await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    assert_eq!(consumer.lag().await.unwrap(), 8);
    offsets(&mut consumer, 5).await;
    assert_eq!(consumer.lag().await.unwrap(), 3);
    assert_eq!(consumer.position(2), None);
    let positions = [consumer.position(0).unwrap(), consumer.position(1).unwrap()];
    assert_eq!(positions.iter().sum::<i64>(), 5);
}
