//! `floe topic create`: what a new topic is to be, on any engine and on Fluvio.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use floe::{
    Durability, TopicSpec,
    engine::fluvio::objects::{
        CleanupPolicy, Deduplication, HomeAssignment, HomePartition, MirrorAssignment, PartitionAssignment,
        ReplicaAssignment, TopicCompression, TopicSpec as FluvioSpec, TopicStorage,
    },
    units,
};
use serde_json::{Value, json};

use crate::{
    global::Global,
    commands::{fluvio, parse_param, with_client},
    exit::{Failure, Outcome},
    output::{amount, print_document},
};

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the topic: 1 to 63 of a-z, 0-9 and '-', not at the ends
    // Else a name such as `-orders` would be taken for options, with an error that helps nobody.
    #[arg(allow_hyphen_values = true)]
    name: String,
    /// How many partitions
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: u32,
    /// Let records go when they are older than this, such as 7d [default: never; on Fluvio 7d]
    #[arg(long, value_name = "DURATION", visible_alias = "retention-time", value_parser = units::parse_duration)]
    retention_age: Option<Duration>,
    /// Let the oldest records of a partition go beyond this size, such as 10GiB [default: never; on Fluvio 100GiB]
    #[arg(long, value_name = "SIZE", visible_alias = "max-partition-size", value_parser = units::parse_size)]
    retention_bytes: Option<u64>,
    /// When a record counts as written: `os` after the operating system has it, `interval:MS` with a sync at least so
    /// often, `always` after the disk has it [default: os]
    #[arg(long, value_name = "os|always|interval:MS", value_parser = parse_durability)]
    durability: Option<Durability>,
    /// Size of a segment file, such as 64MiB [default: the engine's]
    #[arg(long, value_name = "SIZE", visible_alias = "segment-size", value_parser = units::parse_size)]
    segment_bytes: Option<u64>,
    #[command(flatten)]
    fluvio: FluvioArgs,
}

/// What only Fluvio clusters can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Fluvio only")]
struct FluvioArgs {
    /// How many data servers hold each partition [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    replication: Option<u32>,
    /// Let all replicas of a partition be in one rack
    #[arg(long, visible_alias = "ignore-rack-assignment")]
    ignore_rack: bool,
    /// Say which data servers hold each partition: a JSON file with [{"id":0,"replicas":[5001,5002]},…], where the
    /// first leads
    #[arg(long, value_name = "FILE", conflicts_with_all = ["partitions", "replication", "ignore_rack"])]
    replica_assignment: Option<PathBuf>,
    /// Codec that producers must use: any, none, gzip, snappy, lz4 or zstd [default: any]
    #[arg(long, value_name = "CODEC", value_enum)]
    compression_type: Option<CompressionType>,
    /// Drop repeated records with this SmartModule
    #[arg(long, value_name = "SMARTMODULE", requires = "dedup_count")]
    dedup: Option<String>,
    /// How many records to remember for --dedup
    #[arg(long, value_name = "N", requires = "dedup", value_parser = clap::value_parser!(u64).range(1..))]
    dedup_count: Option<u64>,
    /// How long to remember them
    #[arg(long, value_name = "DURATION", requires = "dedup", value_parser = units::parse_duration)]
    dedup_age: Option<Duration>,
    /// A parameter of the SmartModule of --dedup; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "dedup", value_parser = parse_param)]
    dedup_param: Vec<(String, String)>,
    /// Mirror the topic: one partition for each of these remote clusters, separated by commas
    #[arg(long, value_name = "REMOTE,…", value_delimiter = ',', conflicts_with_all = ["partitions", "replication", "ignore_rack", "replica_assignment"])]
    mirror: Vec<String>,
    /// Copy from here to the remote clusters, instead of from them
    #[arg(long, requires = "mirror")]
    home_to_remote: bool,
}

/// Codecs that a topic allows.
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

pub(super) async fn run(global: &Global, args: CreateArgs) -> Outcome {
    let partitions = if args.fluvio == FluvioArgs::default() {
        plain(global, args).await?
    } else {
        on_fluvio(global, args).await?
    };
    let (name, partitions) = partitions;
    let text = format!("created topic {name} with {}\n", amount::count(partitions.into(), "partition"));
    print_document(global.output, &json!({ "created": name, "partitions": partitions }), &text)
}

/// Creates a topic as any engine can. Gives its name and the number of its partitions.
async fn plain(global: &Global, args: CreateArgs) -> Outcome<(String, u32)> {
    let mut spec = TopicSpec::new(args.name.as_str()).partitions(args.partitions);
    spec.durability = args.durability;
    spec.retention_age = args.retention_age;
    spec.retention_bytes = args.retention_bytes;
    spec.segment_bytes = args.segment_bytes;
    // Before a store is opened, and so created, for nothing.
    spec.validate()?;
    with_client(global, async |client| Ok(client.admin().create_topic(spec).await?)).await?;
    Ok((args.name, args.partitions))
}

/// Creates a topic with what only Fluvio has.
async fn on_fluvio(global: &Global, args: CreateArgs) -> Outcome<(String, u32)> {
    const ABILITY: &str = "replicas, mirrors, deduplication or rules of compression";
    fluvio::require(&global.url, ABILITY)?;
    TopicSpec::new(args.name.as_str()).partitions(args.partitions).validate()?;
    let spec = fluvio_spec(&args)?;
    let partitions = match &spec.replicas {
        ReplicaAssignment::Computed { partitions, .. } => *partitions,
        ReplicaAssignment::Assigned(assigned) => u32::try_from(assigned.len()).unwrap_or(u32::MAX),
        ReplicaAssignment::Mirror(_) => u32::try_from(args.fluvio.mirror.len()).unwrap_or(u32::MAX),
    };
    fluvio::with_admin(global, ABILITY, async |admin| {
        Ok(admin.create_topic(args.name.as_str(), spec).await?)
    })
    .await?;
    Ok((args.name, partitions))
}

fn fluvio_spec(args: &CreateArgs) -> Outcome<FluvioSpec> {
    let CreateArgs { name, partitions, retention_age, retention_bytes, durability, segment_bytes, fluvio } =
        args;
    if durability.is_some() {
        return Err(Failure::usage("--durability is for embedded topics; a Fluvio cluster has its own rule"));
    }
    let too_much = |what: &str| Failure::usage(format!("{what} is more than Fluvio can store"));
    let cleanup_policy = match retention_age {
        None => None,
        Some(age) => Some(CleanupPolicy::Segment {
            time_in_seconds: u32::try_from(age.as_secs()).map_err(|_| too_much("--retention-age"))?,
        }),
    };
    let segment_size = match segment_bytes {
        None => None,
        Some(bytes) => Some(u32::try_from(*bytes).map_err(|_| too_much("--segment-bytes"))?),
    };
    let storage = TopicStorage { segment_size, max_partition_size: *retention_bytes };
    let replicas = if !fluvio.mirror.is_empty() {
        ReplicaAssignment::Mirror(mirrors(name, &fluvio.mirror, fluvio.home_to_remote))
    } else if let Some(file) = &fluvio.replica_assignment {
        ReplicaAssignment::Assigned(read_assignment(file)?)
    } else {
        ReplicaAssignment::Computed {
            partitions: *partitions,
            replication_factor: fluvio.replication.unwrap_or(1),
            ignore_rack: fluvio.ignore_rack,
        }
    };
    Ok(FluvioSpec {
        replicas,
        cleanup_policy,
        storage: (storage != TopicStorage::default()).then_some(storage),
        compression: fluvio.compression_type.map_or(TopicCompression::Any, Into::into),
        deduplication: fluvio.dedup.as_ref().map(|uses| Deduplication {
            count: fluvio.dedup_count.unwrap_or_default(),
            age: fluvio.dedup_age,
            uses: uses.clone(),
            with: fluvio.dedup_param.iter().cloned().collect::<BTreeMap<_, _>>(),
        }),
        system: false,
    })
}

/// The near end of a mirrored topic, with one partition for each remote cluster.
fn mirrors(topic: &str, remotes: &[String], source: bool) -> MirrorAssignment {
    let partitions = remotes
        .iter()
        .map(|remote| HomePartition {
            remote_cluster: remote.clone(),
            // The far end has one partition.
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
            .with_hint(r#"write [{"id":0,"replicas":[5001,5002]},{"id":1,"replicas":[5002,5001]}]"#)
    })
}

/// Reads the form that the official command line reads.
fn parse_assignment(text: &str) -> Result<Vec<PartitionAssignment>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    let entries =
        value.as_array().filter(|entries| !entries.is_empty()).ok_or("this is no list of partitions")?;
    let mut assigned = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let id = entry["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        if id.is_none_or(|id| id as usize != number) {
            return Err(format!("the {}. entry has id {}, and ids count from 0", number + 1, entry["id"]));
        }
        let replicas: Option<Vec<i32>> = entry["replicas"].as_array().and_then(|replicas| {
            replicas.iter().map(|spu| spu.as_i64().and_then(|spu| i32::try_from(spu).ok())).collect()
        });
        match replicas {
            Some(replicas) if !replicas.is_empty() => {
                assigned.push(PartitionAssignment { id: id.unwrap_or_default(), replicas, mirror: None });
            }
            _ => {
                return Err(format!("the replicas of partition {number} are no list of ids of data servers"));
            }
        }
    }
    Ok(assigned)
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "os" => Ok(Durability::Os),
        None if text == "always" => Ok(Durability::Always),
        Some(("interval", every)) => match every.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => {
                Ok(Durability::Interval(Duration::from_millis(milliseconds)))
            }
            // `interval:1s` is what one types who knows the other options.
            Err(_) => match units::parse_duration(every) {
                Ok(every) if !every.is_zero() => Ok(Durability::Interval(every)),
                _ => Err(format!("{every:?} is no interval: write milliseconds, such as interval:100")),
            },
            Ok(_) => Err("an interval of 0 is `always`".to_owned()),
        },
        _ => Err(format!("{text:?} is no durability: write os, always or interval:MS")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durabilities() {
        assert_eq!(parse_durability("os"), Ok(Durability::Os));
        assert_eq!(parse_durability("always"), Ok(Durability::Always));
        let tenth = Durability::Interval(Duration::from_millis(100));
        assert_eq!(parse_durability("interval:100"), Ok(tenth));
        assert_eq!(parse_durability("interval:100ms"), Ok(tenth));
        for bad in [
            "",
            "Os",
            "interval",
            "interval:",
            "interval:0",
            "interval:0s",
            "interval:x",
            "interval:-1",
            "os:1",
        ] {
            assert!(parse_durability(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn assignments() {
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
        #[command(flatten)]
        args: CreateArgs,
    }

    fn spec(line: &[&str]) -> Outcome<FluvioSpec> {
        use clap::Parser as _;
        fluvio_spec(&Line::try_parse_from([&["create", "t"], line].concat()).unwrap().args)
    }

    #[test]
    fn every_setting_of_fluvio_is_sent() {
        let sent = spec(&[
            "--partitions=3",
            "--replication=2",
            "--ignore-rack",
            "--retention-time=1h",
            "--segment-size=64MiB",
            "--max-partition-size=1GiB",
            "--compression-type=zstd",
            "--dedup=filter",
            "--dedup-count=5",
            "--dedup-age=10s",
            "--dedup-param=a=b=c",
        ])
        .unwrap();
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
        assert_eq!(sent, expected);
        let plain = spec(&["--replication=1"]).unwrap();
        assert_eq!((plain.storage, plain.cleanup_policy), (None, None));
        assert!(spec(&["--replication=1", "--durability=os"]).is_err());
        assert!(spec(&["--replication=1", "--segment-bytes=5GiB"]).is_err());
    }

    #[test]
    fn a_mirror_has_a_partition_for_each_remote_cluster() {
        let ReplicaAssignment::Mirror(MirrorAssignment::Home(home)) =
            spec(&["--mirror=edge1,edge2", "--home-to-remote"]).unwrap().replicas
        else {
            panic!("not the near end of a mirror");
        };
        assert!(home.source);
        assert_eq!(home.partitions.len(), 2);
        let second = &home.partitions[1];
        assert_eq!((second.remote_cluster.as_str(), second.remote_replica.as_str()), ("edge2", "t-0"));
    }
}
