//! Calls that need a missing capability are refused before any IO, with the name of the capability.

use floe::{
    Client, Record, SmartModule, TopicSpec,
    consumer::{CommitPolicy, FetchLimit, StartAt},
    layer::Layer,
    producer::{AppendCondition, FencingToken},
};

use crate::{
    Context, Outcome,
    failure::{check, check_eq, check_refused},
    interfere::CountCalls,
};

/// Checks that the call is refused, that the error names the capability, and that the call does not reach the engine.
macro_rules! check_unsupported {
    ($calls:expr, $call:expr, $word:expr) => {{
        let before = $calls.count();
        let outcome = $call.map(drop);
        let after = $calls.count();
        if let Err(error) = &outcome {
            let text = error.to_string();
            check!(text.contains($word), "the error does not mention {:?}: {text}", $word);
        }
        check_refused!(outcome, Unsupported, "asking for {:?}", $word);
        check_eq!(after, before, "calls that reached the engine when asking for {:?}", $word);
    }};
}

pub(crate) async fn missing_capabilities_are_refused_before_io(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let able = c.capabilities();
    let calls = CountCalls::default();
    let client = Client::from_engine(calls.clone().layer(c.engine()));
    let admin = client.admin();
    if !able.partitions {
        let spec = TopicSpec::new(c.topic_name()).partitions(2);
        check_unsupported!(calls, admin.create_topic(spec).await, "partitions");
        check_unsupported!(calls, admin.add_partitions(&topic, 2).await, "partitions");
    }
    if !able.list_topics {
        check_unsupported!(calls, admin.topics().await, "list");
        check_unsupported!(calls, admin.watch().await, "list");
    }
    if !able.delete_topic {
        check_unsupported!(calls, admin.delete_topic(&topic).await, "deletion");
    }
    if !able.offsets {
        check_unsupported!(calls, admin.watermarks(topic.partition(0)).await, "offsets");
        for start in [StartAt::Offset(0), StartAt::AfterBeginning(1), StartAt::BeforeEnd(1), StartAt::Time(0)]
        {
            let started = client.consumer(&topic).from(start).start().await;
            check_unsupported!(calls, started, "offsets");
        }
        if !able.consuming_reads {
            check_unsupported!(calls, client.consumer(&topic).stop_at_end().start().await, "offsets");
        }
        let fetched = client.fetch(topic.partition(0), 0, FetchLimit::default()).await;
        check_unsupported!(calls, fetched, "offsets");
    }
    if !able.commit_offsets {
        check_unsupported!(calls, admin.committed_offsets(None).await, "offsets");
        let set = admin.set_committed_offset("group", topic.partition(0), 0).await;
        check_unsupported!(calls, set, "offsets");
        let forgotten = admin.forget_committed_offset("group", topic.partition(0)).await;
        check_unsupported!(calls, forgotten, "offsets");
        let shared = client.consumer(&topic).group("group").shared().start().await;
        check_unsupported!(calls, shared, "shared groups");
        check_unsupported!(calls, client.groups().list().await, "shared groups");
        let member = client.consumer(&topic).group("group").commit(CommitPolicy::Manual).start().await;
        check_unsupported!(calls, member, "offsets");
    }
    if !able.smartmodules {
        let module = || SmartModule::named("any");
        check_unsupported!(
            calls,
            client.producer(&topic).smartmodule(module()).start().await,
            "SmartModules"
        );
        check_unsupported!(
            calls,
            client.consumer(&topic).smartmodule(module()).start().await,
            "SmartModules"
        );
    }
    if !able.mirrors {
        let mirrored = client.consumer(&topic).mirror("edge").start().await;
        check_unsupported!(calls, mirrored, "mirrored topics");
    }
    let producer = client.producer(&topic).start().await?;
    if !able.conditional_appends {
        let conditions = [AppendCondition::EndsAt(0), AppendCondition::Token(FencingToken::new("token", 1))];
        for condition in conditions {
            let sent = producer.send_batch(0, ["x"], condition).await;
            check_unsupported!(calls, sent, "conditional appends");
        }
    }
    if !able.keys {
        check_unsupported!(calls, producer.send(Record::keyed("key", "x")).await, "key");
    }
    if !able.headers {
        check_unsupported!(calls, producer.send(Record::new("x").header("name", "value")).await, "header");
    }
    producer.send("plain").await?;
    Ok(())
}
