//! Producing: acknowledgements, offsets, partitions, limits, codecs.

use std::collections::BTreeSet;

use floe::{Codec, Record, consumer::FetchLimit, engine::Start, producer::RecordMetadata};

use crate::{
    CaseFailure, Context, Outcome,
    context::{self, drain, numbered, offsets, text, texts},
    failure::{check, check_eq, check_refused},
};

pub(crate) fn placed_offsets(placed: &[RecordMetadata]) -> Vec<i64> {
    placed.iter().map(|placed| placed.offset.unwrap_or(-1)).collect()
}

pub(crate) async fn append_assigns_dense_offsets(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let mut placed = Vec::new();
    for value in numbered("single", 0..10) {
        placed.push(producer.send(value).await?);
    }
    placed.extend(producer.send_all(numbered("many", 0..20)).await?);
    placed.extend(producer.enqueue_all(numbered("more", 20..40)).await?.await?);
    check_eq!(placed_offsets(&placed), (0..50).collect::<Vec<_>>(), "offsets acknowledged");
    check!(placed.iter().all(|placed| placed.partition == 0), "a record is in another partition: {placed:?}");

    let at = topic.partition(0);
    let base = c.append(&at, context::batch(&["a", "b", "c"])?).await?;
    check_eq!(base, Some(50), "offset acknowledged for a batch");
    let marks = c.client().admin().watermarks(at).await?;
    check_eq!((marks.start, marks.high), (0, 53), "watermarks");
    let read = c.read_to_end(&topic).await?;
    check_eq!(offsets(&read), (0..53).collect::<Vec<_>>(), "offsets read");
    Ok(())
}

pub(crate) async fn acknowledged_offset_holds_that_record(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    for number in 0..30 {
        let value = format!("record-{number}");
        let placed = if number % 3 == 0 {
            producer.send_all([value.clone(), "filler".to_owned()]).await?.remove(0)
        } else {
            producer.send(value.clone()).await?
        };
        let Some(offset) = placed.offset else {
            return Err(CaseFailure::new(format!("no offset was acknowledged for {value}")));
        };
        let limit = FetchLimit::default().records(1);
        let found = c.client().fetch(topic.partition(placed.partition), offset, limit).await?;
        check_eq!(texts(&found), [value], "record at the acknowledged offset {offset}");
        check_eq!(offsets(&found), [offset], "its offset");
    }
    Ok(())
}

pub(crate) async fn acknowledged_records_are_readable_at_once(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    for count in 1..=20 {
        producer.send(format!("record-{}", count - 1)).await?;
        let read = c.read_to_end(&topic).await?;
        check_eq!(texts(&read), numbered("record", 0..count), "records after {count} acknowledgements");
    }
    Ok(())
}

pub(crate) async fn records_come_back_in_order(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let values = numbered("record", 0..200);
    producer.send_all(values.clone()).await?;
    check_eq!(texts(&c.read(&topic, 200).await?), values, "values read");
    Ok(())
}

pub(crate) async fn keys_decide_the_partition(c: &Context) -> Outcome {
    // Partitions that the official Fluvio client chooses for these keys, of 10.
    let vectors = [("a", 7), ("b", 0), ("key-1", 9), ("key-2", 1), ("hello", 4), ("", 9)];
    let topic = c.topic_with(10).await?;
    let producer = c.client().producer(&topic).start().await?;
    for (key, partition) in vectors {
        let placed = producer.send(Record::keyed(key, format!("of {key:?}"))).await?;
        check_eq!(placed.partition, partition, "partition of key {key:?}");
        let mut consumer = c
            .client()
            .consumer(&topic)
            .partition(partition)
            .from(floe::consumer::StartAt::Beginning)
            .stop_at_end()
            .start()
            .await?;
        let found = texts(&drain(&mut consumer).await?);
        check!(found.contains(&format!("of {key:?}")), "partition {partition} holds {found:?}, not {key:?}");
    }
    Ok(())
}

pub(crate) async fn same_key_goes_to_the_same_partition(c: &Context) -> Outcome {
    let topic = c.topic_with(5).await?;
    let one = c.client().producer(&topic).start().await?;
    let other = c.client().producer(&topic).start().await?;
    for number in 0..20 {
        let key = format!("customer-{number}");
        let first = one.send(Record::keyed(key.clone(), "x")).await?.partition;
        let second = other.send(Record::keyed(key.clone(), "y")).await?.partition;
        check_eq!(second, first, "partition of {key} from another producer");
    }
    Ok(())
}

pub(crate) async fn keyless_records_reach_every_partition(c: &Context) -> Outcome {
    let topic = c.topic_with(4).await?;
    let producer = c.client().producer(&topic).start().await?;
    let mut reached = BTreeSet::new();
    for value in numbered("record", 0..40) {
        reached.insert(producer.send(value).await?.partition);
    }
    check_eq!(reached, (0..4).collect(), "partitions reached by 40 records one by one");
    Ok(())
}

pub(crate) async fn chosen_partition_is_obeyed(c: &Context) -> Outcome {
    let topic = c.topic_with(3).await?;
    let producer = c.client().producer(&topic).start().await?;
    for number in 0..12_u32 {
        let partition = number % 3;
        // Partitioning by key would choose another partition for most of them.
        let record = Record::keyed("one key", format!("record-{number}")).partition(partition);
        check_eq!(producer.send(record).await?.partition, partition, "partition of record {number}");
    }
    check_eq!(c.bounds(&topic).await?, [(0, 4), (0, 4), (0, 4)], "records in each partition");
    Ok(())
}

pub(crate) async fn too_large_record_is_refused(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).max_request_size(4 * 1024).start().await?;
    let before = producer.enqueue("before").await?;
    check_refused!(producer.send(vec![b'x'; 5 * 1024]).await, RecordTooLarge, "a record over the limit");
    let after = producer.enqueue("after").await?;
    let too_large = Record::new("y").header("large", vec![b'h'; 5 * 1024]);
    if c.capabilities().headers {
        check_refused!(producer.send(too_large).await, RecordTooLarge, "headers over the limit");
    }
    producer.send("last").await?;
    before.await?;
    after.await?;
    check_eq!(texts(&c.read(&topic, 3).await?), ["before", "after", "last"], "stored records");
    if c.capabilities().offsets {
        let marks = c.client().admin().watermarks(topic.partition(0)).await?;
        check_eq!(marks.high, 3, "offset after the last record");
    }
    Ok(())
}

pub(crate) async fn record_over_the_engines_limit_is_refused(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let size = c.capabilities().max_batch_bytes + 1;
    check_refused!(producer.send(vec![b'x'; size]).await, RecordTooLarge, "a record of {size} bytes");
    producer.send("fine").await?;
    check_eq!(texts(&c.read(&topic, 1).await?), ["fine"], "stored records");
    Ok(())
}

pub(crate) async fn every_codec_round_trips(c: &Context) -> Outcome {
    for codec in Codec::ALL {
        let topic = c.topic().await?;
        let producer =
            c.client().producer(&topic).compression(codec).compression_threshold(0).start().await?;
        let values: Vec<_> =
            (0..200).map(|number| format!("{number}: {}", "compressible ".repeat(10))).collect();
        producer.send_all(values.clone()).await?;
        producer.close().await?.into_result(&topic)?;
        let read = c.read(&topic, values.len()).await?;
        check_eq!(texts(&read), values, "values through {codec:?}");
    }
    Ok(())
}

pub(crate) async fn compressed_batches_stay_compressed(c: &Context) -> Outcome {
    let values = vec!["compressible ".repeat(20); 100];
    let raw: usize = values.iter().map(String::len).sum();
    // The linger time keeps all records in one batch until the flush.
    let hour = std::time::Duration::from_secs(3600);
    for codec in Codec::ALL {
        let topic = c.topic().await?;
        let builder = c.client().producer(&topic).linger(hour).compression(codec).compression_threshold(0);
        let producer = builder.start().await?;
        for value in &values {
            drop(producer.enqueue(value).await?);
        }
        producer.flush().await?;
        let mut reader = c.open(&topic.partition(0), Start::Earliest).await?;
        let Some(batch) = reader.next().await? else {
            return Err(CaseFailure::new("the reader ended".to_owned()));
        };
        check_eq!(batch.header().attributes.codec()?, codec, "codec of the stored batch");
        check_eq!(context::values_of(&batch)?.len(), values.len(), "records in the stored batch");
        if codec != Codec::None {
            check!(batch.len() < raw / 2, "{raw} bytes take {} with {codec:?}", batch.len());
        }
    }
    Ok(())
}

pub(crate) async fn flush_waits_for_every_record(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    for value in numbered("record", 0..500) {
        // Dropping the delivery must not lose the record.
        drop(producer.enqueue(value).await?);
    }
    producer.flush().await?;
    let marks = c.client().admin().watermarks(topic.partition(0)).await?;
    check_eq!(marks.high, 500, "records after flush");
    check_eq!(texts(&c.read_to_end(&topic).await?), numbered("record", 0..500), "values read");
    Ok(())
}

pub(crate) async fn lingering_records_are_sent_by_flush(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let hour = std::time::Duration::from_secs(3600);
    let producer = c.client().producer(&topic).linger(hour).start().await?;
    let mut deliveries = Vec::new();
    for value in numbered("record", 0..10) {
        deliveries.push(producer.enqueue(value).await?);
    }
    producer.flush().await?;
    for delivery in deliveries {
        delivery.await?;
    }
    check_eq!(texts(&c.read(&topic, 10).await?), numbered("record", 0..10), "values read");
    Ok(())
}

pub(crate) async fn closing_a_producer_delivers_everything(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let hour = std::time::Duration::from_secs(3600);
    let producer = c.client().producer(&topic).linger(hour).start().await?;
    for value in numbered("record", 0..25) {
        drop(producer.enqueue(value).await?);
    }
    let report = producer.close().await?;
    check_eq!(report.delivered, 25, "records delivered, by the report");
    check!(report.undelivered.is_empty(), "the report lists undelivered records: {report:?}");
    check_refused!(producer.send("late").await, Closed, "sending after close");
    check_refused!(producer.enqueue("late").await.map(drop), Closed, "enqueueing after close");
    check_eq!(texts(&c.read(&topic, 25).await?), numbered("record", 0..25), "values read");
    Ok(())
}

pub(crate) async fn shared_producer_serves_all_tasks(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (client, topic) = (c.client(), topic.clone());
        tasks.spawn(async move {
            let producer = client.shared_producer(&topic).await?;
            producer.send_all(numbered(&format!("task-{task}"), 0..10)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panic| CaseFailure::new(panic.to_string()))??;
    }
    let values: BTreeSet<_> = c.read(&topic, 40).await?.iter().map(|message| text(&message.value)).collect();
    let expected = (0..4).flat_map(|task| numbered(&format!("task-{task}"), 0..10)).collect();
    check_eq!(values, expected, "values of all tasks");
    Ok(())
}
