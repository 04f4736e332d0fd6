//! Conditional appends and fenced producers.

use std::collections::BTreeMap;

use floe::{
    Topic,
    engine::{
        Acks, AppendRequest,
        batch::{BatchBuilder, EncodedBatch, FinishOptions, ProducerIdentity, producer_id},
    },
    producer::{AppendCondition, FencingToken, NotAtEnd, Producer},
};
use tokio::task::JoinSet;

use crate::{
    CaseFailure, Context, Outcome,
    context::{numbered, text, texts},
    failure::{check, check_eq, check_refused},
    interfere::{AppendFault, FailAppends},
};

/// Builds a batch of records of a producer: their values are the epoch and their sequences.
fn numbered_batch(
    id: i64,
    epoch: i16,
    first_sequence: i32,
    records: i32,
) -> Result<EncodedBatch, CaseFailure> {
    let mut builder = BatchBuilder::new(256);
    for sequence in first_sequence..first_sequence + records {
        builder.append(1_000, None, format!("{epoch}/{sequence}").as_bytes(), &[])?;
    }
    let producer = ProducerIdentity { id, epoch, first_sequence };
    Ok(builder.finish(FinishOptions { producer, ..FinishOptions::default() })?)
}

/// Appends a batch of a producer without a condition.
async fn append(
    c: &Context,
    topic: &Topic,
    (id, epoch, first_sequence): (i64, i16, i32),
    records: i32,
) -> Result<floe::Result<Option<i64>>, CaseFailure> {
    let batch = numbered_batch(id, epoch, first_sequence, records)?;
    let appended = c.engine().append(AppendRequest::new(topic.partition(0), batch, Acks::Leader)).await;
    Ok(appended.map(|ack| ack.base_offset))
}

async fn send_at(producer: &Producer, value: &str, end: i64) -> floe::Result<i64> {
    producer.send_batch(0, [value], AppendCondition::EndsAt(end)).await
}

pub(crate) async fn conditional_appends_need_the_expected_end(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let two = producer.send_batch(0, ["a", "b"], AppendCondition::EndsAt(0)).await?;
    check_eq!(two, 0, "offset of the first batch");
    producer.send("c").await?;
    for wrong in [0, 2, 4, 1_000, -1] {
        let refused = send_at(&producer, "never", wrong).await;
        if let Err(error) = &refused {
            check_eq!(
                NotAtEnd::of(error),
                Some(&NotAtEnd { expected: wrong, end: 3 }),
                "ends that the refusal tells: {error:?}"
            );
        }
        check_refused!(refused, ConditionFailed, "an append at {wrong}");
    }
    check_eq!(send_at(&producer, "d", 3).await?, 3, "offset of an append at the end");
    let none: [&str; 0] = [];
    check_refused!(
        producer.send_batch(0, none, AppendCondition::EndsAt(4)).await,
        InvalidCommand,
        "a batch without records"
    );
    check_eq!(texts(&c.read_to_end(&topic).await?), ["a", "b", "c", "d"], "values stored");
    Ok(())
}

pub(crate) async fn one_of_concurrent_conditional_appends_gets_each_offset(c: &Context) -> Outcome {
    const WRITERS: usize = 4;
    const WINS: usize = 10;
    let topic = c.topic().await?;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let producer = c.client().producer(&topic).start().await?;
        tasks.spawn(async move {
            let (mut won, mut end) = (BTreeMap::new(), 0);
            while won.len() < WINS {
                let value = format!("writer {writer}-{}", won.len());
                match send_at(&producer, &value, end).await {
                    Ok(offset) => {
                        won.insert(offset, value);
                        end = offset + 1;
                    }
                    Err(error) => match NotAtEnd::of(&error) {
                        Some(found) => end = found.end,
                        None => return Err(error),
                    },
                }
            }
            Ok(won)
        });
    }
    let mut won = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        won.extend(done.map_err(|panic| CaseFailure::new(panic.to_string()))??);
    }
    check_eq!(won.len(), WRITERS * WINS, "offsets won by one writer each");
    let read: BTreeMap<_, _> =
        c.read_to_end(&topic).await?.iter().map(|message| (message.offset, text(&message.value))).collect();
    check_eq!(read, won, "record at each offset");
    Ok(())
}

pub(crate) async fn retried_conditional_append_is_stored_once(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let faults = FailAppends::every(2, AppendFault::AckLost);
    let client = floe::Client::from_engine(floe::layer::Layer::layer(faults.clone(), c.engine()));
    let producer = client.producer(&topic).start().await?;
    let values = numbered("event", 0..10);
    for (end, value) in (0..).zip(&values) {
        check_eq!(send_at(&producer, value, end).await?, end, "offset of {value}");
    }
    check!(faults.faults() > 3, "no acknowledgement was lost");
    check_eq!(texts(&c.read_to_end(&topic).await?), values, "values stored");
    Ok(())
}

pub(crate) async fn conditional_append_is_retried_across_a_restart(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let batch = numbered_batch(7, 0, 0, 3)?;
    for _ in 0..3 {
        let request = AppendRequest::new(topic.partition(0), batch.clone(), Acks::Leader);
        let ack = c.engine().append_at(request, 0).await?;
        check_eq!(ack.base_offset, Some(0), "offset of the append and its retries");
        c.reconnect().await?;
    }
    let request = AppendRequest::new(topic.partition(0), numbered_batch(7, 0, 3, 1)?, Acks::Leader);
    let other = c.engine().append_at(request, 0).await;
    check_refused!(other, ConditionFailed, "another batch for the same offset");
    check_eq!(c.bounds(&topic).await?, [(0, 3)], "start and end");
    Ok(())
}

pub(crate) async fn newer_token_fences_older_ones(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let send = async |epoch, value| {
        let token = FencingToken::new("writer", epoch);
        producer.send_batch(0, [value], AppendCondition::Token(token)).await
    };
    // Epochs have 15 bits in a batch.
    for (epoch, offset) in [(1, 0), (2, 1), (16_000, 2), (32_000, 3), (32_768, 4), (40_000, 5)] {
        check_eq!(send(epoch, "held").await?, offset, "offset under epoch {epoch}");
        check_refused!(send(epoch - 1, "fenced").await, Fenced, "epoch {epoch} less one");
    }
    check_eq!(send(40_000, "held").await?, 6, "offset of a second append");
    let other = AppendCondition::Token(FencingToken::new("another writer", 3));
    check_eq!(producer.send_batch(0, ["held"], other).await?, 7, "offset under another token");
    check_eq!(producer.send("free").await?.offset, Some(8), "offset without a token");
    let values = texts(&c.read_to_end(&topic).await?);
    check!(!values.iter().any(|value| value == "fenced"), "a fenced record was stored: {values:?}");
    Ok(())
}

pub(crate) async fn records_of_a_task_are_stored_once(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let task = producer_id::task_id("processor", "input", 0, 0);
    check_eq!(append(c, &topic, (task, 5, 0), 4).await??, Some(0), "offset of the first batch");
    check_eq!(append(c, &topic, (task, 5, 4), 2).await??, Some(4), "offset of the second batch");
    check_eq!(append(c, &topic, (task, 5, 0), 4).await??, Some(0), "offset of a repeated batch");
    check_eq!(
        append(c, &topic, (task, 6, 3), 3).await??,
        Some(3),
        "offset of records that a successor repeats"
    );
    let half = append(c, &topic, (task, 6, 5), 2).await?;
    check_refused!(half, ConditionFailed, "records of which only one is new");
    check_eq!(append(c, &topic, (task, 6, 6), 1).await??, Some(6), "offset of the successor's first record");
    check_refused!(append(c, &topic, (task, 5, 7), 1).await?, Fenced, "the predecessor");
    let other = producer_id::task_id("processor", "input", 0, 1);
    check_eq!(append(c, &topic, (other, 1, 0), 1).await??, Some(7), "offset of another task");
    check_eq!(
        texts(&c.read_to_end(&topic).await?),
        ["5/0", "5/1", "5/2", "5/3", "5/4", "5/5", "6/6", "1/0"],
        "values stored"
    );
    Ok(())
}

pub(crate) async fn fences_outlive_the_connection(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let task = producer_id::task_id("processor", "input", 0, 0);
    append(c, &topic, (task, 5, 0), 2).await??;
    for _ in 0..2 {
        c.reconnect().await?;
        check_refused!(append(c, &topic, (task, 4, 2), 1).await?, Fenced, "an older epoch");
        check_eq!(append(c, &topic, (task, 5, 1), 1).await??, Some(1), "offset of a repeated record");
    }
    check_eq!(append(c, &topic, (task, 6, 2), 1).await??, Some(2), "offset under a newer epoch");
    Ok(())
}
