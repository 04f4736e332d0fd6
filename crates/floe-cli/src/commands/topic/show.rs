//! Text and JSON forms of topics.

use floe::{admin::TopicDescription, topic::TopicInfo};
use serde_json::{Value, json};

use crate::{
    commands::topic_settings::durability_text,
    escape,
    output::{amount, table},
};

/// Retention of an engine without a default of its own.
pub(super) const UNLIMITED: &str = "unlimited";

/// Returns the retention of a topic, or `unset` where the topic has none.
pub(super) fn retention_text(info: &TopicInfo, unset: &str) -> String {
    let age = info.retention_age.map(amount::duration);
    let size = info.retention_bytes.map(amount::bytes);
    match (age, size) {
        (None, None) => unset.to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(age), Some(size)) => format!("{age} or {size}"),
    }
}

pub(super) fn info_json(info: &TopicInfo) -> Value {
    json!({
        "name": info.name.as_str(),
        "partitions": info.partitions,
        "created_at": info.created_at,
        "durability": info.durability.map(|durability| durability_text(Some(durability))),
        "retention_age_ms": info.retention_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        "retention_bytes": info.retention_bytes,
    })
}

pub(super) fn description_json(described: &TopicDescription) -> Value {
    let mut document = info_json(&described.info);
    document["partition_details"] = described
        .partitions
        .iter()
        .map(|one| match &one.watermarks {
            Ok(marks) => json!({
                "partition": one.partition,
                "start_offset": marks.start,
                "high_watermark": marks.high,
                "records": marks.records(),
                "size_bytes": marks.size_bytes,
            }),
            Err(error) => json!({
                "partition": one.partition,
                "error": { "code": error.kind().as_str(), "message": error.to_string() },
            }),
        })
        .collect();
    document["damage"] = described.info.damage.iter().map(|finding| Value::from(&**finding)).collect();
    document
}

/// Describes a topic as lines of text. `settings` replaces the generic settings where an engine has its own.
pub(super) fn description_text(described: &TopicDescription, settings: Option<String>) -> String {
    let info = &described.info;
    let settings = settings.unwrap_or_else(|| {
        format!(
            "durability:  {}\nretention:   {}\ncreated:     {}\n",
            durability_text(info.durability),
            retention_text(info, UNLIMITED),
            amount::time(info.created_at),
        )
    });
    let table = partitions_table(described);
    let damage: String = info
        .damage
        .iter()
        .map(|finding| format!("damage:      {}\n", escape::for_cell(finding.as_bytes())))
        .collect();
    format!("name:        {}\npartitions:  {}\n{settings}{damage}\n{table}", info.name, info.partitions)
}

pub(super) fn partitions_table(described: &TopicDescription) -> String {
    let rows: Vec<_> = described
        .partitions
        .iter()
        .map(|one| match &one.watermarks {
            Ok(marks) => vec![
                one.partition.to_string(),
                marks.start.to_string(),
                marks.high.to_string(),
                marks.records().to_string(),
                marks.size_bytes.map_or_else(|| "-".to_owned(), amount::bytes),
            ],
            Err(error) => {
                let unknown = || "-".to_owned();
                vec![
                    one.partition.to_string(),
                    unknown(),
                    unknown(),
                    error.kind().as_str().to_owned(),
                    unknown(),
                ]
            }
        })
        .collect();
    table(&["partition", "start", "high watermark", "records", "size"], &rows)
}
