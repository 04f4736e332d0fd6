//! Health, closing, and persistence over connections.

use std::time::Duration;

use floe::{
    TopicSpec,
    consumer::{CommitPolicy, StartAt},
    engine::{Acks, AppendRequest},
};

use crate::{
    CaseFailure, Context, Outcome,
    context::{batch, numbered, offsets, take, texts},
    failure::{check, check_eq, check_refused},
};

pub(crate) async fn health_is_reported(c: &Context) -> Outcome {
    let health = c.client().health().await?;
    check!(health.ready, "a working engine reports that it is not ready: {health:?}");
    check!(health.nodes.iter().all(|node| !node.name.is_empty()), "a node without a name: {health:?}");
    Ok(())
}

pub(crate) async fn closed_client_refuses_everything(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let client = c.client();
    let producer = client.producer(&topic).start().await?;
    producer.send("before").await?;
    let mut consumer = client.consumer(&topic).from(StartAt::Beginning).start().await?;
    check_eq!(texts(&take(&mut consumer, 1).await?), ["before"], "record before");
    client.close().await?;
    client.close().await?;

    check_refused!(producer.send("after").await, Closed, "sending");
    check_refused!(client.producer(&topic).start().await, Closed, "a new producer");
    check_refused!(client.consumer(&topic).start().await, Closed, "a new consumer");
    check_refused!(client.admin().topic(&topic).await, Closed, "asking for a topic");
    check_refused!(
        client.admin().create_topic(TopicSpec::new(c.topic_name())).await,
        Closed,
        "creating a topic"
    );
    if c.capabilities().delete_topic {
        check_refused!(client.admin().delete_topic(&topic).await, Closed, "deleting a topic");
    }
    if c.capabilities().list_topics {
        check_refused!(client.admin().topics().await, Closed, "listing topics");
        check_refused!(client.admin().watch().await.map(drop), Closed, "watching topics");
    }
    if c.capabilities().offsets {
        check_refused!(client.admin().watermarks(topic.partition(0)).await, Closed, "watermarks");
        let found = c.engine().offset_for_time(topic.partition(0), 0).await;
        check_refused!(found, Closed, "offset of a time");
    }
    if c.capabilities().commit_offsets {
        check_refused!(client.admin().committed_offsets(None).await, Closed, "stored offsets");
        let stored = c.engine().commit("group".into(), vec![(topic.partition(0), 0)]).await;
        check_refused!(stored, Closed, "storing an offset");
    }
    check_refused!(client.health().await, Closed, "health");
    let request = AppendRequest::new(topic.partition(0), batch(&["x"])?, Acks::Leader);
    check_refused!(c.engine().append(request).await, Closed, "appending");
    let opened = c.open(&topic.partition(0), floe::engine::Start::Earliest).await;
    check_refused!(opened, Closed, "opening a reader");
    Ok(())
}

pub(crate) async fn closing_ends_waiting_readers(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let mut consumer = c.client().consumer(&topic).from(StartAt::Beginning).start().await?;
    let waiting = tokio::spawn(async move { consumer.try_next().await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    c.client().close().await?;
    match waiting.await.map_err(|panic| CaseFailure::new(panic.to_string()))? {
        Ok(None) => {}
        Ok(Some(message)) => check!(false, "unexpected record: {message:?}"),
        Err(error) => check_eq!(error.kind(), floe::ErrorKind::Closed, "kind of {error}"),
    }
    Ok(())
}

pub(crate) async fn records_outlive_the_connection(c: &Context) -> Outcome {
    let topic = c.topic_with(if c.capabilities().partitions { 3 } else { 1 }).await?;
    c.send(&topic, numbered("first", 0..30)).await?;
    for round in 0..3 {
        c.reconnect().await?;
        c.send(&topic, numbered(&format!("round {round}"), 0..10)).await?;
    }
    c.reconnect().await?;
    let mut found = texts(&c.read(&topic, 60).await?);
    found.sort();
    let mut expected = numbered("first", 0..30);
    expected.extend((0..3).flat_map(|round| numbered(&format!("round {round}"), 0..10)));
    expected.sort();
    check_eq!(found, expected, "values read through another connection");
    Ok(())
}

pub(crate) async fn offsets_continue_after_reconnecting(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    for round in 0..4 {
        let placed = c.send(&topic, numbered("record", round * 5..round * 5 + 5)).await?;
        let first = i64::try_from(round * 5).unwrap_or(-1);
        check_eq!(placed[0].offset, Some(first), "first offset of connection {round}");
        c.reconnect().await?;
        let marks = c.client().admin().watermarks(topic.partition(0)).await?;
        check_eq!((marks.start, marks.high), (0, first + 5), "watermarks of the next connection");
    }
    check_eq!(texts(&c.read_to_end(&topic).await?), numbered("record", 0..20), "values of all connections");
    Ok(())
}

pub(crate) async fn stored_offsets_outlive_the_connection(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let group = c.group();
    c.send(&topic, numbered("record", 0..10)).await?;
    for round in 0..3 {
        let mut consumer = c
            .client()
            .consumer(&topic)
            .group(group.as_str())
            .from(StartAt::StoredOrBeginning)
            .commit(CommitPolicy::Manual)
            .start()
            .await?;
        let first = round * 3;
        check_eq!(offsets(&take(&mut consumer, 3).await?), [first, first + 1, first + 2], "offsets");
        consumer.commit().await?;
        drop(consumer);
        c.reconnect().await?;
        let stored = c.stored(&group, &topic.partition(0)).await?;
        check_eq!(stored, Some(first + 3), "stored offset after reconnecting");
    }
    Ok(())
}

pub(crate) async fn topics_outlive_the_connection(c: &Context) -> Outcome {
    let (kept, dropped) = (c.topic().await?, c.topic().await?);
    c.client().admin().delete_topic(&dropped).await?;
    c.reconnect().await?;
    check_eq!(c.client().admin().topic(&kept).await?.name, kept, "topic after reconnecting");
    check_refused!(
        c.client().admin().topic(&dropped).await,
        TopicNotFound,
        "a deleted topic after reconnecting"
    );
    let again = c.client().admin().create_topic(TopicSpec::new(&kept)).await;
    check_refused!(again, TopicAlreadyExists, "creating a topic again after reconnecting");
    Ok(())
}

pub(crate) async fn closing_the_client_delivers_and_commits(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let group = c.group();
    let hour = Duration::from_secs(3600);
    c.send(&topic, numbered("record", 0..6)).await?;
    let producer = c.client().producer(&topic).linger(hour).start().await?;
    let mut consumer = c
        .client()
        .consumer(&topic)
        .group(group.as_str())
        .from(StartAt::StoredOrBeginning)
        .commit(CommitPolicy::Interval(hour))
        .start()
        .await?;
    take(&mut consumer, 4).await?;
    for value in numbered("record", 6..10) {
        drop(producer.enqueue(value).await?);
    }
    c.reconnect().await?;
    check_eq!(
        texts(&c.read_to_end(&topic).await?),
        numbered("record", 0..10),
        "values after the client closed"
    );
    // The fourth record was delivered and a fifth was not requested: it counts as finished or not.
    let stored = c.stored(&group, &topic.partition(0)).await?;
    check!(matches!(stored, Some(3 | 4)), "stored offset after the client closed: {stored:?}");
    drop((producer, consumer));
    Ok(())
}
