//! Typed payloads, processors, dead letters and outboxes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use floe::{
    ErrorKind, Message, Record, RetryPolicy, Topic,
    consumer::{Membership, OnUndecodable, StartAt, Undecodable},
    dead_letter::{DeadLetter, RecordOrigin},
    processor::{DeadLetters, Failure, ProcessorBuilder},
};

use crate::{
    CaseFailure, Context, Outcome,
    context::{eventually, numbered, text, texts},
    failure::{check, check_eq},
};

pub(crate) async fn typed_values_come_back(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).json::<Vec<u32>>().start().await?;
    producer.send(vec![1, 2]).await?;
    producer.send_all((0..50).map(|number| vec![number; 3])).await?;
    let mut consumer =
        c.client().consumer(&topic).json::<Vec<u32>>().from(StartAt::Beginning).start().await?;
    for expected in std::iter::once(vec![1, 2]).chain((0..50).map(|number| vec![number; 3])) {
        let message = consumer.try_next().await?;
        check_eq!(message.map(|message| message.value), Some(expected), "next value");
    }
    consumer.close().await?;
    Ok(())
}

pub(crate) async fn binary_typed_values_come_back(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).message_pack::<(i64, String)>().start().await?;
    let values = [(-1, "minus one".to_owned()), (i64::MAX, String::new())];
    producer.send_all(values.clone()).await?;
    let consumer = c.client().consumer(&topic).message_pack::<(i64, String)>();
    let mut consumer = consumer.from(StartAt::Beginning).start().await?;
    for expected in values {
        let message = consumer.try_next().await?;
        check_eq!(message.map(|message| message.value), Some(expected), "next value as MessagePack");
    }
    consumer.close().await?;
    Ok(())
}

pub(crate) async fn undecodable_record_is_one_error(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, ["1", "two", "3"].map(String::from)).await?;
    let mut consumer = c.client().consumer(&topic).json::<u32>().from(StartAt::Beginning).start().await?;
    check_eq!(consumer.try_next().await?.map(|message| message.value), Some(1), "first value");
    let Err(error) = consumer.try_next().await else {
        return Err(CaseFailure::new("\"two\" was read as a number"));
    };
    check_eq!(error.kind(), ErrorKind::DeserializationError, "kind of {error}");
    let Some(bad) = Undecodable::of(&error) else {
        return Err(CaseFailure::new("the error does not identify the record"));
    };
    check_eq!((bad.message.offset, text(&bad.message.value)), (1, "two".to_owned()), "record in {error}");
    check_eq!(consumer.try_next().await?.map(|message| message.value), Some(3), "value after the error");
    Ok(())
}

pub(crate) async fn undecodable_records_become_dead_letters(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let dead = c.topic_name();
    c.send(&topic, ["1", "two", "3"].map(String::from)).await?;
    let policy = OnUndecodable::DeadLetter(dead.clone());
    let consumer = c.client().consumer(&topic).json::<u32>().on_undecodable(policy);
    let mut consumer = consumer.from(StartAt::Beginning).start().await?;
    for expected in [1, 3] {
        check_eq!(consumer.try_next().await?.map(|message| message.value), Some(expected), "next value");
    }
    consumer.close().await?;
    let letters = c.read(&dead, 1).await?;
    let letter = letter_of(&letters[0])?;
    check_eq!(letter.origin.to_string(), format!("{topic}/0/1"), "origin");
    check_eq!(letter.code, "deserialization_error", "code");
    check_eq!(text(&letters[0].value), "two", "value of the dead letter");
    check!(DeadLetter::restore(&letters[0]).headers.is_empty(), "the record had no headers");
    Ok(())
}

fn letter_of(message: &Message) -> Result<DeadLetter, CaseFailure> {
    DeadLetter::of(message)
        .ok_or_else(|| CaseFailure::new("a record in the dead-letter topic is not a dead letter"))
}

/// Builds a processor between two topics, which commits offsets where the engine can.
fn processor(c: &Context, (from, to): (&Topic, &Topic)) -> ProcessorBuilder {
    let builder = c.client().processor(from, to).dead_letters(DeadLetters::Stop);
    if c.capabilities().commit_offsets { builder } else { builder.without_stored_offsets() }
}

fn keyed(c: &Context, key: String, value: String) -> Record<String> {
    if c.capabilities().keys { Record::keyed(key, value) } else { Record::new(value) }
}

pub(crate) async fn processor_transforms_every_record(c: &Context) -> Outcome {
    const COUNT: usize = 200;
    let (from, to) = (c.topic().await?, c.topic().await?);
    c.send(&from, numbered("order", 0..COUNT)).await?;
    let running = processor(c, (&from, &to))
        .concurrency(4)
        .map(async |message: Message| Ok(Record::new(format!("{} done", text(&message.value)).into())))
        .start()
        .await?;
    eventually("all records are handled", || async { Ok(running.stats().handled == COUNT as u64) }).await?;
    let report = running.stop().await?;
    check_eq!((report.read, report.produced, report.left.len()), (COUNT as u64, COUNT as u64, 0), "report");
    let mut made = texts(&c.read(&to, COUNT).await?);
    made.sort();
    let mut expected: Vec<_> =
        numbered("order", 0..COUNT).iter().map(|value| format!("{value} done")).collect();
    expected.sort();
    check_eq!(made, expected, "values produced");
    Ok(())
}

pub(crate) async fn processor_keeps_the_order_of_keys(c: &Context) -> Outcome {
    const COUNT: usize = 120;
    let (from, to) = (c.topic().await?, c.topic().await?);
    let producer = c.client().producer(&from).start().await?;
    for number in 0..COUNT {
        let key = format!("key-{}", number % 5);
        drop(producer.enqueue(keyed(c, key.clone(), format!("{key} {number}"))).await?);
    }
    producer.flush().await?;
    let running = processor(c, (&from, &to))
        .concurrency(4)
        .map(async |message: Message| {
            // Later records take less time.
            for _ in 0..(10 - message.offset % 10) {
                tokio::task::yield_now().await;
            }
            Ok(Record { key: message.key, ..Record::new(message.value) })
        })
        .start()
        .await?;
    eventually("all records are handled", || async { Ok(running.stats().handled == COUNT as u64) }).await?;
    let report = running.stop().await?;
    check_eq!(report.produced, COUNT as u64, "records produced");
    let mut latest: BTreeMap<String, usize> = BTreeMap::new();
    for message in c.read(&to, COUNT).await? {
        let value = text(&message.value);
        let Some((key, number)) = value.split_once(' ') else {
            return Err(CaseFailure::new(format!("{value:?} was never sent")));
        };
        let number: usize =
            number.parse().map_err(|_| CaseFailure::new(format!("{value:?} was never sent")))?;
        let before = latest.insert(key.to_owned(), number);
        check!(before.is_none_or(|before| before < number), "{key}: {number} comes after {before:?}");
    }
    Ok(())
}

pub(crate) async fn processor_failures_become_dead_letters(c: &Context) -> Outcome {
    let (from, to, dead) = (c.topic().await?, c.topic().await?, c.topic_name());
    c.send(&from, ["a", "bad", "panic", "b"].map(String::from)).await?;
    let running = processor(c, (&from, &to))
        .dead_letters(DeadLetters::Topic(dead.clone()))
        .retry(RetryPolicy::default().max_attempts(2).first_delay(Duration::ZERO))
        .map(async |message: Message| match &message.value[..] {
            b"bad" => Err(Failure::retriable("bad").code("bad_value")),
            b"panic" => panic!("injected by the case"),
            _ => Ok(Record::new(message.value)),
        })
        .start()
        .await?;
    let done = || async {
        let stats = running.stats();
        Ok(stats.handled + stats.dead_letters == 4)
    };
    eventually("all records are handled or dead letters", done).await?;
    let report = running.stop().await?;
    check_eq!((report.handled, report.dead_letters, report.retries), (2, 2, 2), "report");
    let made = c.read(&to, 2).await?;
    check_eq!(texts(&made), ["a", "b"], "values produced");
    check_eq!(
        RecordOrigin::of(&made[1]).map(|origin| origin.to_string()),
        Some(format!("{from}/0/3")),
        "origin of the output"
    );
    let mut letters = Vec::new();
    for message in c.read(&dead, 2).await? {
        let letter = letter_of(&message)?;
        letters.push((text(&message.value), letter.code, letter.attempts));
    }
    letters.sort();
    let expected = [("bad", "bad_value"), ("panic", "handler_panicked")];
    let expected = expected.map(|(value, code)| (value.to_owned(), code.to_owned(), 2));
    check_eq!(letters, expected, "dead letters");
    Ok(())
}

pub(crate) async fn processor_resumes_where_it_stopped(c: &Context) -> Outcome {
    let (from, to) = (c.topic().await?, c.topic().await?);
    for round in 0..3 {
        c.send(&from, numbered(&format!("round-{round}"), 0..20)).await?;
        let report = processor(c, (&from, &to))
            .stop_at_end()
            .map(async |message: Message| Ok(Record::new(message.value)))
            .run(std::future::pending())
            .await?;
        check_eq!((report.read, report.handled), (20, 20), "report of round {round}");
    }
    let expected: Vec<_> = (0..3).flat_map(|round| numbered(&format!("round-{round}"), 0..20)).collect();
    check_eq!(texts(&c.read_to_end(&to).await?), expected, "values produced");
    Ok(())
}

/// A handler makes another value of the same record each time: a process that takes over must send what was recorded.
pub(crate) async fn recorded_outputs_are_those_of_one_call(c: &Context) -> Outcome {
    const COUNT: usize = 40;
    let (from, to) = (c.topic().await?, c.topic().await?);
    c.send(&from, numbered("order", 0..COUNT)).await?;
    let calls = Arc::new(AtomicU32::new(0));
    let (group, log) = (c.group(), c.topic_name());
    let start = || {
        let calls = Arc::clone(&calls);
        c.client()
            .processor(&from, &to)
            .group(group.as_str())
            .recorded_in(&log)
            .shared_as(Membership::new().session(Duration::from_secs(5)).instance("worker"))
            .commit_interval(Duration::from_secs(600))
            .dead_letters(DeadLetters::Stop)
            .map(move |message: Message| {
                let call = calls.fetch_add(1, Ordering::SeqCst);
                async move {
                    let made = [1, 2]
                        .map(|index| Record::new(format!("{} {call} {index}", text(&message.value)).into()));
                    Ok(Vec::from(made))
                }
            })
    };
    let stored = async || {
        let marks = c.client().admin().watermarks(to.partition(0)).await?;
        Ok::<_, floe::Error>(marks.records())
    };
    // It is dropped within its work.
    let first = tokio::spawn(start().run(std::future::pending()));
    eventually("some records are made", || async { Ok(stored().await? >= 10) }).await?;
    first.abort();
    let second = start().start().await?;
    eventually("all records are made", || async { Ok(stored().await? >= 2 * COUNT as u64) }).await?;
    check_eq!(second.stop().await?.left.len(), 0, "records left");
    let made = texts(&c.read_to_end(&to).await?);
    check_eq!(made.len(), 2 * COUNT, "records made: {made:?}");
    for (order, pair) in numbered("order", 0..COUNT).iter().zip(made.chunks(2)) {
        let call = pair.first().and_then(|value| value.strip_suffix(" 1")).unwrap_or_default();
        check!(call.starts_with(&format!("{order} ")), "{pair:?} of {order}");
        check_eq!(pair.last(), Some(&format!("{call} 2")), "the second record of {order}");
    }
    Ok(())
}

pub(crate) async fn outbox_delivers_in_order(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let folder = tempfile::tempdir().map_err(|error| CaseFailure::new(error.to_string()))?;
    let outbox = c.client().producer(&topic).outbox(folder.path().join("outbox")).start().await?;
    outbox.send_all(numbered("record", 0..300)).await?;
    outbox.send("last").await?;
    outbox.drained().await?;
    let report = outbox.close().await?;
    check_eq!((report.delivered, report.waiting, report.rejected), (301, 0, 0), "report");
    let mut expected = numbered("record", 0..300);
    expected.push("last".to_owned());
    check_eq!(texts(&c.read(&topic, 301).await?), expected, "values");
    Ok(())
}

pub(crate) async fn outbox_restarts_lose_and_duplicate_nothing(c: &Context) -> Outcome {
    const ROUNDS: usize = 5;
    let topic = c.topic().await?;
    let folder = tempfile::tempdir().map_err(|error| CaseFailure::new(error.to_string()))?;
    for round in 0..ROUNDS {
        let outbox = c.client().producer(&topic).outbox(folder.path().join("outbox")).start().await?;
        outbox.send_all(numbered("record", round * 100..(round + 1) * 100)).await?;
        if round + 1 < ROUNDS {
            // Dropped during delivery; the rest stays for the next round.
            let report = outbox.close_within(Duration::from_millis(round as u64)).await?;
            check!(report.waiting <= 100 * (round as u64 + 1), "{report:?}");
        } else {
            outbox.drained().await?;
            check_eq!(outbox.close().await?.waiting, 0, "records left");
        }
    }
    check_eq!(texts(&c.read_to_end(&topic).await?), numbered("record", 0..ROUNDS * 100), "values");
    Ok(())
}
