//! Stored offsets of groups.

use super::*;

fn in_group(engine: &FakeEngine) -> ConsumerBuilder {
    over(engine).consumer(TOPIC).group("g")
}

#[tokio::test(start_paused = true)]
async fn the_interval_commits_finished_records() {
    let engine = ten().await;
    let period = Duration::from_secs(5);
    let mut consumer = in_group(&engine).commit(CommitPolicy::Interval(period)).start().await.unwrap();
    offsets(&mut consumer, 4).await;
    assert_eq!(stored(&engine, "g", 0).await, None, "not yet");
    tokio::time::sleep(period * 2).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(3), "the fourth is being handled");
    let commits = engine.commits();
    tokio::time::sleep(period * 10).await;
    assert_eq!(engine.commits(), commits, "nothing changed");
    assert_silent_after(&mut consumer, 6).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(10));
}

/// Takes `count` more records and requests another one, which does not arrive.
async fn assert_silent_after(consumer: &mut Consumer, count: usize) {
    offsets(consumer, count).await;
    assert_silent(consumer).await;
}

#[tokio::test(start_paused = true)]
async fn per_record_commits_before_the_next_is_handed_out() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).commit(CommitPolicy::PerRecord).start().await.unwrap();
    for expected in 0..10 {
        assert_eq!(next(&mut consumer).await.offset, expected);
        assert_eq!(stored(&engine, "g", 0).await, (expected > 0).then_some(expected));
    }
    assert_silent(&mut consumer).await;
    assert_eq!((stored(&engine, "g", 0).await, engine.commits()), (Some(10), 10));
}

#[tokio::test(start_paused = true)]
async fn manual_commits_only_on_request() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).commit(CommitPolicy::Manual).start().await.unwrap();
    offsets(&mut consumer, 4).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(engine.commits(), 0);
    consumer.commit().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(4), "everything handed out counts");
    consumer.commit().await.unwrap();
    assert_eq!(engine.commits(), 1, "nothing changed");
    offsets(&mut consumer, 2).await;
    consumer.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn close_commits_the_last_record_too() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).start().await.unwrap();
    offsets(&mut consumer, 4).await;
    consumer.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_commits_and_ends_the_consumer() {
    let engine = ten().await;
    let client = over(&engine);
    let mut consumer = client.consumer(TOPIC).group("g").start().await.unwrap();
    offsets(&mut consumer, 4).await;
    client.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(3), "the fourth is being handled");
    assert_eq!(next_error(&mut consumer).await.kind(), ErrorKind::Closed);
    assert!(consumer.try_next().await.unwrap().is_none());
    assert_eq!(consumer.seek(0, StartAt::Beginning).await.unwrap_err().kind(), ErrorKind::Closed);
}

/// A group that begins at the end must not find the whole history when it resumes.
#[tokio::test(start_paused = true)]
async fn the_start_is_stored_in_partitions_without_news() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 1, 3).await;
    fill(&engine, 1, 1, 5).await;
    let mut consumer = in_group(&engine).from(StartAt::End).start().await.unwrap();
    append(&engine, 0, &["news"]).await;
    assert_eq!(next(&mut consumer).await.offset, 3);
    consumer.close().await.unwrap();
    assert_eq!((stored(&engine, "g", 0).await, stored(&engine, "g", 1).await), (Some(4), Some(5)));

    // A start behind the stored offset moves nothing back.
    let consumer = in_group(&engine).from(StartAt::Beginning).start().await.unwrap();
    consumer.close().await.unwrap();
    assert_eq!((stored(&engine, "g", 0).await, stored(&engine, "g", 1).await), (Some(4), Some(5)));

    // A later start is stored without a record too.
    append(&engine, 1, &["skipped"]).await;
    let consumer = in_group(&engine).from(StartAt::End).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(stored(&engine, "g", 1).await, Some(6));
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_commits_nothing() {
    let engine = ten().await;
    let mut first = in_group(&engine).start().await.unwrap();
    offsets(&mut first, 3).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    offsets(&mut first, 3).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(2));
    let mut second = in_group(&engine).start().await.unwrap();
    assert_eq!(offsets(&mut second, 8).await, (2..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_finished_by_the_next_call() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).commit(CommitPolicy::PerRecord).start().await.unwrap();
    for (len, before) in [(3, None), (3, Some(3)), (3, Some(6)), (1, Some(9))] {
        assert_eq!(consumer.next_batch().await.unwrap().unwrap().len(), len);
        assert_eq!(stored(&engine, "g", 0).await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_unacknowledged_record_decides() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).ack_mode(AckMode::Explicit).start().await.unwrap();
    let mut messages = Vec::new();
    for _ in 0..6 {
        messages.push(next(&mut consumer).await);
    }
    let wait = || tokio::time::sleep(Duration::from_secs(11));
    for index in [5, 1, 2] {
        messages[index].ack();
    }
    wait().await;
    assert_eq!(stored(&engine, "g", 0).await, Some(0), "the start");
    messages[0].ack();
    messages[0].clone().ack();
    wait().await;
    assert_eq!(stored(&engine, "g", 0).await, Some(3));
    let batch = consumer.next_batch().await.unwrap().unwrap();
    batch.ack();
    messages[3].ack();
    messages[4].ack();
    consumer.close().await.unwrap();
    assert_eq!(stored(&engine, "g", 0).await, Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_retried() {
    let engine = ten().await;
    let mut consumer = in_group(&engine).commit(CommitPolicy::PerRecord).start().await.unwrap();
    next(&mut consumer).await;
    engine.fail_commits([broken()]);
    assert_eq!(next_error(&mut consumer).await.kind(), ErrorKind::NetworkError);
    assert_eq!(next(&mut consumer).await.offset, 1);
    assert_eq!(stored(&engine, "g", 0).await, Some(1));

    let mut consumer = in_group(&engine).start().await.unwrap();
    offsets(&mut consumer, 3).await;
    engine.fail_commits([broken()]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(1), "the interval's commit failed");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(3));
    engine.fail_commits([broken()]);
    assert_eq!(consumer.commit().await.unwrap_err().kind(), ErrorKind::NetworkError);
    engine.fail_commits([broken()]);
    assert_eq!(consumer.close().await.unwrap_err().kind(), ErrorKind::NetworkError);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_a_group_cannot_commit() {
    let mut consumer = over(&ten().await).consumer(TOPIC).start().await.unwrap();
    assert_eq!(consumer.commit().await.unwrap_err().kind(), ErrorKind::InvalidCommand);
    consumer.close().await.unwrap();
}
