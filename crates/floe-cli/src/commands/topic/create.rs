//! `floe topic create`.

use std::time::Duration;

use clap::Args;
use floe::{Durability, ErrorKind, TopicSpec, units};
use serde_json::json;

use crate::{
    commands::{
        fluvio::topic::{self as fluvio_topic, FluvioTopicArgs},
        topic_settings::{parse_age, parse_bytes, parse_durability},
        with_client,
    },
    exit::{Failure, Outcome},
    global::Global,
    output::{amount, print_document},
};

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the topic: 1 to 63 characters of a-z, 0-9 and '-', not starting or ending with '-'
    // Accepted so that a name such as `-orders` fails as a name and not as an unknown option.
    #[arg(allow_hyphen_values = true)]
    name: String,
    /// Number of partitions
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    partitions: u32,
    /// Remove records older than this, such as 7d [default: never; on Fluvio 7d]
    #[arg(long, value_name = "DURATION", visible_alias = "retention-time", value_parser = parse_age)]
    retention_age: Option<Duration>,
    /// Remove the oldest records of a partition beyond this size, such as 10GiB [default: never; on Fluvio 100GiB]
    #[arg(long, value_name = "SIZE", visible_alias = "max-partition-size", value_parser = parse_bytes)]
    retention_bytes: Option<u64>,
    /// Acknowledge a record when the operating system has it (`os`), the same with a sync at least every MS milliseconds
    /// (`interval:MS`), or when it is synced to disk (`always`) [default: os]
    #[arg(long, value_name = "os|always|interval:MS", value_parser = parse_durability)]
    durability: Option<Durability>,
    /// Size of a segment file, such as 64MiB [default: set by the engine]
    #[arg(long, value_name = "SIZE", visible_alias = "segment-size", value_parser = units::parse_size)]
    segment_bytes: Option<u64>,
    /// Succeed if the topic exists, with whatever settings it has
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    fluvio: FluvioTopicArgs,
}

pub(super) async fn run(global: &Global, args: CreateArgs) -> Outcome {
    let mut spec = TopicSpec::new(args.name.as_str()).partitions(args.partitions);
    spec.durability = args.durability;
    spec.retention_age = args.retention_age;
    spec.retention_bytes = args.retention_bytes;
    spec.segment_bytes = args.segment_bytes;
    let created = if args.fluvio == FluvioTopicArgs::default() {
        // Connecting creates an embedded store, so an invalid topic fails before.
        spec.validate()?;
        let create = async |client: &floe::Client| Ok(client.admin().create_topic(spec).await?);
        with_client(global, create).await.map(|()| args.partitions)
    } else {
        fluvio_topic::create(global, &spec, &args.fluvio).await
    };
    let name = args.name;
    let exists = |failure: &Failure| failure.code() == ErrorKind::TopicAlreadyExists.as_str();
    let partitions = match created {
        Err(failure) if args.if_not_exists && exists(&failure) => {
            let document = json!({ "created": null, "exists": name });
            return print_document(global.output, &document, &format!("topic {name} exists\n"));
        }
        created => created?,
    };
    let text = format!("created topic {name} with {}\n", amount::count(partitions.into(), "partition"));
    print_document(global.output, &json!({ "created": name, "partitions": partitions }), &text)
}
