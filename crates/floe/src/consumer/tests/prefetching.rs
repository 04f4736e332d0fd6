//! Bounds and order of prefetching.

use super::*;

/// Lets every task run until it waits.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn batch_memory() -> usize {
    batch_at(1000, &["0:00", "0:00"]).len()
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_the_bound_and_one_batch_for_each_partition() {
    const PARTITIONS: u32 = 4;
    for bound in [1, 5 * batch_memory(), 23 * batch_memory() + 1] {
        let engine = FakeEngine::with_topic(TOPIC, PARTITIONS);
        for partition in 0..PARTITIONS {
            fill(&engine, partition, 25, 2).await;
        }
        let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
        let mut consumer = builder.prefetch_bytes(bound).start().await.unwrap();
        let mut records = 0;
        loop {
            settle().await;
            let (bytes, _) = consumer.core.shared.queue.held();
            assert!(bytes <= bound + PARTITIONS as usize * batch_memory(), "{bytes} of {bound}");
            if records == 0 {
                assert!(bytes >= bound, "only {bytes} of {bound} are used");
                assert!(bytes >= PARTITIONS as usize * (batch_memory() - 3), "a partition holds nothing");
            }
            match consumer.next_batch().await.unwrap() {
                Some(batch) => records += batch.len(),
                None => break,
            }
        }
        assert_eq!(records, 4 * 25 * 2);
        assert_eq!(consumer.core.shared.queue.held(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_bounded_too() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    fill(&engine, 0, 100, 3).await;
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let mut consumer = builder.prefetch_records(10).start().await.unwrap();
    settle().await;
    assert_eq!(consumer.core.shared.queue.held().1, 12);
    assert_eq!(offsets(&mut consumer, 300).await, (0..300).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn partitions_take_turns() {
    let engine = FakeEngine::with_topic(TOPIC, 3);
    fill(&engine, 0, 30, 4).await;
    fill(&engine, 1, 10, 1).await;
    fill(&engine, 2, 10, 2).await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    settle().await;
    let mut turns = Vec::new();
    for _ in 0..30 {
        turns.push(consumer.next_batch().await.unwrap().unwrap().partition);
    }
    for round in turns.chunks(3) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, [0, 1, 2], "{turns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_partition_does_not_starve_another() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    fill(&engine, 0, 100, 2).await;
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let mut consumer = builder.prefetch_bytes(10 * batch_memory()).start().await.unwrap();
    settle().await;
    fill(&engine, 1, 3, 2).await;
    settle().await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.push(consumer.next_batch().await.unwrap().unwrap().partition);
        settle().await;
    }
    assert_eq!(turns.iter().filter(|partition| **partition == 1).count(), 3, "{turns:?}");
}

#[tokio::test(start_paused = true)]
async fn compressed_batches_count_uncompressed() {
    use floe_wire::compress::{Codec, Compression};
    let engine = FakeEngine::with_topic(TOPIC, 1);
    let value = "x".repeat(10_000);
    for _ in 0..20 {
        let mut builder = BatchBuilder::new(64);
        builder.append(1, None, value.as_bytes(), &[]).unwrap();
        let compression = Compression { codec: Codec::Lz4, ..Compression::default() };
        let options = FinishOptions { compression, ..FinishOptions::default() };
        append_batch(&engine, 0, builder.finish(options).unwrap()).await;
    }
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning);
    let mut consumer = builder.prefetch_bytes(35_000).start().await.unwrap();
    settle().await;
    assert_eq!(consumer.core.shared.queue.held().1, 4);
    for _ in 0..20 {
        assert_eq!(next(&mut consumer).await.value, value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_partitions() {
    let engine = FakeEngine::with_topic(TOPIC, 1000);
    for partition in 0..1000 {
        fill(&engine, partition, 2, 1).await;
    }
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let mut consumer = builder.prefetch_bytes(1).start().await.unwrap();
    assert_eq!(drain(&mut consumer).await.len(), 2000);
}
