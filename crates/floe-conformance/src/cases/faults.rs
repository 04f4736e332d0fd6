//! Faults above a healthy engine: layers that lose acknowledgements and refuse appends.

use std::time::Duration;

use floe::{
    Client, RetryPolicy,
    consumer::{CommitPolicy, StartAt},
    layer::Layer,
    producer::Producer,
};

use crate::{
    CaseFailure, Context, Outcome, PassThrough,
    context::{drain, numbered, texts},
    failure::{check, check_eq, check_refused},
    interfere::{AppendFault, FailAppends, RefuseAll},
};

/// Retry policy with short delays, because the cases count attempts.
fn soon() -> RetryPolicy {
    RetryPolicy::default().first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(4))
}

async fn failing(c: &Context, topic: &floe::Topic, fault: FailAppends) -> floe::Result<Producer> {
    let client = Client::from_engine(fault.layer(c.engine()));
    client.producer(topic).batch_size(256).retry(soon()).start().await
}

/// Sends through the fault and compares the acknowledged records with the stored ones.
async fn check_exactly_once(c: &Context, every: usize, fault: AppendFault) -> Outcome {
    const COUNT: usize = 400;
    let topic = c.topic().await?;
    let layer = FailAppends::every(every, fault);
    let producer = failing(c, &topic, layer.clone()).await?;
    let mut deliveries = Vec::new();
    for value in numbered("record", 0..COUNT) {
        deliveries.push(producer.enqueue(value).await?);
    }
    let mut acknowledged = Vec::new();
    for delivery in deliveries {
        acknowledged.push(delivery.await?.offset.unwrap_or(-1));
    }
    check!(layer.faults() > 0, "no append failed: {:?}", producer.stats());
    let read = c.read_to_end(&topic).await?;
    check_eq!(texts(&read), numbered("record", 0..COUNT), "values stored");
    let stored: Vec<_> = read.iter().map(|message| message.offset).collect();
    check_eq!(acknowledged, stored, "offsets acknowledged");
    Ok(())
}

pub(crate) async fn lost_replies_store_no_duplicates(c: &Context) -> Outcome {
    for every in [2, 3, 7] {
        check_exactly_once(c, every, AppendFault::AckLost).await?;
    }
    Ok(())
}

pub(crate) async fn refused_appends_keep_the_order(c: &Context) -> Outcome {
    for every in [2, 3, 7] {
        check_exactly_once(c, every, AppendFault::Refused).await?;
    }
    Ok(())
}

pub(crate) async fn undelivered_records_are_listed_at_close(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let client = Client::from_engine(RefuseAll.layer(c.engine()));
    let hour = Duration::from_secs(3600);
    let producer = client.producer(&topic).linger(hour).start().await?;
    let mut deliveries = Vec::new();
    for value in numbered("record", 0..5) {
        deliveries.push(producer.enqueue(value).await?);
    }
    let report = producer.close().await?;
    check_eq!(report.delivered, 0, "records delivered, by the report");
    let undelivered: u64 = report.undelivered.iter().map(|part| part.records).sum();
    check_eq!(undelivered, 5, "records not delivered, by the report");
    for part in &report.undelivered {
        check_eq!(part.partition, 0, "partition of the undelivered records");
        check_eq!(part.error.kind(), floe::ErrorKind::AuthFailed, "why: {}", part.error);
    }
    for delivery in deliveries {
        check_refused!(delivery.await, AuthFailed, "a refused delivery");
    }
    Ok(())
}

pub(crate) async fn refused_send_says_where_and_why(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let client = Client::from_engine(RefuseAll.layer(c.engine()));
    let producer = client.producer(&topic).start().await?;
    let Err(error) = producer.send("x").await else {
        return Err(CaseFailure::new("a refused record was acknowledged"));
    };
    check_eq!(error.kind(), floe::ErrorKind::AuthFailed, "kind of {error}");
    check_eq!(error.topic(), Some(&topic), "topic of {error}");
    check_eq!(error.partition(), Some(0), "partition of {error}");
    Ok(())
}

pub(crate) async fn layers_change_nothing(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let layered = Client::from_engine(PassThrough.layer(PassThrough.layer(c.engine())));
    check_eq!(layered.info(), c.client().info(), "name and capabilities through layers");
    let producer = layered.producer(&topic).start().await?;
    producer.send_all(numbered("record", 0..50)).await?;
    check_eq!(texts(&c.read_to_end(&topic).await?), numbered("record", 0..50), "values without layers");
    let mut consumer = layered.consumer(&topic).from(StartAt::Offset(20)).stop_at_end().start().await?;
    check_eq!(texts(&drain(&mut consumer).await?), numbered("record", 20..50), "values through layers");
    if c.capabilities().commit_offsets {
        let group = c.group();
        let mut consumer = layered
            .consumer(&topic)
            .group(group.as_str())
            .from(StartAt::StoredOrBeginning)
            .commit(CommitPolicy::Manual)
            .start()
            .await?;
        crate::context::take(&mut consumer, 30).await?;
        consumer.commit().await?;
        check_eq!(c.stored(&group, &topic.partition(0)).await?, Some(30), "offset stored through layers");
    }
    Ok(())
}
