//! Records that an exactly-once task wrote twice.

use floe_core::{engine::Capabilities, producer_id};

use super::*;

/// A partition in which a former owner of a task wrote on while its successor had begun.
async fn with_duplicates() -> FakeEngine {
    // A log that fences takes none of these records.
    let engine = FakeEngine::with_topic(TOPIC, 1)
        .with_capabilities(Capabilities::FULL.with(|it| it.conditional_appends = false));
    let task = producer_id::task_id("processor", "input", 0, 0);
    for batch in [
        from_producer(task, 1, 0, &["a", "b", "c"]),
        batch_at(1, &["other"]),
        // The successor has not seen "c".
        from_producer(task, 2, 2, &["c again", "d"]),
        from_producer(task, 1, 3, &["d again"]),
        from_producer(task, 2, 4, &["e"]),
    ] {
        append_batch(&engine, 0, batch).await;
    }
    engine
}

#[tokio::test(start_paused = true)]
async fn readers_return_each_record_of_a_task_once() {
    let engine = with_duplicates().await;
    let client = over(&engine);
    let expected = [(0, "a"), (1, "b"), (2, "c"), (3, "other"), (5, "d"), (7, "e")];
    let mut consumer = client.consumer(TOPIC).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = consumer.next().await {
        let message = message.unwrap();
        found.push((message.offset, String::from_utf8(message.value.to_vec()).unwrap()));
    }
    let read: Vec<_> = found.iter().map(|(offset, value)| (*offset, value.as_str())).collect();
    assert_eq!(read, expected);

    let mut consumer = client.consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    let mut batches = Vec::new();
    while batches.len() < expected.len() {
        let batch = consumer.next_batch().await.unwrap().unwrap();
        batches.extend(batch.records().map(|record| record.offset));
    }
    assert_eq!(batches, expected.map(|(offset, _)| offset));

    let fetched = client.fetch(Topic::from(TOPIC).partition(0), 0, FetchLimit::default()).await.unwrap();
    assert_eq!(fetched.iter().map(|message| message.offset).collect::<Vec<_>>(), batches);
}

#[tokio::test(start_paused = true)]
async fn reader_that_goes_back_reads_again() {
    let engine = with_duplicates().await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(offsets(&mut consumer, 6).await, [0, 1, 2, 3, 5, 7]);
    consumer.seek(0, StartAt::Offset(1)).await.unwrap();
    assert_eq!(offsets(&mut consumer, 5).await, [1, 2, 3, 5, 7]);
}

#[tokio::test(start_paused = true)]
async fn reader_that_reconnects_goes_on() {
    let engine = with_duplicates().await;
    let task = producer_id::task_id("processor", "input", 0, 0);
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(offsets(&mut consumer, 6).await, [0, 1, 2, 3, 5, 7]);
    engine.fail_reads([broken()]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    append_batch(&engine, 0, from_producer(task, 2, 4, &["e again", "f"])).await;
    assert_eq!(offsets(&mut consumer, 1).await, [9]);
}
