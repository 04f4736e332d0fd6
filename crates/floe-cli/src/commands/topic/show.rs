//! How topics are shown.

use floe::{
    Durability,
    admin::TopicDescription,
    engine::fluvio::objects::{CleanupPolicy, MirrorAssignment, ReplicaAssignment, TopicSpec as FluvioSpec},
    topic::TopicInfo,
};
use serde_json::{Value, json};

use crate::output::{amount, table};

/// How long engines keep records that have no server with rules of its own.
pub(super) const FOR_EVER: &str = "for ever";

pub(super) fn durability_text(durability: Option<Durability>) -> String {
    match durability {
        None => "-".to_owned(),
        Some(Durability::Os) => "os".to_owned(),
        Some(Durability::Always) => "always".to_owned(),
        Some(Durability::Interval(every)) => format!("interval:{}", every.as_millis()),
    }
}

/// How long records are kept; `unset` where the topic does not say.
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
                "records": records(marks.start, marks.high),
                "size_bytes": marks.size_bytes,
            }),
            Err(error) => json!({
                "partition": one.partition,
                "error": { "code": error.kind().as_str(), "message": error.to_string() },
            }),
        })
        .collect();
    document
}

pub(super) fn description_text(described: &TopicDescription, fluvio: Option<&FluvioSpec>) -> String {
    let info = &described.info;
    let settings = match fluvio {
        Some(spec) => fluvio_text(spec),
        None => format!(
            "durability:  {}\nretention:   {}\ncreated:     {}\n",
            durability_text(info.durability),
            retention_text(info, FOR_EVER),
            amount::time(info.created_at),
        ),
    };
    let table = partitions_table(described);
    format!("name:        {}\npartitions:  {}\n{settings}\n{table}", info.name, info.partitions)
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
                records(marks.start, marks.high).to_string(),
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

/// Offsets between two, which is the number of records where offsets have no holes.
fn records(start: i64, high: i64) -> u64 {
    u64::try_from(high.saturating_sub(start)).unwrap_or(0)
}

/// What only Fluvio says of a topic, for programs.
pub(super) fn fluvio_json(spec: &FluvioSpec) -> Value {
    let replicas = match &spec.replicas {
        ReplicaAssignment::Computed { replication_factor, ignore_rack, .. } => {
            json!({ "replication": replication_factor, "ignore_rack": ignore_rack })
        }
        ReplicaAssignment::Assigned(partitions) => json!({
            "assigned": partitions.iter().map(|one| json!({ "id": one.id, "replicas": one.replicas })).collect::<Vec<_>>(),
        }),
        ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) => json!({
            "home_of": home.partitions.iter().map(|one| json!({
                "remote_cluster": one.remote_cluster, "remote_replica": one.remote_replica,
            })).collect::<Vec<_>>(),
            "home_to_remote": home.source,
        }),
        ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote)) => json!({
            "remote_of": remote.home_cluster, "home_to_remote": remote.target,
        }),
    };
    json!({
        "replicas": replicas,
        "compression": format!("{:?}", spec.compression).to_lowercase(),
        "segment_bytes": spec.storage.and_then(|storage| storage.segment_size),
        "deduplication": spec.deduplication.as_ref().map(|dedup| json!({
            "smartmodule": dedup.uses,
            "count": dedup.count,
            "age_ms": dedup.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "params": dedup.with,
        })),
        "system": spec.system,
    })
}

/// What only Fluvio says of a topic, for people.
pub(super) fn fluvio_text(spec: &FluvioSpec) -> String {
    let replicas = match &spec.replicas {
        ReplicaAssignment::Computed { replication_factor, ignore_rack, .. } => {
            let racks = if *ignore_rack { ", racks ignored" } else { "" };
            format!("{replication_factor}{racks}")
        }
        ReplicaAssignment::Assigned(_) => "as assigned; see `floe partition list`".to_owned(),
        ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) => {
            let remotes: Vec<_> = home.partitions.iter().map(|one| one.remote_cluster.as_str()).collect();
            format!("mirror, {} {}", if home.source { "to" } else { "from" }, remotes.join(", "))
        }
        ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote)) => {
            format!("mirror, {} {}", if remote.target { "from" } else { "to" }, remote.home_cluster)
        }
    };
    // What applies where nothing was asked for is the cluster's secret; most keep seven days.
    let default = || "default".to_owned();
    let age = spec.cleanup_policy.map(|CleanupPolicy::Segment { time_in_seconds }| {
        amount::duration(std::time::Duration::from_secs(time_in_seconds.into()))
    });
    let storage = spec.storage.unwrap_or_default();
    let mut text = format!(
        "replicas:    {replicas}\nretention:   {}\nlargest:     {}\nsegments:    {}\ncompression: {}\n",
        age.unwrap_or_else(default),
        storage.max_partition_size.map_or_else(default, amount::bytes),
        storage.segment_size.map_or_else(default, |size| amount::bytes(size.into())),
        format!("{:?}", spec.compression).to_lowercase(),
    );
    if let Some(dedup) = &spec.deduplication {
        let age = dedup.age.map_or_else(String::new, |age| format!(" within {}", amount::duration(age)));
        text.push_str(&format!("repeats:     {} looks at {} records{age}\n", dedup.uses, dedup.count));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durabilities_are_written_as_they_are_typed() {
        assert_eq!(durability_text(Some(Durability::Interval(Duration::from_millis(100)))), "interval:100");
        assert_eq!(durability_text(None), "-");
    }

    #[test]
    fn nothing_is_claimed_about_the_defaults_of_a_cluster() {
        let text = fluvio_text(&FluvioSpec::default());
        assert_eq!(
            text,
            "replicas:    1\nretention:   default\nlargest:     default\nsegments:    default\ncompression: any\n"
        );
    }
}
