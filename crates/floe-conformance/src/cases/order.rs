//! Order and completeness with many concurrent writers.

use std::collections::{BTreeMap, BTreeSet};

use floe::{
    Effect, Error, ErrorKind, Record,
    consumer::StartAt,
    engine::{Acks, AppendEpoch, AppendRequest},
};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::{
    CaseFailure, Context, Outcome,
    context::{batch, numbered, take, text, texts, values_of},
    failure::{check, check_eq},
};

/// Checks that `values` holds `writer-0` to `writer-(count - 1)` of every writer, each once and in order.
fn check_writers(values: &[String], writers: usize, count: usize) -> Outcome {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        let Some((writer, number)) = value.rsplit_once('-') else {
            return Err(CaseFailure::new(format!("a value that was never sent: {value}")));
        };
        let expected = next.entry(writer).or_default();
        check_eq!(number, expected.to_string(), "next record of {writer}");
        *expected += 1;
    }
    check_eq!(next.len(), writers, "writers whose records came");
    check!(next.values().all(|found| *found == count), "records of each writer, {count} expected: {next:?}");
    Ok(())
}

pub(crate) async fn one_producer_keeps_its_order(c: &Context) -> Outcome {
    const COUNT: usize = 3000;
    let topic = c.topic().await?;
    // Small batches, so that many are in flight.
    let producer = c.client().producer(&topic).batch_size(512).start().await?;
    let mut deliveries = Vec::new();
    for value in numbered("record", 0..COUNT) {
        deliveries.push(producer.enqueue(value).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    check_eq!(texts(&c.read(&topic, COUNT).await?), numbered("record", 0..COUNT), "values read");
    Ok(())
}

pub(crate) async fn many_tasks_of_one_producer_keep_their_order(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).batch_size(256).start().await?;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let producer = producer.clone();
        tasks.spawn(async move {
            for value in numbered(&format!("task {task}"), 0..50) {
                producer.send(value).await?;
            }
            Ok::<_, floe::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panic| CaseFailure::new(panic.to_string()))??;
    }
    check_writers(&texts(&c.read(&topic, 400).await?), 8, 50)
}

pub(crate) async fn many_producers_keep_their_order(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut tasks = JoinSet::new();
    for task in 0..6 {
        let producer = c.client().producer(&topic).batch_size(512).start().await?;
        tasks.spawn(async move {
            let placed = producer.send_all(numbered(&format!("producer {task}"), 0..200)).await?;
            producer.close().await?.into_result(producer.topic())?;
            Ok::<_, floe::Error>(placed)
        });
    }
    let mut placed = Vec::new();
    while let Some(done) = tasks.join_next().await {
        placed.extend(done.map_err(|panic| CaseFailure::new(panic.to_string()))??);
    }
    if c.capabilities().dense_offsets {
        let offsets: BTreeSet<_> = placed.iter().filter_map(|placed| placed.offset).collect();
        check_eq!(offsets, (0..1200).collect(), "offsets acknowledged to all producers together");
    }
    check_writers(&texts(&c.read(&topic, 1200).await?), 6, 200)
}

pub(crate) async fn records_of_a_key_stay_in_order(c: &Context) -> Outcome {
    let topic = c.topic_with(3).await?;
    let producer = c.client().producer(&topic).batch_size(512).start().await?;
    let records =
        (0..600).map(|n| Record::keyed(format!("key {}", n % 7), format!("key {}-{}", n % 7, n / 7)));
    producer.send_all(records).await?;
    let read = c.read(&topic, 600).await?;
    let mut partitions: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for message in &read {
        let key = message.key.as_deref().map(text).unwrap_or_default();
        partitions.entry(key.clone()).or_default().insert(message.partition);
        let expected = next.entry(key.clone()).or_default();
        check_eq!(text(&message.value), format!("{key}-{expected}"), "next record of {key}");
        *expected += 1;
    }
    check!(partitions.values().all(|set| set.len() == 1), "a key is in several partitions: {partitions:?}");
    check_eq!(next.values().sum::<usize>(), 600, "records read");
    Ok(())
}

pub(crate) async fn concurrent_appends_are_total_and_unique(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (engine, at) = (c.engine(), at.clone());
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..25 {
                let values: Vec<_> = (0..=number % 3).map(|n| format!("{task} {number} {n}")).collect();
                let request = AppendRequest::new(at.clone(), batch(&values)?, Acks::Leader);
                let Some(base) = engine.append(request).await?.base_offset else {
                    return Err(CaseFailure::new("an append was acknowledged without an offset"));
                };
                acknowledged.extend((base..).zip(values));
            }
            Ok(acknowledged)
        });
    }
    let mut acknowledged = BTreeMap::new();
    let mut total = 0;
    while let Some(done) = tasks.join_next().await {
        for (offset, value) in done.map_err(|panic| CaseFailure::new(panic.to_string()))?? {
            acknowledged.insert(offset, value);
            total += 1;
        }
    }
    check_eq!(acknowledged.len(), total, "different offsets among those acknowledged");
    let read: BTreeMap<_, _> =
        c.read_to_end(&topic).await?.iter().map(|message| (message.offset, text(&message.value))).collect();
    check_eq!(read, acknowledged, "record at each offset");
    Ok(())
}

pub(crate) async fn appends_are_applied_in_the_order_of_their_start(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let window = c.capabilities().append_window.clamp(1, 64);
    let engine = c.engine();
    let mut expected = Vec::new();
    for round in 0..20 {
        let values = numbered(&format!("round {round}"), 0..window);
        let mut appends = Vec::new();
        for value in &values {
            let request = AppendRequest::new(at.clone(), batch(&[value])?, Acks::Leader);
            appends.push(engine.append(request));
        }
        // The first polls happen in this order.
        for acknowledged in join_all(appends).await {
            acknowledged?;
        }
        expected.extend(values);
    }
    check_eq!(
        texts(&c.read(&topic, expected.len()).await?),
        expected,
        "values in the order of their appends"
    );
    Ok(())
}

pub(crate) async fn appends_of_an_ended_epoch_are_refused(c: &Context) -> Outcome {
    if c.capabilities().append_window == 1 {
        // No append is sent before the one that fails has its outcome.
        return Ok(());
    }
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let request = |value: &str, epoch: &AppendEpoch| -> Result<AppendRequest, CaseFailure> {
        Ok(AppendRequest::new(at.clone(), batch(&[value])?, Acks::Leader).epoch(epoch))
    };
    let (ended, other, engine) = (AppendEpoch::begin(), AppendEpoch::begin(), c.engine());
    engine.append(request("first", &ended)?).await?;
    ended.fail(&Error::new(ErrorKind::NetworkError, "a failed append"));
    match engine.append(request("refused", &ended)?).await {
        Ok(_) => return Err(CaseFailure::new("an append of an ended epoch was stored")),
        Err(error) => {
            check!(error.is_retriable(), "the refusal is not retriable: {error}");
            check_eq!(error.effect(), Effect::None, "effect of the refusal");
        }
    }
    engine.append(request("of another sender", &other)?).await?;
    engine.append(request("without an epoch", &AppendEpoch::default())?).await?;
    let expected = ["first", "of another sender", "without an epoch"];
    check_eq!(texts(&c.read(&topic, expected.len()).await?), expected, "values that were stored");
    Ok(())
}

pub(crate) async fn batches_are_read_one_by_one_and_whole(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let mut expected = Vec::new();
    for size in 1..30 {
        let values = numbered(&format!("batch {size}"), 0..size);
        c.append(&at, batch(&values)?).await?;
        expected.extend(values);
    }
    let mut reader = c.open(&at, floe::engine::Start::Earliest).await?;
    let (mut found, mut next) = (Vec::new(), 0);
    while found.len() < expected.len() {
        let Some(batch) = reader.next().await? else {
            return Err(CaseFailure::new(format!("the reader ended after {} records", found.len())));
        };
        check_eq!(batch.base_offset(), next, "base offset of the next batch");
        next = batch.next_offset();
        batch.verify_checksum()?;
        found.extend(values_of(&batch)?.iter().map(|value| text(value)));
    }
    check_eq!(found, expected, "values of all batches");
    Ok(())
}

pub(crate) async fn large_backlog_is_read_back_exactly(c: &Context) -> Outcome {
    const COUNT: usize = 8000;
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let padding = "x".repeat(1000);
    for number in 0..COUNT {
        drop(producer.enqueue(format!("{number} {padding}")).await?);
    }
    producer.flush().await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let mut bytes = 0;
    for number in 0..COUNT {
        let message = take(&mut consumer, 1).await?.remove(0);
        bytes += message.value.len();
        let value = text(&message.value);
        let (found, rest) = value.split_once(' ').unwrap_or_default();
        check_eq!(found, number.to_string(), "number of the next record");
        check!(rest == padding, "record {number} came back changed");
    }
    check!(bytes > 8_000_000, "only {bytes} bytes were read");
    Ok(())
}
