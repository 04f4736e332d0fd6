//! Committed offsets: groups resume at them, and they never run ahead of finished records.

use std::time::Duration;

use floe::consumer::{AckMode, CommitPolicy, Consumer, StartAt};

use crate::{
    Context, Outcome,
    context::{eventually, numbered, offsets, take, texts},
    failure::{check, check_eq, check_refused},
};

/// Creates a topic with `record-0` to `record-9`.
async fn ten(c: &Context) -> floe::Result<floe::Topic> {
    let topic = c.topic().await?;
    c.send(&topic, numbered("record", 0..4)).await?;
    c.send(&topic, numbered("record", 4..10)).await?;
    Ok(topic)
}

async fn member(
    c: &Context,
    topic: &floe::Topic,
    group: &str,
    policy: CommitPolicy,
) -> floe::Result<Consumer> {
    c.client().consumer(topic).group(group).from(StartAt::StoredOrBeginning).commit(policy).start().await
}

pub(crate) async fn commit_and_resume(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    check_eq!(texts(&take(&mut consumer, 6).await?), numbered("record", 0..6), "values of the first member");
    consumer.commit().await?;
    check_eq!(c.stored(&group, &topic.partition(0)).await?, Some(6), "stored offset");
    drop(consumer);

    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    check_eq!(
        texts(&take(&mut consumer, 4).await?),
        numbered("record", 6..10),
        "values of the second member"
    );
    Ok(())
}

pub(crate) async fn no_offset_is_stored_without_a_commit(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    take(&mut consumer, 10).await?;
    drop(consumer);
    check_eq!(c.stored(&group, &topic.partition(0)).await?, None, "stored offset without a commit");
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    check_eq!(offsets(&take(&mut consumer, 1).await?), [0], "where the next member begins");
    Ok(())
}

pub(crate) async fn commits_never_run_ahead(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer = member(c, &topic, &group, CommitPolicy::PerRecord).await?;
    for finished in 0..10 {
        let message = take(&mut consumer, 1).await?.remove(0);
        check_eq!(message.offset, finished, "next offset");
        // A record counts as finished when the next one is requested.
        let stored = c.stored(&group, &topic.partition(0)).await?.unwrap_or(0);
        check!(stored <= finished, "stored offset {stored} while record {finished} is being worked on");
    }
    Ok(())
}

pub(crate) async fn commit_for_every_record(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer = member(c, &topic, &group, CommitPolicy::PerRecord).await?;
    take(&mut consumer, 8).await?;
    let stored = c.stored(&group, &topic.partition(0)).await?;
    check_eq!(stored, Some(7), "stored offset after asking for the eighth record");
    Ok(())
}

pub(crate) async fn commit_at_intervals(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer = member(c, &topic, &group, CommitPolicy::Interval(Duration::from_millis(20))).await?;
    take(&mut consumer, 10).await?;
    // Requesting the eleventh record, which never comes, finishes the tenth.
    let group = group.as_str();
    let waiting = async {
        check!(consumer.try_next().await?.is_none(), "unexpected record");
        check!(false, "the stream ended");
        Ok(())
    };
    let stored = eventually("offset 10 is stored in the background", || async {
        Ok(c.stored(group, &topic.partition(0)).await? == Some(10))
    });
    tokio::select! {
        ended = waiting => ended,
        stored = stored => stored,
    }
}

pub(crate) async fn acknowledged_records_are_committed_in_order(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let at = topic.partition(0);
    let mut consumer = c
        .client()
        .consumer(&topic)
        .group(group.as_str())
        .from(StartAt::StoredOrBeginning)
        .commit(CommitPolicy::Manual)
        .ack_mode(AckMode::Explicit)
        .start()
        .await?;
    let read = take(&mut consumer, 6).await?;
    consumer.commit().await?;
    let stored = c.stored(&group, &at).await?.unwrap_or(0);
    check_eq!(stored, 0, "stored offset before anything is acknowledged");
    for (acknowledge, expected) in [(0, 1), (1, 2), (3, 2), (4, 2), (2, 5)] {
        read[acknowledge].ack();
        consumer.commit().await?;
        let stored = c.stored(&group, &at).await?;
        check_eq!(stored, Some(expected), "stored offset after record {acknowledge} was acknowledged");
    }
    Ok(())
}

pub(crate) async fn closing_commits_finished_records(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let hour = Duration::from_secs(3600);
    let mut consumer = member(c, &topic, &group, CommitPolicy::Interval(hour)).await?;
    take(&mut consumer, 7).await?;
    consumer.close().await?;
    check_eq!(c.stored(&group, &topic.partition(0)).await?, Some(7), "stored offset after close");
    let mut consumer = member(c, &topic, &group, CommitPolicy::Interval(hour)).await?;
    check_eq!(offsets(&take(&mut consumer, 3).await?), [7, 8, 9], "offsets of the next member");
    Ok(())
}

pub(crate) async fn stored_or_end_without_a_stored_offset(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let mut consumer =
        c.client().consumer(&topic).group(group.as_str()).from(StartAt::StoredOrEnd).start().await?;
    c.send(&topic, ["later".to_owned()]).await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["later"], "first value from the end on");
    drop(consumer);
    c.client().admin().set_committed_offset(&group, topic.partition(0), 4).await?;
    let mut consumer =
        c.client().consumer(&topic).group(group.as_str()).from(StartAt::StoredOrEnd).start().await?;
    check_eq!(offsets(&take(&mut consumer, 1).await?), [4], "first offset from the stored one on");
    Ok(())
}

pub(crate) async fn groups_are_separate(c: &Context) -> Outcome {
    let (topic, one, other) = (ten(c).await?, c.group(), c.group());
    let mut consumer = member(c, &topic, &one, CommitPolicy::Manual).await?;
    take(&mut consumer, 5).await?;
    consumer.commit().await?;
    let mut consumer = member(c, &topic, &other, CommitPolicy::Manual).await?;
    check_eq!(offsets(&take(&mut consumer, 1).await?), [0], "first offset of another group");
    check_eq!(c.stored(&one, &topic.partition(0)).await?, Some(5), "stored offset of the first group");
    check_eq!(c.stored(&other, &topic.partition(0)).await?, None, "stored offset of the other group");
    Ok(())
}

pub(crate) async fn partitions_are_committed_separately(c: &Context) -> Outcome {
    let topic = c.topic_with(3).await?;
    let group = c.group();
    let producer = c.client().producer(&topic).start().await?;
    let records = (0..30).map(|n| floe::Record::new(format!("record-{n}")).partition(n % 3));
    producer.send_all(records).await?;
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    let read = take(&mut consumer, 17).await?;
    consumer.commit().await?;
    for partition in 0..3 {
        let last = read.iter().rev().find(|message| message.partition == partition);
        let expected = last.map_or(0, |message| message.offset + 1);
        let stored = c.stored(&group, &topic.partition(partition)).await?.unwrap_or(0);
        check_eq!(stored, expected, "stored offset of partition {partition}");
    }
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    let mut all: Vec<_> = read.into_iter().chain(take(&mut consumer, 13).await?).collect();
    all.sort_by_key(|message| (message.partition, message.offset));
    let found: Vec<_> = all.iter().map(|message| (message.partition, message.offset)).collect();
    let expected: Vec<_> = (0..3).flat_map(|p| (0..10).map(move |o| (p, o))).collect();
    check_eq!(found, expected, "records of both members together");
    Ok(())
}

pub(crate) async fn stored_offsets_are_listed_and_forgotten(c: &Context) -> Outcome {
    let topic = c.topic_with(2).await?;
    let producer = c.client().producer(&topic).start().await?;
    let records = (0..10).map(|n| floe::Record::new(format!("record-{n}")).partition(n % 2));
    producer.send_all(records).await?;
    let (one, other) = (c.group(), c.group());
    let admin = c.client().admin();
    let engine = c.engine();
    let positions = vec![(topic.partition(0), 2), (topic.partition(1), 3)];
    engine.commit(one.as_str().into(), positions).await?;
    engine.commit(other.as_str().into(), vec![(topic.partition(0), 4)]).await?;

    let rows: Vec<_> =
        admin.committed_offsets(Some(&one)).await?.into_iter().map(|row| (row.at, row.next)).collect();
    check_eq!(rows, [(topic.partition(0), 2), (topic.partition(1), 3)], "stored offsets of one group");
    let all = admin.committed_offsets(None).await?;
    let places: Vec<_> = all.iter().map(|row| (&row.group, &row.at)).collect();
    check!(
        places.is_sorted(),
        "the stored offsets are not in the order of groups and partitions: {places:?}"
    );
    for (group, partition, next) in [(&one, 0, 2), (&one, 1, 3), (&other, 0, 4)] {
        let there = all
            .iter()
            .any(|row| *row.group == **group && row.at == topic.partition(partition) && row.next == next);
        check!(there, "partition {partition} of {group} is missing among all groups");
    }
    let read = engine.committed(one.as_str().into(), topic.partition(1)).await?;
    check_eq!(read, Some(3), "stored offset asked for by itself");

    admin.forget_committed_offset(&one, topic.partition(0)).await?;
    admin.forget_committed_offset(&one, topic.partition(0)).await?;
    check_eq!(c.stored(&one, &topic.partition(0)).await?, None, "forgotten offset");
    check_eq!(c.stored(&one, &topic.partition(1)).await?, Some(3), "offset of the other partition");
    check_eq!(c.stored(&other, &topic.partition(0)).await?, Some(4), "offset of the other group");
    Ok(())
}

pub(crate) async fn stored_offset_can_be_set(c: &Context) -> Outcome {
    let (topic, group) = (ten(c).await?, c.group());
    let (admin, at) = (c.client().admin(), topic.partition(0));
    for next in [8, 2, 10, 0, 5] {
        admin.set_committed_offset(&group, at.clone(), next).await?;
        check_eq!(c.stored(&group, &at).await?, Some(next), "stored offset");
    }
    check_refused!(
        admin.set_committed_offset(&group, at.clone(), 11).await,
        OffsetOutOfRange,
        "storing an offset beyond the end"
    );
    check_eq!(c.stored(&group, &at).await?, Some(5), "stored offset after a refused one");
    let mut consumer = member(c, &topic, &group, CommitPolicy::Manual).await?;
    check_eq!(offsets(&take(&mut consumer, 1).await?), [5], "where a member begins");
    Ok(())
}
