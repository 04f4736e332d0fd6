//! Backpressure: slow readers, full buffers, and batches larger than a fetch.

use std::time::Duration;

use bytes::Bytes;
use floe::{Client, ErrorKind, consumer::StartAt, engine::ReadRequest, layer::Layer, producer::WhenFull};

use crate::{
    CaseFailure, Context, Outcome,
    context::{self, batch, eventually, numbered, take, text, texts},
    failure::{check, check_eq, check_refused},
    interfere::{CountFetched, Gate},
};

pub(crate) async fn stalled_reader_bounds_memory_and_blocks_no_others(c: &Context) -> Outcome {
    const COUNT: usize = 4000;
    const PREFETCH: usize = 128 * 1024;
    const FETCH: usize = 32 * 1024;
    let topic = c.topic().await?;
    let fetched = CountFetched::default();
    let watched = Client::from_engine(fetched.clone().layer(c.engine()));
    let mut consumer = watched
        .consumer(&topic)
        .from(StartAt::Beginning)
        .prefetch_bytes(PREFETCH)
        .fetch_bytes(FETCH)
        .start()
        .await?;
    let producer = c.client().producer(&topic).batch_size(8 * 1024).start().await?;
    let padding = "x".repeat(1000);
    let value = |number: usize| format!("{number} {padding}");
    producer.send(value(0)).await?;
    check_eq!(text(&take(&mut consumer, 1).await?[0].value), value(0), "first record");

    // The consumer stalls while 4 MB are written.
    for number in 1..COUNT {
        drop(producer.enqueue(value(number)).await?);
    }
    producer.flush().await?;
    // Prefetched records, one batch in flight and the records read: far below 4 MB.
    let bound = 2 * (PREFETCH + FETCH);
    check!(fetched.bytes() <= bound, "{} bytes were fetched, the limit is {bound}", fetched.bytes());

    for number in 1..COUNT {
        check_eq!(text(&take(&mut consumer, 1).await?[0].value), value(number), "next record");
    }
    check!(fetched.bytes() > COUNT * 1000, "the layer did not count the reads: {} bytes", fetched.bytes());
    Ok(())
}

pub(crate) async fn full_buffer_is_reported(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let gate = Gate::closed();
    let client = Client::from_engine(gate.clone().layer(c.engine()));
    let producer = client.producer(&topic).buffer_memory(16 * 1024).when_full(WhenFull::Fail).start().await?;
    let mut accepted = Vec::new();
    let refused = loop {
        match producer.enqueue(vec![b'x'; 1000]).await {
            Ok(delivery) => accepted.push(delivery),
            Err(error) => break error,
        }
        check!(accepted.len() <= 32, "a buffer of 16 KiB took {} kB", accepted.len());
    };
    check_eq!(refused.kind(), ErrorKind::BufferFull, "kind of {refused}");
    check!(!accepted.is_empty(), "an empty buffer of 16 KiB took nothing");
    gate.open();
    let count = accepted.len();
    for delivery in accepted {
        delivery.await?;
    }
    producer.send("there is room again").await?;
    let read = c.read(&topic, count + 1).await?;
    check_eq!(texts(&read)[count], "there is room again", "record after the {count} that were accepted");
    Ok(())
}

pub(crate) async fn full_buffer_applies_backpressure(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let gate = Gate::closed();
    let client = Client::from_engine(gate.clone().layer(c.engine()));
    let producer = client.producer(&topic).buffer_memory(16 * 1024).when_full(WhenFull::Wait).start().await?;
    let sender = {
        let producer = producer.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                drop(producer.enqueue(format!("{number} {}", "x".repeat(1000))).await?);
            }
            Ok::<_, floe::Error>(())
        })
    };
    eventually("the buffer fills", || async { Ok(producer.stats().buffered_bytes >= 12 * 1024) }).await?;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let buffered = producer.stats().buffered_bytes;
    check!(buffered <= 17 * 1024, "a buffer of 16 KiB holds {buffered} bytes");
    check!(!sender.is_finished(), "100 kB went into a buffer of 16 KiB");
    gate.open();
    sender.await.map_err(|panic| CaseFailure::new(panic.to_string()))??;
    producer.flush().await?;
    let read = c.read(&topic, 100).await?;
    for (number, message) in read.iter().enumerate() {
        let value = text(&message.value);
        let found = value.split(' ').next().unwrap_or_default();
        check_eq!(found, number.to_string(), "number of the next record");
    }
    Ok(())
}

pub(crate) async fn backpressure_ends_at_the_timeout(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let gate = Gate::closed();
    let client = Client::from_engine(gate.clone().layer(c.engine()));
    let producer = client
        .producer(&topic)
        .buffer_memory(4 * 1024)
        .when_full(WhenFull::WaitUpTo(Duration::from_millis(20)))
        .start()
        .await?;
    let mut accepted = Vec::new();
    let refused = loop {
        match producer.enqueue(vec![b'x'; 1000]).await {
            Ok(delivery) => accepted.push(delivery),
            Err(error) => break error,
        }
        check!(accepted.len() <= 8, "a buffer of 4 KiB took {} kB", accepted.len());
    };
    check_eq!(refused.kind(), ErrorKind::BufferFull, "kind of {refused}");
    gate.open();
    producer.flush().await?;
    check_eq!(c.read(&topic, accepted.len()).await?.len(), accepted.len(), "records stored");
    Ok(())
}

pub(crate) async fn batch_larger_than_a_fetch_is_read(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    // Fits the smallest batch limit of any engine.
    let large = vec![b'x'; 40_000];
    c.append(&at, batch(&[b"small".to_vec(), large.clone()])?).await?;
    c.append(&at, batch(&["last"])?).await?;
    let request = ReadRequest::new(at, floe::engine::Start::Earliest).max_bytes(1);
    let mut reader = c.engine().open(request).await?;
    let mut values: Vec<Bytes> = Vec::new();
    while values.len() < 3 {
        let Some(batch) = reader.next().await? else { return Err(CaseFailure::new("the reader ended")) };
        values.extend(context::values_of(&batch)?);
    }
    check!(values[1] == large, "the large value came back changed");
    check_eq!(values[2], "last", "value after it");
    Ok(())
}

pub(crate) async fn small_fetches_read_everything(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    for part in 0..20 {
        c.send(&topic, numbered("record", part * 10..part * 10 + 10)).await?;
    }
    let mut consumer = c
        .client()
        .consumer(&topic)
        .from(StartAt::Beginning)
        .fetch_bytes(1024)
        .prefetch_bytes(1024)
        .prefetch_records(3)
        .start()
        .await?;
    check_eq!(texts(&take(&mut consumer, 200).await?), numbered("record", 0..200), "values read");
    Ok(())
}

pub(crate) async fn slow_delivery_times_out(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let gate = Gate::closed();
    let client = Client::from_engine(gate.clone().layer(c.engine()));
    let producer = client.producer(&topic).timeout(Duration::from_millis(50)).start().await?;
    check_refused!(producer.send("x").await, RequestTimeout, "a record that is never acknowledged");
    gate.open();
    Ok(())
}
