//! Producer and consumer groups on the memory engine, with real threads.

use std::collections::HashMap;

use floe::{
    Client, Record, Result, TopicSpec,
    consumer::{AckMode, CommitPolicy, StartAt},
};

const PARTITIONS: u32 = 8;

async fn client_with_topic() -> Result<Client> {
    let client = Client::connect("memory:").await?;
    client.admin().create_topic(TopicSpec::new("orders").partitions(PARTITIONS)).await?;
    Ok(client)
}

/// Many small batches and a prefetch of one batch per partition, with concurrent producers: a lost wake-up would hang the
/// test.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_written_meanwhile_come_once_and_in_order() -> Result<()> {
    const RECORDS: u64 = 400;
    let client = client_with_topic().await?;
    let mut consumer = client.consumer("orders").from(StartAt::Beginning).prefetch_bytes(1).start().await?;
    let producer = client.producer("orders").batch_size(200).start().await?;
    let writers: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let producer = producer.clone();
            tokio::spawn(async move {
                for number in 0..RECORDS {
                    let record = Record::new(number.to_string()).partition(partition);
                    drop(producer.enqueue(record).await?);
                }
                producer.flush().await
            })
        })
        .collect();

    let mut next: HashMap<u32, u64> = HashMap::new();
    for _ in 0..RECORDS * u64::from(PARTITIONS) {
        let message = consumer.try_next().await?.expect("the consumer waits for more");
        let expected = next.entry(message.partition).or_default();
        assert_eq!(&message.value[..], expected.to_string().as_bytes());
        assert_eq!(message.offset, *expected as i64);
        *expected += 1;
    }
    for writer in writers {
        writer.await.unwrap()?;
    }
    assert_eq!(consumer.lag().await?, 0);
    client.close().await
}

/// Workers acknowledge out of order, and the consumer is dropped in between. Only uncommitted records are redelivered, and
/// none is skipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn group_resumes_without_skipping() -> Result<()> {
    const RECORDS: i64 = 500;
    let client = client_with_topic().await?;
    let producer = client.producer("orders").batch_size(300).start().await?;
    for number in 0..RECORDS {
        drop(producer.enqueue(Record::new(number.to_string()).partition(0)).await?);
    }
    producer.flush().await?;

    let mut finished = vec![false; RECORDS as usize];
    for round in 0..5 {
        let builder = client.consumer("orders").group("g").ack_mode(AckMode::Explicit);
        let mut consumer = builder.commit(CommitPolicy::PerRecord).start().await?;
        let from = consumer.position(0).unwrap();
        assert!(finished[..from as usize].iter().all(|done| *done), "the committed offset {from} is ahead");
        let mut held = Vec::new();
        for _ in 0..80 {
            held.push(consumer.try_next().await?.expect("more"));
            // Every third record stays unfinished for a while, or until the round ends.
            let (now, later) =
                held.into_iter().partition(|m| (m.offset + round) % 3 != 0 || m.offset < from + 40);
            for message in Vec::from_iter::<Vec<floe::Message>>(now) {
                message.ack();
                finished[message.offset as usize] = true;
            }
            held = later;
        }
    }
    let mut last = client.consumer("orders").group("g").stop_at_end().start().await?;
    assert!(last.position(0).unwrap() > 100, "no offset was committed");
    while let Some(message) = last.try_next().await? {
        finished[message.offset as usize] = true;
    }
    last.close().await?;
    assert!(finished.into_iter().all(|done| done));
    let rest = client.consumer("orders").group("g").partition(0).start().await?;
    assert_eq!(rest.position(0), Some(RECORDS));
    client.close().await
}

#[tokio::test]
async fn a_client_takes_any_limit_for_its_close() -> Result<()> {
    let client = client_with_topic().await?;
    let producer = client.producer("orders").start().await?;
    drop(producer.enqueue("buffered").await?);
    client.close_within(std::time::Duration::MAX).await?;
    assert_eq!(producer.stats().records, 1);
    Ok(())
}

/// A group commits in partitions added while it runs; telemetry and lag cover them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_commits_in_partitions_that_were_added() -> Result<()> {
    let client = client_with_topic().await?;
    let mut consumer = client
        .consumer("orders")
        .group("g")
        .from(StartAt::StoredOrEnd)
        .commit(CommitPolicy::Manual)
        .start()
        .await?;
    client.admin().add_partitions("orders", PARTITIONS + 1).await?;
    let producer = client.producer("orders").start().await?;
    producer.send_all(["a", "b", "c"].map(|value| Record::new(value).partition(PARTITIONS))).await?;
    for expected in ["a", "b"] {
        assert_eq!(consumer.try_next().await?.unwrap().value, expected);
    }
    assert_eq!(consumer.lag().await?, 1);
    consumer.commit().await?;
    let stored = client.admin().committed_offsets(Some("g")).await?;
    let new: Vec<_> =
        stored.iter().filter(|row| row.at.partition == PARTITIONS).map(|row| row.next).collect();
    assert_eq!(new, [2]);
    drop(consumer);
    // The next member finds the partition at its start or by discovery, with the same committed offset.
    let mut next = client.consumer("orders").group("g").start().await?;
    assert_eq!(next.try_next().await?.unwrap().value, "c");
    client.close().await
}
