//! Topics: create, delete, list, describe, watch.

use std::time::Duration;

use floe::{
    ErrorKind, Topic, TopicSpec,
    topic::{TopicEvent, TopicUpdate},
};
use futures_util::{StreamExt, stream::BoxStream};

use crate::{
    CaseFailure, Context, Outcome,
    context::{eventually, numbered, texts},
    failure::{check, check_eq, check_refused},
};

pub(crate) async fn created_topic_is_described(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let description = c.client().admin().describe(&topic).await?;
    check_eq!(description.info.name, topic, "name of the topic");
    check_eq!(description.info.partitions, 1, "number of partitions");
    if c.capabilities().offsets {
        check_eq!(c.bounds(&topic).await?, [(0, 0)], "watermarks of a new topic");
    }
    Ok(())
}

pub(crate) async fn every_partition_is_described(c: &Context) -> Outcome {
    let topic = c.topic_with(12).await?;
    c.send(&topic, numbered("record", 0..120)).await?;
    let description = c.client().admin().describe(&topic).await?;
    check_eq!(description.info.partitions, 12, "number of partitions");
    let numbers: Vec<_> = description.partitions.iter().map(|partition| partition.partition).collect();
    check_eq!(numbers, (0..12).collect::<Vec<_>>(), "numbers of the partitions");
    let records: i64 = c.bounds(&topic).await?.iter().map(|(_, end)| end).sum();
    check_eq!(records, 120, "records in all partitions together");
    Ok(())
}

pub(crate) async fn topics_are_listed_by_name(c: &Context) -> Outcome {
    let mut mine = vec![c.topic().await?, c.topic_with(1).await?, c.topic().await?];
    mine.sort();
    let listed: Vec<_> = c.client().admin().topics().await?.into_iter().map(|info| info.name).collect();
    check!(listed.is_sorted(), "topics are not ordered by name: {listed:?}");
    let found: Vec<_> = listed.into_iter().filter(|name| mine.contains(name)).collect();
    check_eq!(found, mine, "topics listed");
    Ok(())
}

pub(crate) async fn creating_a_topic_twice_is_refused(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, ["kept".to_owned()]).await?;
    let again = c.client().admin().create_topic(TopicSpec::new(&topic)).await;
    check_refused!(again, TopicAlreadyExists, "creating it again");
    let kept = c.read(&topic, 1).await?;
    check_eq!(texts(&kept), ["kept"], "records of the topic afterwards");
    Ok(())
}

pub(crate) async fn trimmed_records_are_gone_and_the_others_stay(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, numbered("record", 0..10)).await?;
    let (at, admin) = (topic.partition(0), c.client().admin());
    match admin.trim(at.clone(), 4).await {
        // Retention alone removes records there.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            check_eq!(c.bounds(&topic).await?, [(0, 10)], "watermarks after the refusal");
            return Ok(());
        }
        trimmed => trimmed?,
    }
    check_eq!(c.bounds(&topic).await?, [(4, 10)], "watermarks afterwards");
    admin.trim(at.clone(), 2).await?;
    check_eq!(c.bounds(&topic).await?, [(4, 10)], "watermarks after a trim before the start");
    let beyond = admin.trim(at.clone(), 11).await;
    check_refused!(beyond, OffsetOutOfRange, "a trim beyond the end");
    let kept = c.read(&topic, 6).await?;
    check_eq!(texts(&kept), numbered("record", 4..10), "records afterwards");
    admin.trim(at, 10).await?;
    c.send(&topic, ["new".to_owned()]).await?;
    check_eq!(c.bounds(&topic).await?, [(10, 11)], "watermarks of an emptied partition with a new record");
    Ok(())
}

pub(crate) async fn changed_settings_of_a_topic_are_kept(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, ["kept".to_owned()]).await?;
    let admin = c.client().admin();
    let before = admin.topic(&topic).await?;
    let settings = async || {
        let info = admin.topic(&topic).await?;
        Ok::<_, CaseFailure>((info.retention_age, info.retention_bytes))
    };
    let (week, gigabyte) = (Some(Duration::from_secs(7 * 24 * 3600)), Some(1_000_000_000));
    let both = TopicUpdate::new().retention_age(week).retention_bytes(gigabyte);
    match admin.update_topic(&topic, both).await {
        // Topics keep the settings of their creation there.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let kept = (before.retention_age, before.retention_bytes);
            check_eq!(settings().await?, kept, "settings after the refusal");
            return Ok(());
        }
        updated => updated?,
    }
    check_eq!(settings().await?, (week, gigabyte), "settings after the update");
    admin.update_topic(&topic, TopicUpdate::new().retention_bytes(None)).await?;
    check_eq!(settings().await?, (week, None), "settings after an update of one of them");
    admin.update_topic(&topic, TopicUpdate::new()).await?;
    check_eq!(settings().await?, (week, None), "settings after an update without changes");
    let unknown = admin.update_topic(c.topic_name(), both).await;
    check_refused!(unknown, TopicNotFound, "an update of an unknown topic");
    check_eq!(texts(&c.read(&topic, 1).await?), ["kept"], "records afterwards");
    Ok(())
}

pub(crate) async fn ensure_topic_is_idempotent(c: &Context) -> Outcome {
    let name = c.topic_name();
    c.adopt(&name);
    let admin = c.client().admin();
    check!(
        admin.ensure_topic(TopicSpec::new(&name)).await?,
        "the first call reports that it created the topic"
    );
    c.send(&name, ["kept".to_owned()]).await?;
    for _ in 0..2 {
        let created = admin.ensure_topic(TopicSpec::new(&name)).await?;
        check!(!created, "a call on a topic that exists reports that it created it");
    }
    check_eq!(texts(&c.read(&name, 1).await?), ["kept"], "records of the topic afterwards");
    let invalid = admin.ensure_topic(TopicSpec::new("Not_a-name")).await;
    check_refused!(invalid, InvalidCommand, "an invalid name");
    Ok(())
}

pub(crate) async fn invalid_topics_are_refused(c: &Context) -> Outcome {
    let long = "x".repeat(64);
    for name in ["", "-a", "a-", "Orders", "a_b", "a b", "ä", "a/b", "..", "a.b", &long] {
        let created = c.client().admin().create_topic(TopicSpec::new(name)).await;
        check_refused!(created, InvalidCommand, "name {name:?}");
    }
    let none = c.client().admin().create_topic(TopicSpec::new(c.topic_name()).partitions(0)).await;
    check_refused!(none, InvalidCommand, "a topic without partitions");
    Ok(())
}

pub(crate) async fn longest_name_is_accepted(c: &Context) -> Outcome {
    let start = c.topic_name();
    let name =
        Topic::from(format!("{start}{}", "x".repeat(floe::topic::MAX_NAME_LEN - start.as_str().len())));
    c.adopt(&name);
    c.client().admin().create_topic(TopicSpec::new(&name)).await?;
    c.send(&name, ["long".to_owned()]).await?;
    check_eq!(texts(&c.read(&name, 1).await?), ["long"], "records of the topic");
    Ok(())
}

pub(crate) async fn partitions_are_added(c: &Context) -> Outcome {
    let topic = c.topic_with(2).await?;
    let admin = c.client().admin();
    c.append(&topic.partition(1), crate::context::batch(&["before"])?).await?;
    admin.add_partitions(&topic, 5).await?;
    check_eq!(admin.topic(&topic).await?.partitions, 5, "partitions afterwards");
    c.append(&topic.partition(4), crate::context::batch(&["after"])?).await?;
    check_eq!(c.bounds(&topic).await?, [(0, 0), (0, 1), (0, 0), (0, 0), (0, 1)], "the partitions");
    let mut read = texts(&c.read(&topic, 2).await?);
    read.sort();
    check_eq!(read, ["after", "before"], "records of all partitions");
    admin.add_partitions(&topic, 5).await?;
    check_eq!(admin.topic(&topic).await?.partitions, 5, "partitions after asking for as many as there are");
    for refused in [4, 0, floe::topic::MAX_PARTITIONS + 1] {
        let outcome = admin.add_partitions(&topic, refused).await;
        check_refused!(outcome, InvalidCommand, "{refused} partitions in all");
    }
    check_eq!(admin.topic(&topic).await?.partitions, 5, "partitions after refusals");
    let unknown = admin.add_partitions(c.topic_name(), 2).await;
    check_refused!(unknown, TopicNotFound, "adding partitions to an unknown topic");
    Ok(())
}

pub(crate) async fn unknown_topic_is_reported(c: &Context) -> Outcome {
    let unknown = c.topic_name();
    let client = c.client();
    check_refused!(client.admin().topic(&unknown).await, TopicNotFound, "asking for it");
    check_refused!(client.admin().describe(&unknown).await, TopicNotFound, "describing it");
    check_refused!(client.producer(&unknown).start().await, TopicNotFound, "producing to it");
    check_refused!(client.consumer(&unknown).start().await, TopicNotFound, "consuming it");
    if c.capabilities().delete_topic {
        check_refused!(client.admin().delete_topic(&unknown).await, TopicNotFound, "deleting it");
    }
    if c.capabilities().offsets {
        let marks = client.admin().watermarks(unknown.partition(0)).await;
        check_refused!(marks, TopicNotFound, "its watermarks");
    }
    let appended = c.append(&unknown.partition(0), crate::context::batch(&["x"])?).await;
    check_refused!(appended, TopicNotFound, "appending to it");
    Ok(())
}

pub(crate) async fn unknown_partition_is_reported(c: &Context) -> Outcome {
    let topic = c.topic_with(2).await?;
    let client = c.client();
    check_refused!(client.admin().watermarks(topic.partition(2)).await, PartitionNotFound, "watermarks");
    check_refused!(
        client.consumer(&topic).partition(2).start().await,
        PartitionNotFound | InvalidConfig,
        "consuming it"
    );
    let producer = client.producer(&topic).start().await?;
    let sent = producer.send(floe::Record::new("x").partition(2)).await;
    check_refused!(sent, PartitionNotFound | InvalidCommand, "sending to it");
    let appended = c.append(&topic.partition(2), crate::context::batch(&["x"])?).await;
    check_refused!(appended, PartitionNotFound, "appending to it");
    producer.send("fine").await?;
    Ok(())
}

pub(crate) async fn deleted_topic_is_gone(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let other = c.topic().await?;
    c.send(&topic, numbered("record", 0..3)).await?;
    let client = c.client();
    client.admin().delete_topic(&topic).await?;
    check_refused!(client.admin().topic(&topic).await, TopicNotFound, "asking for a deleted topic");
    check_refused!(client.consumer(&topic).start().await, TopicNotFound, "consuming a deleted topic");
    check_refused!(client.admin().delete_topic(&topic).await, TopicNotFound, "deleting it again");
    let appended = c.append(&topic.partition(0), crate::context::batch(&["x"])?).await;
    check_refused!(appended, TopicNotFound, "appending to a deleted topic");
    if c.capabilities().list_topics {
        let listed: Vec<_> = client.admin().topics().await?.into_iter().map(|info| info.name).collect();
        check!(!listed.contains(&topic), "the deleted topic is still listed");
        check!(listed.contains(&other), "another topic was deleted as well");
    }
    Ok(())
}

pub(crate) async fn recreated_topic_starts_empty(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    c.send(&topic, numbered("old", 0..5)).await?;
    c.client().admin().delete_topic(&topic).await?;
    c.client().admin().create_topic(TopicSpec::new(&topic)).await?;
    let marks = c.client().admin().watermarks(topic.partition(0)).await?;
    check_eq!((marks.start, marks.high), (0, 0), "watermarks of the new topic");
    let placed = c.send(&topic, ["new".to_owned()]).await?;
    check_eq!(placed[0].offset, Some(0), "offset of the first record of the new topic");
    check_eq!(texts(&c.read_to_end(&topic).await?), ["new"], "records of the new topic");
    Ok(())
}

pub(crate) async fn deletion_removes_stored_offsets(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let kept = c.topic().await?;
    let group = c.group();
    c.send(&topic, numbered("record", 0..4)).await?;
    c.send(&kept, numbered("record", 0..4)).await?;
    let admin = c.client().admin();
    admin.set_committed_offset(&group, topic.partition(0), 3).await?;
    admin.set_committed_offset(&group, kept.partition(0), 2).await?;
    admin.delete_topic(&topic).await?;
    // The data servers of a cluster learn of the deletion after the controller has replied.
    let (group_name, gone) = (&group, &topic.partition(0));
    eventually("the stored offset of the deleted topic is gone", || async move {
        Ok(c.stored(group_name, gone).await?.is_none())
    })
    .await?;
    check_eq!(c.stored(&group, &kept.partition(0)).await?, Some(2), "stored offset of another topic");
    admin.create_topic(TopicSpec::new(&topic)).await?;
    check_eq!(c.stored(&group, &topic.partition(0)).await?, None, "stored offset of the new topic");
    Ok(())
}

pub(crate) async fn watch_reports_changes(c: &Context) -> Outcome {
    let existing = c.topic().await?;
    let created = c.topic_name();
    let admin = c.client().admin();
    let mut events = admin.watch().await?;
    // One by one: a watch may skip a change that was undone before it was read.
    until(&mut events, "the existing topic", |event| is_there(event, &existing)).await?;
    admin.create_topic(TopicSpec::new(&created)).await?;
    until(&mut events, "the creation", |event| is_there(event, &created)).await?;
    admin.delete_topic(&existing).await?;
    until(&mut events, "the deletion", |event| is_gone(event, &existing)).await?;
    admin.create_topic(TopicSpec::new(&existing)).await?;
    until(&mut events, "the creation of the same name", |event| is_there(event, &existing)).await?;
    Ok(())
}

fn is_there(event: &TopicEvent, name: &Topic) -> bool {
    matches!(event, TopicEvent::Updated(info) if info.name == *name && info.partitions == 1)
}

fn is_gone(event: &TopicEvent, name: &Topic) -> bool {
    matches!(event, TopicEvent::Deleted(gone) if gone == name)
}

/// Reads the watch up to the event. Unrelated and repeated events are skipped: the cluster may be shared.
async fn until(
    events: &mut BoxStream<'static, floe::Result<TopicEvent>>,
    what: &str,
    wanted: impl Fn(&TopicEvent) -> bool,
) -> Outcome {
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        let event = event?;
        if wanted(&event) {
            return Ok(());
        }
        seen.push(event);
    }
    Err(CaseFailure::new(format!("the watch ended before {what}; events: {seen:?}")))
}
