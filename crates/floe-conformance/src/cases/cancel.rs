//! Cancellation: dropping a future at any point loses and duplicates nothing.

use std::{future::Future, pin::pin, task::Poll};

use floe::{
    Record,
    consumer::StartAt,
    engine::{Acks, AppendRequest, Start},
};

use crate::{
    CaseFailure, Context, Outcome,
    context::{batch, numbered, poll_once, text, texts, values_of},
    failure::{check, check_eq},
};

/// Numbers of polls before a call is dropped, used in turn.
const POLLS: [usize; 6] = [1, 2, 3, 4, 5, UNTIL_READY];

/// Runs the call to its end: a case that dropped every call would not notice one that hangs.
const UNTIL_READY: usize = usize::MAX;

/// Polls `future` this many times, with yields in between, and drops it if it is still pending.
async fn poll_at_most<F: Future>(times: usize, future: F) -> Option<F::Output> {
    if times == UNTIL_READY {
        return Some(future.await);
    }
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

pub(crate) async fn cancelled_reads_lose_nothing(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let expected = numbered("batch", 0..40);
    for value in &expected {
        c.append(&at, batch(&[value])?).await?;
    }
    let mut reader = c.open(&at, Start::Earliest).await?;
    let mut found = Vec::new();
    let mut polls = POLLS.into_iter().cycle();
    while found.len() < expected.len() {
        match poll_at_most(polls.next().unwrap_or(UNTIL_READY), reader.next()).await {
            None => {}
            Some(Ok(Some(batch))) => found.extend(values_of(&batch)?.iter().map(|value| text(value))),
            Some(Ok(None)) => return Err(CaseFailure::new("the reader ended")),
            Some(Err(error)) => return Err(error.into()),
        }
    }
    check_eq!(found, expected, "values after dropped reads");
    Ok(())
}

pub(crate) async fn cancelled_wait_loses_nothing(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let mut reader = c.open(&at, Start::Earliest).await?;
    for round in 0..20 {
        {
            let mut waiting = reader.next();
            for _ in 0..=round % 4 {
                let polled = poll_once(waiting.as_mut()).await;
                check!(polled.is_pending(), "unexpected batch in round {round}");
                tokio::task::yield_now().await;
            }
            c.append(&at, batch(&[format!("round {round}")])?).await?;
            // The read is woken by now, and dropped before it is polled again.
        }
        let Some(batch) = reader.next().await? else { return Err(CaseFailure::new("the reader ended")) };
        let found: Vec<_> = values_of(&batch)?.iter().map(|value| text(value)).collect();
        check_eq!(found, [format!("round {round}")], "values after a dropped wait");
    }
    Ok(())
}

pub(crate) async fn cancelled_try_next_loses_nothing(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let producer = c.client().producer(&topic).start().await?;
    let mut found = Vec::new();
    for round in 0..30 {
        // Dropped while waiting at the end of the log.
        if let Some(early) = poll_at_most(round % 4, consumer.try_next()).await {
            return Err(CaseFailure::new(format!("unexpected result: {early:?}")));
        }
        let values = numbered(&format!("round {round}"), 0..3);
        producer.send_all(values.clone()).await?;
        let mut polls = POLLS.into_iter().cycle();
        let before = found.len();
        while found.len() < before + values.len() {
            match poll_at_most(polls.next().unwrap_or(UNTIL_READY), consumer.try_next()).await {
                None => {}
                Some(message) => match message? {
                    Some(message) => found.push(text(&message.value)),
                    None => return Err(CaseFailure::new("the stream ended")),
                },
            }
        }
        check_eq!(found[before..], values, "values of round {round}");
    }
    Ok(())
}

pub(crate) async fn cancelled_next_batch_loses_nothing(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let expected = numbered("record", 0..60);
    for part in expected.chunks(3) {
        c.send(&topic, part.to_vec()).await?;
    }
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let (mut found, mut polls) = (Vec::new(), POLLS.into_iter().cycle());
    while found.len() < expected.len() {
        match poll_at_most(polls.next().unwrap_or(UNTIL_READY), consumer.next_batch()).await {
            None => {}
            Some(batch) => match batch? {
                Some(batch) => found.extend(batch.records().map(|record| text(&record.value))),
                None => return Err(CaseFailure::new("the stream ended")),
            },
        }
    }
    check_eq!(found, expected, "values of batches after dropped calls");
    Ok(())
}

pub(crate) async fn cancelled_send_leaves_one_copy_or_none(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let mut completed = Vec::new();
    for number in 0..60 {
        let value = format!("record-{number}");
        if let Some(sent) = poll_at_most(number % 6, producer.send(value.clone())).await {
            sent?;
            completed.push(value);
        }
    }
    producer.send(Record::new("last")).await?;
    check_once(&until_last(c, &topic).await?, &completed)
}

pub(crate) async fn cancelled_append_leaves_one_copy_or_none(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let engine = c.engine();
    let mut completed = Vec::new();
    for number in 0..60 {
        let value = format!("record-{number}");
        let request = AppendRequest::new(at.clone(), batch(&[&value])?, Acks::Leader);
        if let Some(appended) = poll_at_most(number % 6, engine.append(request)).await {
            appended?;
            completed.push(value);
        }
    }
    c.append(&at, batch(&["last"])?).await?;
    check_once(&until_last(c, &topic).await?, &completed)
}

/// Returns the values before the last one, which was sent with nothing else in flight.
async fn until_last(c: &Context, topic: &floe::Topic) -> Result<Vec<String>, CaseFailure> {
    let mut consumer = c.client().consumer(topic).from(StartAt::Beginning).start().await?;
    let mut values = Vec::new();
    loop {
        let read = texts(&crate::context::take(&mut consumer, 1).await?);
        if read == ["last"] {
            return Ok(values);
        }
        values.extend(read);
    }
}

/// Checks that the values are unique and in order, and include those of all completed calls.
fn check_once(values: &[String], completed: &[String]) -> Outcome {
    let numbers: Vec<usize> =
        values.iter().filter_map(|value| value.strip_prefix("record-")?.parse().ok()).collect();
    check_eq!(numbers.len(), values.len(), "values that the case sent among {values:?}");
    check!(numbers.is_sorted_by(|a, b| a < b), "a value is duplicated or out of order: {values:?}");
    let missing: Vec<_> = completed.iter().filter(|value| !values.contains(value)).collect();
    check!(missing.is_empty(), "acknowledged values are missing: {missing:?}");
    Ok(())
}
