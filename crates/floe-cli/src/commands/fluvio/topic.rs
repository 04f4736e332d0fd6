//! Fluvio settings of a topic: options of `floe topic create`, and the part of `floe topic describe`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use floe::{
    TopicSpec,
    engine::fluvio::{
        FluvioAdmin,
        objects::{
            AddMirror, CleanupPolicy, Deduplication, HomeAssignment, HomePartition, Metadata,
            MirrorAssignment, PartitionAssignment, ReplicaAssignment, TopicCompression,
            TopicSpec as FluvioSpec, TopicUpdate,
        },
    },
    units,
};
use serde_json::{Value, json};

use super::{require, with_admin};
use crate::{
    commands::parse_param,
    exit::{Failure, Outcome},
    global::Global,
    output::amount,
};

/// Options of `floe topic create` that only a Fluvio cluster supports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Fluvio only")]
pub(crate) struct FluvioTopicArgs {
    /// Number of replicas of each partition [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replication: Option<u32>,
    /// Place replicas without regard to racks
    #[arg(long, visible_alias = "ignore-rack-assignment")]
    ignore_rack: bool,
    /// Assign replicas to SPUs from a JSON file with [{"id":0,"replicas":[5001,5002]},…]; the first SPU of a list
    /// leads
    #[arg(long, value_name = "FILE", conflicts_with_all = ["partitions", "replication", "ignore_rack"])]
    replica_assignment: Option<PathBuf>,
    /// Require producers to use this codec [default: any]
    #[arg(long, value_name = "CODEC", value_enum)]
    compression_type: Option<CompressionType>,
    /// Drop duplicate records with this SmartModule
    #[arg(long, value_name = "SMARTMODULE", requires = "dedup_count")]
    dedup: Option<String>,
    /// Number of records that --dedup remembers
    #[arg(long, value_name = "N", requires = "dedup", value_parser = clap::value_parser!(u64).range(1..))]
    dedup_count: Option<u64>,
    /// Age up to which --dedup remembers records
    #[arg(long, value_name = "DURATION", requires = "dedup", value_parser = units::parse_duration)]
    dedup_age: Option<Duration>,
    /// Parameter of the --dedup SmartModule; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "dedup", value_parser = parse_param)]
    dedup_param: Vec<(String, String)>,
    /// Mirror the topic with these remote clusters, separated by commas; each gets one partition
    #[arg(long, value_name = "REMOTE,…", value_delimiter = ',', conflicts_with_all = ["partitions", "replication", "ignore_rack", "replica_assignment"])]
    mirror: Vec<String>,
    /// Copy records to the remote clusters instead of from them
    #[arg(long, requires = "mirror")]
    home_to_remote: bool,
}

/// Codecs that a topic accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressionType {
    Any,
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<CompressionType> for TopicCompression {
    fn from(of: CompressionType) -> Self {
        match of {
            CompressionType::Any => Self::Any,
            CompressionType::None => Self::None,
            CompressionType::Gzip => Self::Gzip,
            CompressionType::Snappy => Self::Snappy,
            CompressionType::Lz4 => Self::Lz4,
            CompressionType::Zstd => Self::Zstd,
        }
    }
}

/// Creates a topic with Fluvio settings and returns the number of its partitions.
pub(crate) async fn create(global: &Global, spec: &TopicSpec, args: &FluvioTopicArgs) -> Outcome<u32> {
    const CAPABILITY: &str = "replica assignment, mirrors, deduplication or required compression";
    require(&global.url, CAPABILITY)?;
    spec.validate()?;
    let fluvio = fluvio_spec(spec, args)?;
    let partitions = match &fluvio.replicas {
        ReplicaAssignment::Computed { partitions, .. } => *partitions,
        ReplicaAssignment::Assigned(assigned) => u32::try_from(assigned.len()).unwrap_or(u32::MAX),
        ReplicaAssignment::Mirror(_) => u32::try_from(args.mirror.len()).unwrap_or(u32::MAX),
    };
    with_admin(global, CAPABILITY, async |admin| Ok(admin.create_topic(spec.name.as_str(), fluvio).await?))
        .await?;
    Ok(partitions)
}

/// Returns the settings of a topic that the generic description lacks.
pub(crate) async fn settings(global: &Global, name: &str) -> Outcome<Option<FluvioSpec>> {
    with_admin(global, "topic settings", async |admin| {
        // The controller also matches parts of a name.
        let found: Vec<Metadata<FluvioSpec>> = admin.list(&[name]).await?;
        Ok(found.into_iter().find(|topic| topic.name == name).map(|topic| topic.spec))
    })
    .await
}

/// Adds a remote cluster to a mirrored topic.
pub(crate) async fn add_mirror(global: &Global, name: &str, remote: &str, home_to_remote: bool) -> Outcome {
    let mirror = AddMirror { remote_cluster: remote.to_owned(), home_to_mirror: home_to_remote };
    let action = TopicUpdate::AddMirror(mirror);
    with_admin(global, "mirrors", async |admin| Ok(admin.update_topic(name, action).await?)).await
}

/// Converts the generic settings and the Fluvio options to the specification of the cluster.
fn fluvio_spec(spec: &TopicSpec, args: &FluvioTopicArgs) -> Outcome<FluvioSpec> {
    if spec.durability.is_some() {
        return Err(Failure::usage(
            "--durability applies to embedded topics; a Fluvio cluster has its own setting",
        ));
    }
    let common = FluvioAdmin::topic_settings(spec)?;
    let replicas = if !args.mirror.is_empty() {
        ReplicaAssignment::Mirror(mirrors(spec.name.as_str(), &args.mirror, args.home_to_remote))
    } else if let Some(file) = &args.replica_assignment {
        ReplicaAssignment::Assigned(read_assignment(file)?)
    } else {
        ReplicaAssignment::Computed {
            partitions: spec.partitions,
            replication_factor: args.replication.unwrap_or(1),
            ignore_rack: args.ignore_rack,
        }
    };
    Ok(FluvioSpec {
        replicas,
        compression: args.compression_type.map_or(common.compression, Into::into),
        deduplication: args.dedup.as_ref().map(|uses| Deduplication {
            count: args.dedup_count.unwrap_or_default(),
            age: args.dedup_age,
            uses: uses.clone(),
            with: args.dedup_param.iter().cloned().collect::<BTreeMap<_, _>>(),
        }),
        ..common
    })
}

/// Returns the home side of a mirrored topic, with one partition for each remote cluster.
fn mirrors(topic: &str, remotes: &[String], source: bool) -> MirrorAssignment {
    let partitions = remotes
        .iter()
        .map(|remote| HomePartition {
            remote_cluster: remote.clone(),
            // The remote side has one partition.
            remote_replica: format!("{topic}-0"),
            source,
        })
        .collect();
    MirrorAssignment::Home(HomeAssignment { partitions, source })
}

fn read_assignment(file: &Path) -> Outcome<Vec<PartitionAssignment>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::io(format!("cannot read {}", file.display()), &error))?;
    parse_assignment(&text).map_err(|problem| {
        Failure::usage(format!("{}: {problem}", file.display()))
            .with_hint(r#"use [{"id":0,"replicas":[5001,5002]},{"id":1,"replicas":[5002,5001]}]"#)
    })
}

/// Parses the format of the official Fluvio command line.
fn parse_assignment(text: &str) -> Result<Vec<PartitionAssignment>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
    let entries =
        value.as_array().filter(|entries| !entries.is_empty()).ok_or("expected a list of partitions")?;
    let mut assigned = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let id = entry["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        if id.is_none_or(|id| id as usize != number) {
            return Err(format!("entry {number} has id {}: ids count from 0", entry["id"]));
        }
        let replicas: Option<Vec<i32>> = entry["replicas"].as_array().and_then(|replicas| {
            replicas.iter().map(|spu| spu.as_i64().and_then(|spu| i32::try_from(spu).ok())).collect()
        });
        match replicas {
            Some(replicas) if !replicas.is_empty() => {
                assigned.push(PartitionAssignment { id: id.unwrap_or_default(), replicas, mirror: None });
            }
            _ => {
                return Err(format!("the replicas of partition {number} are not a list of SPU ids"));
            }
        }
    }
    Ok(assigned)
}

/// Returns the Fluvio settings of a topic for JSON output.
pub(crate) fn settings_json(spec: &FluvioSpec) -> Value {
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

/// Returns the Fluvio settings of a topic as lines of text.
pub(crate) fn settings_text(spec: &FluvioSpec) -> String {
    let replicas = match &spec.replicas {
        ReplicaAssignment::Computed { replication_factor, ignore_rack, .. } => {
            let racks = if *ignore_rack { ", racks ignored" } else { "" };
            format!("{replication_factor}{racks}")
        }
        ReplicaAssignment::Assigned(_) => "assigned; see `floe partition list`".to_owned(),
        ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) => {
            let remotes: Vec<_> = home.partitions.iter().map(|one| one.remote_cluster.as_str()).collect();
            format!("mirror, {} {}", if home.source { "to" } else { "from" }, remotes.join(", "))
        }
        ReplicaAssignment::Mirror(MirrorAssignment::Remote(remote)) => {
            format!("mirror, {} {}", if remote.target { "from" } else { "to" }, remote.home_cluster)
        }
    };
    // The client cannot read the defaults of a cluster; most keep records for seven days.
    let default = || "default".to_owned();
    let age = spec.cleanup_policy.map(|CleanupPolicy::Segment { time_in_seconds }| {
        amount::duration(std::time::Duration::from_secs(time_in_seconds.into()))
    });
    let storage = spec.storage.unwrap_or_default();
    let mut text = format!(
        "replicas:    {replicas}\nretention:   {}\nmax size:    {}\nsegments:    {}\ncompression: {}\n",
        age.unwrap_or_else(default),
        storage.max_partition_size.map_or_else(default, amount::bytes),
        storage.segment_size.map_or_else(default, |size| amount::bytes(size.into())),
        format!("{:?}", spec.compression).to_lowercase(),
    );
    if let Some(dedup) = &spec.deduplication {
        let age = dedup.age.map_or_else(String::new, |age| format!(" within {}", amount::duration(age)));
        text.push_str(&format!("dedup:       {} over the last {} records{age}\n", dedup.uses, dedup.count));
    }
    text
}

#[cfg(test)]
mod tests {
    use floe::engine::fluvio::objects::TopicStorage;

    use super::*;

    #[test]
    fn assignments_are_parsed() {
        let assigned =
            parse_assignment(r#"[{"id":0,"replicas":[5001,5002]},{"id":1,"replicas":[5002]}]"#).unwrap();
        assert_eq!((assigned[0].replicas.as_slice(), assigned[1].id), ([5001, 5002].as_slice(), 1));
        for bad in [
            "",
            "{}",
            "[]",
            r#"[{"id":1,"replicas":[5001]}]"#,
            r#"[{"id":0,"replicas":[]}]"#,
            r#"[{"id":0,"replicas":["a"]}]"#,
            r#"[{"id":0,"replicas":[99999999999]}]"#,
            r#"[{"id":0}]"#,
        ] {
            assert!(parse_assignment(bad).is_err(), "{bad}");
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        /// `conflicts_with` names it.
        #[arg(long, default_value_t = 1)]
        partitions: u32,
        #[command(flatten)]
        args: FluvioTopicArgs,
    }

    fn spec(line: &[&str], change: impl FnOnce(&mut TopicSpec)) -> Outcome<FluvioSpec> {
        use clap::Parser as _;
        let line = Line::try_parse_from([&["create"], line].concat()).unwrap();
        let mut spec = TopicSpec::new("t").partitions(line.partitions);
        change(&mut spec);
        fluvio_spec(&spec, &line.args)
    }

    #[test]
    fn every_fluvio_setting_is_sent() {
        let args = [
            "--partitions=3",
            "--replication=2",
            "--ignore-rack",
            "--compression-type=zstd",
            "--dedup=filter",
            "--dedup-count=5",
            "--dedup-age=10s",
            "--dedup-param=a=b=c",
        ];
        let sent = spec(&args, |spec| {
            spec.retention_age = Some(Duration::from_secs(3600));
            spec.segment_bytes = Some(64 << 20);
            spec.retention_bytes = Some(1 << 30);
        });
        let expected = FluvioSpec {
            replicas: ReplicaAssignment::Computed { partitions: 3, replication_factor: 2, ignore_rack: true },
            cleanup_policy: Some(CleanupPolicy::Segment { time_in_seconds: 3600 }),
            storage: Some(TopicStorage { segment_size: Some(64 << 20), max_partition_size: Some(1 << 30) }),
            compression: TopicCompression::Zstd,
            deduplication: Some(Deduplication {
                count: 5,
                age: Some(Duration::from_secs(10)),
                uses: "filter".to_owned(),
                with: BTreeMap::from([("a".to_owned(), "b=c".to_owned())]),
            }),
            system: false,
        };
        assert_eq!(sent.unwrap(), expected);
        let plain = spec(&["--replication=1"], |_| {}).unwrap();
        assert_eq!((plain.storage, plain.cleanup_policy), (None, None));
        assert!(spec(&["--replication=1"], |spec| spec.durability = Some(floe::Durability::Os)).is_err());
        assert!(spec(&["--replication=1"], |spec| spec.segment_bytes = Some(5 << 30)).is_err());
    }

    #[test]
    fn mirror_has_one_partition_for_each_remote_cluster() {
        let ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) =
            spec(&["--mirror=edge1,edge2", "--home-to-remote"], |_| {}).unwrap().replicas
        else {
            panic!("not the home side of a mirror");
        };
        assert!(home.source);
        assert_eq!(home.partitions.len(), 2);
        let second = &home.partitions[1];
        assert_eq!((second.remote_cluster.as_str(), second.remote_replica.as_str()), ("edge2", "t-0"));
    }

    #[test]
    fn cluster_defaults_are_shown_as_default() {
        let text = settings_text(&FluvioSpec::default());
        assert_eq!(
            text,
            "replicas:    1\nretention:   default\nmax size:    default\nsegments:    default\ncompression: any\n"
        );
    }
}
