//! Consuming: start positions, ends, partitions, seeking.

use std::collections::BTreeMap;

use floe::{
    ErrorKind, Record,
    consumer::{FetchLimit, StartAt},
    engine::Start,
};

use crate::{
    CaseFailure, Context, Outcome,
    context::{batch, drain, eventually, numbered, offsets, poll_once, take, text, texts},
    failure::{check, check_eq, check_refused},
};

/// Creates a topic with `record-0` to `record-9` in several batches.
async fn ten(c: &Context) -> floe::Result<floe::Topic> {
    let topic = c.topic().await?;
    for start in [0, 3, 6] {
        c.send(&topic, numbered("record", start..start + 3)).await?;
    }
    c.send(&topic, numbered("record", 9..10)).await?;
    Ok(topic)
}

/// Checks which of the ten records a consumer reads from this start.
async fn check_start(c: &Context, start: StartAt, expected: std::ops::Range<usize>) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(start).stop_at_end().start().await?;
    let read = drain(&mut consumer).await?;
    check_eq!(texts(&read), numbered("record", expected.clone()), "values from {start:?}");
    let expected: Vec<_> = expected.map(|offset| i64::try_from(offset).unwrap_or(-1)).collect();
    check_eq!(offsets(&read), expected, "offsets from {start:?}");
    Ok(())
}

pub(crate) async fn start_at_the_beginning(c: &Context) -> Outcome {
    check_start(c, StartAt::Beginning, 0..10).await
}

pub(crate) async fn start_at_an_offset(c: &Context) -> Outcome {
    check_start(c, StartAt::Offset(3), 3..10).await
}

pub(crate) async fn start_in_the_middle_of_a_batch(c: &Context) -> Outcome {
    check_start(c, StartAt::Offset(7), 7..10).await?;
    let topic = c.topic().await?;
    c.send(&topic, numbered("record", 0..100)).await?;
    for start in [0, 1, 37, 99] {
        let from = StartAt::Offset(i64::try_from(start).unwrap_or(0));
        let mut consumer = c.client().consumer(&topic).from(from).stop_at_end().start().await?;
        let read = texts(&drain(&mut consumer).await?);
        check_eq!(read, numbered("record", start..100), "values from offset {start} of one batch");
    }
    Ok(())
}

pub(crate) async fn start_after_the_beginning(c: &Context) -> Outcome {
    check_start(c, StartAt::AfterBeginning(4), 4..10).await
}

pub(crate) async fn start_before_the_end(c: &Context) -> Outcome {
    check_start(c, StartAt::BeforeEnd(4), 6..10).await
}

pub(crate) async fn start_at_the_end_offset_waits_for_the_next(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Offset(10)).start().await?;
    c.send(&topic, numbered("record", 10..12)).await?;
    check_eq!(texts(&take(&mut consumer, 2).await?), numbered("record", 10..12), "values from the end on");
    Ok(())
}

pub(crate) async fn start_at_the_end(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::End).start().await?;
    c.send(&topic, numbered("later", 0..3)).await?;
    let read = take(&mut consumer, 3).await?;
    check_eq!(texts(&read), numbered("later", 0..3), "values from the end on");
    Ok(())
}

pub(crate) async fn earliest_and_latest_positions(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let at = topic.partition(0);
    let mut earliest = c.open(&at, Start::Earliest).await?;
    let mut latest = c.open(&at, Start::Latest).await?;
    c.send(&topic, ["later".to_owned()]).await?;
    for (reader, expected) in [(&mut earliest, 0), (&mut latest, 10)] {
        let Some(batch) = reader.next().await? else { return Err(CaseFailure::new("a reader ended")) };
        check_eq!(batch.base_offset(), expected, "base offset of the first batch");
    }
    Ok(())
}

pub(crate) async fn start_at_a_time(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let early = 1_700_000_000_000_i64;
    let records = (0..10).map(|n| Record::new(format!("record-{n}")).timestamp(early + n * 1000));
    producer.send_all(records).await?;
    for (time, first) in [(early - 5, 0), (early, 0), (early + 3000, 3), (early + 3001, 4), (early + 9000, 9)]
    {
        let mut consumer =
            c.client().consumer(&topic).from(StartAt::Time(time)).stop_at_end().start().await?;
        let read = texts(&drain(&mut consumer).await?);
        check_eq!(read, numbered("record", first..10), "values from {} ms on", time - early);
    }
    Ok(())
}

pub(crate) async fn offset_of_a_time_is_found(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let at = topic.partition(0);
    let engine = c.engine();
    check_eq!(engine.offset_for_time(at.clone(), 0).await?, None, "offset of a time in an empty topic");
    let producer = c.client().producer(&topic).start().await?;
    let start = 1_700_000_000_000_i64;
    for part in [0..1, 1..5, 5..8] {
        let records = part.map(|n| Record::new(format!("record-{n}")).timestamp(start + n * 10));
        producer.send_all(records).await?;
    }
    for n in 0..8 {
        let exact = engine.offset_for_time(at.clone(), start + n * 10).await?;
        check_eq!(exact, Some(n), "offset of exactly the time of record {n}");
        let before = engine.offset_for_time(at.clone(), start + n * 10 - 1).await?;
        check_eq!(before, Some(n), "offset of a time just before record {n}");
    }
    check_eq!(engine.offset_for_time(at, start + 71).await?, None, "offset of a time after all records");
    Ok(())
}

pub(crate) async fn offset_beyond_the_end_is_refused(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    for offset in [11, 1_000_000] {
        let outcome = match c.client().consumer(&topic).from(StartAt::Offset(offset)).start().await {
            // The error may come with the first read.
            Ok(mut consumer) => consumer.try_next().await.map(drop),
            Err(error) => Err(error),
        };
        check_refused!(outcome, OffsetOutOfRange, "reading from {offset} of 10");
    }
    let opened = c.open(&topic.partition(0), Start::Offset(11)).await;
    let outcome = match opened {
        Ok(mut reader) => reader.next().await.map(drop),
        Err(error) => Err(error),
    };
    check_refused!(outcome, OffsetOutOfRange, "reading from 11 of 10 below the consumer");
    Ok(())
}

pub(crate) async fn waiting_reader_wakes(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    for round in 0..10 {
        let waiting = consumer.try_next();
        let mut waiting = std::pin::pin!(waiting);
        // Several rounds, so that the read waits at the end of the log.
        for _ in 0..20 {
            let polled = poll_once(waiting.as_mut()).await;
            check!(polled.is_pending(), "unexpected record in round {round}");
            tokio::task::yield_now().await;
        }
        c.send(&topic, [format!("record-{round}")]).await?;
        let Some(message) = waiting.await? else {
            return Err(CaseFailure::new("the stream ended".to_owned()));
        };
        check_eq!(text(&message.value), format!("record-{round}"), "the record that woke the reader");
    }
    Ok(())
}

pub(crate) async fn all_waiting_readers_wake(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
        tasks.spawn(async move { take(&mut consumer, 5).await.map(|read| texts(&read)) });
    }
    for number in 0..5 {
        tokio::task::yield_now().await;
        c.send(&topic, [format!("record-{number}")]).await?;
    }
    while let Some(read) = tasks.join_next().await {
        let read = read.map_err(|panic| CaseFailure::new(panic.to_string()))??;
        check_eq!(read, numbered("record", 0..5), "values of one reader");
    }
    Ok(())
}

pub(crate) async fn readers_are_independent(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, numbered("record", 0..20)).await?;
    let mut one = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let mut other = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let first = take(&mut one, 12).await?;
    let all = take(&mut other, 20).await?;
    let rest = take(&mut one, 8).await?;
    check_eq!(texts(&all), numbered("record", 0..20), "values of one reader");
    check_eq!(texts(&first), numbered("record", 0..12), "first values of the other reader");
    check_eq!(texts(&rest), numbered("record", 12..20), "next values of the other reader");
    Ok(())
}

pub(crate) async fn consuming_readers_share(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    for value in numbered("record", 0..20) {
        c.send(&topic, [value]).await?;
    }
    let mut one = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let mut values = texts(&take(&mut one, 10).await?);
    one.close().await?;
    // The first reader took no more than it handed out.
    let mut other = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    values.extend(texts(&take(&mut other, 10).await?));
    check_eq!(values, numbered("record", 0..20), "records of both readers");
    other.close().await?;

    // The rest of a batch whose first record was handed out is lost, and reported.
    c.send(&topic, numbered("batch", 0..3)).await?;
    let mut third = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let mut taken = texts(&take(&mut third, 1).await?);
    if let Err(error) = third.close().await {
        check_eq!(error.kind(), ErrorKind::Gap, "error of a close that loses records");
    } else {
        let mut fourth = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
        taken.extend(texts(&take(&mut fourth, 2).await?));
        check_eq!(taken, numbered("batch", 0..3), "records of a batch of two readers");
    }
    Ok(())
}

pub(crate) async fn consuming_readers_end_where_no_record_is_left(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    for value in numbered("record", 0..5) {
        c.send(&topic, [value]).await?;
    }
    for expected in [5, 0] {
        let mut reader = c.client().consumer(&topic).from(StartAt::Beginning).stop_at_end().start().await?;
        let mut count = 0;
        while reader.try_next().await?.is_some() {
            count += 1;
        }
        check_eq!(count, expected, "records up to the end");
        reader.close().await?;
    }
    Ok(())
}

pub(crate) async fn stopping_at_the_end(c: &Context) -> Outcome {
    let topic = c.topic_with(1).await?;
    check_eq!(c.read_to_end(&topic).await?.len(), 0, "records of an empty topic");
    c.send(&topic, numbered("record", 0..7)).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).stop_at_end().start().await?;
    // The end was fixed at the start: a later record does not count.
    c.send(&topic, numbered("late", 0..3)).await?;
    let read = texts(&drain(&mut consumer).await?);
    check_eq!(read, numbered("record", 0..7), "values up to the end at the start");
    check!(consumer.try_next().await?.is_none(), "a record came after the end");
    Ok(())
}

pub(crate) async fn one_stream_of_all_partitions(c: &Context) -> Outcome {
    let topic = c.topic_with(4).await?;
    let producer = c.client().producer(&topic).start().await?;
    let records = (0..200).map(|n| Record::new(format!("record-{n}")).partition(n % 4));
    producer.send_all(records).await?;
    let read = c.read_to_end(&topic).await?;
    check_eq!(read.len(), 200, "records in all partitions");
    let mut by_partition: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for message in &read {
        let values = by_partition.entry(message.partition).or_default();
        check_eq!(message.offset, i64::try_from(values.len()).unwrap_or(-1), "next offset of a partition");
        check_eq!(message.topic, topic, "topic of a record");
        values.push(text(&message.value));
    }
    for partition in 0..4 {
        let expected: Vec<_> =
            (0..200).filter(|n| n % 4 == partition).map(|n| format!("record-{n}")).collect();
        check_eq!(by_partition.get(&partition), Some(&expected), "values of partition {partition}");
    }
    Ok(())
}

pub(crate) async fn only_the_chosen_partitions(c: &Context) -> Outcome {
    let topic = c.topic_with(4).await?;
    let producer = c.client().producer(&topic).start().await?;
    let records = (0..40).map(|n| Record::new(format!("record-{n}")).partition(n % 4));
    producer.send_all(records).await?;
    let mut consumer =
        c.client().consumer(&topic).partitions([1, 3]).from(StartAt::Beginning).stop_at_end().start().await?;
    let read = drain(&mut consumer).await?;
    check_eq!(read.len(), 20, "records in two of four partitions");
    let others: Vec<_> = read.iter().filter(|message| message.partition % 2 == 0).collect();
    check!(others.is_empty(), "records of other partitions: {others:?}");
    Ok(())
}

pub(crate) async fn added_partitions_are_read(c: &Context) -> Outcome {
    let topic = c.topic_with(1).await?;
    let mut consumer = c.client().consumer(&topic).start().await?;
    let mut chosen = c.client().consumer(&topic).partition(0).start().await?;
    c.send(&topic, ["before".to_owned()]).await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["before"], "records before");
    c.client().admin().add_partitions(&topic, 3).await?;
    // Records in a new partition count as later than the start, even before the consumer discovers the partition.
    c.append(&topic.partition(2), batch(&["first", "second"])?).await?;
    let new = take(&mut consumer, 2).await?;
    check_eq!(texts(&new), ["first", "second"], "records of a new partition");
    check_eq!((new[0].partition, offsets(&new)), (2, vec![0, 1]), "their partition and offsets");
    check_eq!(consumer.position(2), Some(2), "position in the new partition");
    consumer.seek(2, StartAt::Offset(1)).await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["second"], "after a seek in the new partition");
    c.append(&topic.partition(0), batch(&["old"])?).await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["old"], "records of the old partition");
    let of_chosen = texts(&take(&mut chosen, 2).await?);
    check_eq!(of_chosen, ["before", "old"], "records of a consumer of one partition");
    check_eq!(chosen.position(2), None, "position of a consumer of one partition");
    Ok(())
}

pub(crate) async fn paused_partitions_wait(c: &Context) -> Outcome {
    let topic = c.topic_with(2).await?;
    let producer = c.client().producer(&topic).start().await?;
    let records = (0..20).map(|n| Record::new(format!("record-{n}")).partition(n % 2));
    producer.send_all(records).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    consumer.pause(&[0]);
    let read = take(&mut consumer, 10).await?;
    check!(read.iter().all(|message| message.partition == 1), "a paused partition delivers: {read:?}");
    consumer.resume(&[0]);
    consumer.pause(&[1]);
    let read = take(&mut consumer, 10).await?;
    check_eq!(offsets(&read), (0..10).collect::<Vec<_>>(), "offsets of the resumed partition");
    check!(read.iter().all(|message| message.partition == 0), "the other partition delivers: {read:?}");
    Ok(())
}

pub(crate) async fn seeking_moves_the_reader(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    take(&mut consumer, 5).await?;
    for (start, expected) in [
        (StartAt::Offset(2), 2),
        (StartAt::BeforeEnd(1), 9),
        (StartAt::Beginning, 0),
        (StartAt::Offset(7), 7),
        (StartAt::AfterBeginning(1), 1),
    ] {
        consumer.seek(0, start).await?;
        let read = take(&mut consumer, 1).await?;
        check_eq!(offsets(&read), [expected], "first offset after seeking to {start:?}");
        check_eq!(texts(&read), [format!("record-{expected}")], "first value after seeking to {start:?}");
        check_eq!(consumer.position(0), Some(expected + 1), "position after that");
    }
    consumer.seek(0, StartAt::End).await?;
    c.send(&topic, ["later".to_owned()]).await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["later"], "first value after seeking to the end");
    Ok(())
}

pub(crate) async fn fetching_by_offset(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let at = topic.partition(0);
    let limit = |records| FetchLimit::default().records(records);
    for (from, records, expected) in [(0, 4, 0..4), (4, 3, 4..7), (7, 100, 7..10), (10, 5, 10..10)] {
        let found = c.client().fetch(at.clone(), from, limit(records)).await?;
        check_eq!(texts(&found), numbered("record", expected), "{records} records from {from} on");
    }
    let beyond = c.client().fetch(at.clone(), 11, limit(1)).await;
    check_refused!(beyond, OffsetOutOfRange, "fetching from 11 of 10");
    let unknown = c.client().fetch(c.topic_name().partition(0), 0, limit(1)).await;
    check_refused!(unknown, TopicNotFound, "fetching from an unknown topic");
    Ok(())
}

pub(crate) async fn watermarks_follow_the_records(c: &Context) -> Outcome {
    let topic = c.topic_with(2).await?;
    let producer = c.client().producer(&topic).start().await?;
    let mut expected = [0, 0];
    for (partition, count) in [(0_u32, 3_i64), (1, 1), (0, 10), (1, 7)] {
        let records = (0..count).map(|n| Record::new(format!("record-{n}")).partition(partition));
        producer.send_all(records).await?;
        expected[partition as usize] += count;
        check_eq!(c.bounds(&topic).await?, expected.map(|end| (0, end)), "watermarks");
    }
    Ok(())
}

pub(crate) async fn lag_counts_unread_records(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    take(&mut consumer, 4).await?;
    check_eq!(consumer.lag().await?, 6, "lag after four of ten records");
    take(&mut consumer, 6).await?;
    check_eq!(consumer.lag().await?, 0, "lag after all records");
    c.send(&topic, numbered("more", 0..3)).await?;
    check_eq!(consumer.lag().await?, 3, "lag after three more records");
    Ok(())
}

pub(crate) async fn whole_batches_hold_the_same_records(c: &Context) -> Outcome {
    let topic = ten(c).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Offset(4)).stop_at_end().start().await?;
    let mut read = Vec::new();
    while let Some(batch) = consumer.next_batch().await? {
        check_eq!((&batch.topic, batch.partition), (&topic, 0), "topic and partition of a batch");
        for record in batch.records() {
            read.push((record.offset, text(&record.value)));
        }
    }
    let expected: Vec<_> = (4..10).map(|n| (n, format!("record-{n}"))).collect();
    check_eq!(read, expected, "records of whole batches");
    Ok(())
}

pub(crate) async fn deletion_ends_readers(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, numbered("record", 0..3)).await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    check_eq!(texts(&take(&mut consumer, 3).await?), numbered("record", 0..3), "values before");
    c.client().admin().delete_topic(&topic).await?;
    check_refused!(consumer.try_next().await, TopicNotFound | Gap, "reading on after the deletion");
    check!(consumer.try_next().await?.is_none(), "the stream goes on after the deletion");
    Ok(())
}

pub(crate) async fn deletion_ends_waiting_readers(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut reader = c.open(&topic.partition(0), Start::Earliest).await?;
    let waiting = tokio::spawn(async move { reader.next().await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    c.client().admin().delete_topic(&topic).await?;
    match waiting.await.map_err(|panic| CaseFailure::new(panic.to_string()))? {
        Ok(None) => {}
        Ok(Some(batch)) => check!(false, "unexpected batch: {batch:?}"),
        Err(error) => {
            check_eq!(error.kind(), floe::ErrorKind::TopicNotFound, "kind of {error}");
        }
    }
    eventually("a consumer of the deleted topic is refused", || async {
        Ok(c.client().consumer(&topic).start().await.is_err())
    })
    .await
}
