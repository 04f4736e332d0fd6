//! Public futures are `Send`, also with borrowed arguments, so that spawned tasks can await them.
//!
//! The compiler does most of the checking.

use floe::{Client, Record, TopicSpec, consumer::StartAt, producer::RecordMetadata};

async fn produce(client: Client, topic: String) -> floe::Result<Vec<RecordMetadata>> {
    let producer = client.producer(&*topic).start().await?;
    let (text, bytes) = (String::from("text"), vec![1u8, 2, 3]);
    let mut placed = vec![producer.send(text.as_str()).await?, producer.send(&bytes).await?];
    placed.push(producer.send(Record::keyed("key", bytes.as_slice())).await?);
    placed.push(producer.enqueue(&*bytes).await?.await?);
    placed.push(producer.enqueue(Record::new(&text).header("name", "value")).await?.await?);
    placed.extend(producer.send_all(bytes.chunks(1)).await?);
    placed.extend(producer.enqueue_all([text.as_str()]).await?.await?);
    let mut reused = Vec::new();
    for number in 0..3u8 {
        reused.clear();
        reused.push(number);
        placed.push(producer.enqueue(reused.as_slice()).await?.await?);
    }
    producer.flush().await?;
    assert!(producer.close().await?.undelivered.is_empty());
    Ok(placed)
}

async fn consume(client: Client, topic: String) -> floe::Result<Vec<Vec<u8>>> {
    let builder = client.consumer(&*topic).from(StartAt::Beginning).group("group").stop_at_end();
    let mut consumer = builder.start().await?;
    let mut values = Vec::new();
    if let Some(message) = consumer.try_next().await? {
        values.push(message.value.to_vec());
    }
    while let Some(batch) = consumer.next_batch().await? {
        values.extend(batch.borrowed().map(|record| record.value.to_vec()));
    }
    assert_eq!(consumer.lag().await?, 0);
    consumer.commit().await?;
    consumer.seek(0, StartAt::End).await?;
    consumer.close().await?;
    Ok(values)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_and_consumers_run_in_tasks() {
    let client = Client::connect("memory:").await.unwrap();
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let placed = tokio::spawn(produce(client.clone(), "orders".into())).await.unwrap().unwrap();
    let offsets: Vec<_> = placed.iter().map(|placed| placed.offset.unwrap()).collect();
    assert_eq!(offsets, (0..12).collect::<Vec<_>>());
    let values = tokio::spawn(consume(client, "orders".into())).await.unwrap().unwrap();
    let expected: [&[u8]; 12] =
        [b"text", &[1, 2, 3], &[1, 2, 3], &[1, 2, 3], b"text", &[1], &[2], &[3], b"text", &[0], &[1], &[2]];
    assert_eq!(values, expected);
}
