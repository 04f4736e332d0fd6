//! Topics: list, describe, create, delete, more partitions.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use floe::{Durability, Topic, TopicSpec, admin::PartitionDescription, engine::Watermarks, topic::TopicInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, caller::Caller, groups, json as answer, no_content, page::Page, with_status};
use crate::{
    access::operation::{CHANGE_TOPIC, CREATE_TOPIC, DELETE_TOPIC, DESCRIBE},
    console::{Console, history::Samples, now, query, query::PathName, request_error::RequestError},
};

/// Names of topics for dead letters end so.
const DEAD_LETTER_ENDINGS: [&str; 6] = [".dlq", "-dlq", "_dlq", "-dead", ".dead", "dead-letters"];

pub(super) async fn list(
    State(console): State<Arc<Console>>,
    caller: Caller,
    query::Parameters(page): query::Parameters<Page>,
) -> Answer {
    let topics = visible(&console, &caller).await?;
    let matching: Vec<_> = topics.into_iter().filter(|info| page.admits(info.name.as_str())).collect();
    let total = matching.len();
    console.history().ready().await;
    let document = console.history().with(|samples| {
        let value = |info: &TopicInfo| sort_value(samples, info, &page.sort);
        let part = match page.sort.as_str() {
            "" | "name" => page.part(matching, |info| Some(info.name.as_str().to_owned())),
            _ => page.part(matching, value),
        };
        let topics: Vec<_> = part.iter().map(|info| topic_json(samples, info)).collect();
        json!({ "topics": topics, "total": total, "stale_seconds": samples.age() })
    });
    Ok(answer(&document))
}

fn sort_value(samples: &Samples, info: &TopicInfo, field: &str) -> Option<f64> {
    let of = samples.topic(&info.name);
    let totals = || of.map(|of| of.totals());
    match field {
        "partitions" => Some(f64::from(info.partitions)),
        "records" => totals()?.0.map(|records| records as f64),
        "bytes" => totals()?.1.map(|bytes| bytes as f64),
        "rate" => of?.rate().0,
        "created" => info.created_at.map(|at| at as f64),
        _ => None,
    }
}

/// Returns the topics that the client may see, ordered by name.
pub(super) async fn visible(console: &Console, caller: &Caller) -> Result<Vec<TopicInfo>, RequestError> {
    if !console.client.info().capabilities.list_topics {
        let hint = "look at a topic by its name: GET /api/v1/topics/{topic}";
        return Err(RequestError::unsupported("this engine does not list its topics").hint(hint));
    }
    let topics = console.client.admin().topics().await?;
    Ok(topics.into_iter().filter(|info| caller.may(DESCRIBE, info.name.as_str())).collect())
}

/// Whether the name is one of a topic for dead letters.
pub(super) fn is_dead_letter_topic(name: &str) -> bool {
    DEAD_LETTER_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

pub(super) fn topic_json(samples: &Samples, info: &TopicInfo) -> Value {
    let of = samples.topic(&info.name);
    let (records, bytes) = of.map(|of| of.totals()).unwrap_or_default();
    let (records_per_second, bytes_per_second) = of.map(|of| of.rate()).unwrap_or_default();
    json!({
        "name": info.name.as_str(),
        "partitions": info.partitions,
        "created_at": info.created_at,
        "records": records,
        "bytes": bytes,
        "records_per_second": records_per_second,
        "bytes_per_second": bytes_per_second,
        "damage": info.damage.iter().map(|finding| &**finding).collect::<Vec<&str>>(),
        "dead_letters": is_dead_letter_topic(info.name.as_str()),
        "retention_age_ms": info.retention_age.map(millis),
        "retention_bytes": info.retention_bytes,
        "durability": info.durability.map(durability_text),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn durability_text(durability: Durability) -> String {
    match durability {
        Durability::Os => "os".to_owned(),
        Durability::Always => "always".to_owned(),
        Durability::Interval(every) => format!("interval:{}", every.as_millis()),
    }
}

pub(super) async fn describe(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(topic)): Path<PathName>,
) -> Answer {
    caller.check(DESCRIBE, &topic)?;
    Ok(answer(&description(&console, &topic).await?))
}

async fn description(console: &Console, topic: &str) -> Result<Value, RequestError> {
    let described = console.client.admin().describe(topic).await?;
    console.history().ready().await;
    let mut document = console.history().with(|samples| {
        let mut document = topic_json(samples, &described.info);
        document["groups"] = groups::on_topic(samples, &described.info.name);
        document["rates"] = samples.rates_of(&described.info.name, now());
        document
    });
    // The lookup is newer than the samples.
    let marks: Vec<_> = described.partitions.iter().map(|one| one.watermarks.as_ref().ok()).collect();
    let records: Option<u64> = marks.iter().map(|marks| marks.map(Watermarks::records)).sum();
    let bytes: Option<u64> = marks.iter().map(|marks| marks.and_then(|marks| marks.size_bytes)).sum();
    if console.client.info().capabilities.offsets {
        document["records"] = records.into();
        document["bytes"] = bytes.into();
    }
    document["partition_details"] = described.partitions.iter().map(partition_json).collect();
    document["settings"] = settings(&described.info);
    Ok(document)
}

fn partition_json(one: &PartitionDescription) -> Value {
    let placement = one.placement.as_ref();
    let mut document = json!({
        "partition": one.partition,
        "leader": placement.and_then(|placement| placement.leader.as_deref()),
        "replicas": placement.map(|placement| placement.replicas.iter().map(|name| &**name).collect::<Vec<_>>()),
    });
    match &one.watermarks {
        Ok(marks) => {
            document["start_offset"] = marks.start.into();
            document["high_watermark"] = marks.high.into();
            document["records"] = marks.records().into();
            document["size_bytes"] = marks.size_bytes.into();
        }
        Err(error) => {
            document["error"] = json!({ "code": error.kind().as_str(), "message": error.to_string() });
        }
    }
    document
}

fn settings(info: &TopicInfo) -> Value {
    let unlimited = || "unlimited".to_owned();
    let mut settings = vec![
        ("partitions", info.partitions.to_string()),
        ("retention by age", info.retention_age.map_or_else(unlimited, |age| format!("{} s", age.as_secs()))),
        ("retention by size", info.retention_bytes.map_or_else(unlimited, |bytes| format!("{bytes} bytes"))),
    ];
    settings.extend(info.durability.map(|durability| ("durability", durability_text(durability))));
    if !info.mirrors.is_empty() {
        settings.push(("mirrors", info.mirrors.join(", ")));
    }
    settings.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTopic {
    name: String,
    partitions: Option<u32>,
    replication: Option<u32>,
    retention_age_ms: Option<u64>,
    retention_bytes: Option<u64>,
}

pub(super) async fn create(State(console): State<Arc<Console>>, caller: Caller, body: Bytes) -> Answer {
    let new: NewTopic = query::body(&body)?;
    caller.check(CREATE_TOPIC, &new.name)?;
    let mut spec = TopicSpec::new(new.name.as_str()).partitions(new.partitions.unwrap_or(1));
    if let Some(replication) = new.replication {
        spec = spec.replication_factor(replication);
    }
    if let Some(age) = new.retention_age_ms {
        spec = spec.retention_age(Duration::from_millis(age));
    }
    if let Some(bytes) = new.retention_bytes {
        spec = spec.retention_bytes(bytes);
    }
    console.client.admin().create_topic(spec).await?;
    caller.changed(CREATE_TOPIC, &new.name);
    Ok(with_status(StatusCode::CREATED, &description(&console, &new.name).await?))
}

pub(super) async fn remove(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(topic)): Path<PathName>,
) -> Answer {
    caller.check(DELETE_TOPIC, &topic)?;
    console.client.admin().delete_topic(Topic::from(topic.as_str())).await?;
    caller.changed(DELETE_TOPIC, &topic);
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Partitions {
    partitions: u32,
}

pub(super) async fn add_partitions(
    State(console): State<Arc<Console>>,
    caller: Caller,
    Path(PathName(topic)): Path<PathName>,
    body: Bytes,
) -> Answer {
    let Partitions { partitions } = query::body(&body)?;
    caller.check(CHANGE_TOPIC, &topic)?;
    console.client.admin().add_partitions(topic.as_str(), partitions).await?;
    caller.changed(CHANGE_TOPIC, &topic);
    Ok(answer(&description(&console, &topic).await?))
}
