//! `floe consume`: reads records and prints them.

mod decode;
mod session;
mod sources;
mod stats;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use floe::{
    Client, ErrorKind, SmartModule, Topic,
    consumer::{AckMode, CommitPolicy, Consumer, ConsumerBuilder, Membership, StartAt},
    units,
};

use self::{
    decode::ValueDecoder,
    session::{Session, SessionParts},
    sources::TopicSources,
    stats::ReadingStats,
};
use super::{
    fluvio::{self, smartmodule_options::SmartModuleArgs},
    name_pattern::NamePattern,
    selection::{FILTER_HELP, SelectionArgs},
    wait_for_topic, with_reader,
};
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::{
        record::RecordPrinter,
        stdout::{Stdout, note},
        template::Template,
    },
};

/// Commit interval of a consumer group. A killed consumer prints at most this much again.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A group whose offsets were stored within this time has another reader.
const ACTIVE_MILLIS: i64 = 5_000;

#[derive(Debug, Args)]
#[command(after_long_help = FILTER_HELP)]
pub(crate) struct ConsumeArgs {
    /// Topics to read, also as patterns such as 'orders-*', which select the topics of this moment
    #[arg(required = true)]
    topics: Vec<String>,
    /// Start position: beginning, end, stored, offset N, +N after the beginning, -N before the end, or @TIME (RFC 3339,
    /// Unix seconds or milliseconds, or -1h for one hour ago) [default: stored with --group, beginning with
    /// --exit-at-end, else end]
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    from: Option<StartAt>,
    /// Start at the beginning; the same as --from beginning
    #[arg(short = 'B', long, conflicts_with = "from")]
    beginning: bool,
    /// Read only this partition [default: all]
    #[arg(short, long, value_name = "P")]
    partition: Option<u32>,
    /// Store offsets for this consumer group, and resume from them. Without --shared the consumers of a group do not divide
    /// the partitions: each reads every record, and the later commit wins
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// Divide the partitions among all consumers of the group that do the same; others take over when one ends
    #[arg(long, requires = "group", conflicts_with_all = ["partition", "exit_at_end", "mirror"])]
    shared: bool,
    /// Name that a restarted consumer keeps, so that it takes its partitions over at once
    #[arg(long, value_name = "NAME", requires = "shared")]
    instance: Option<String>,
    /// Time without a sign of life after which others take over [default: 10s]
    #[arg(long, value_name = "DURATION", requires = "shared", value_parser = units::parse_duration)]
    session: Option<Duration>,
    /// Print the last N records of all partitions together, then go on with new ones
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "beginning", "group"])]
    tail: Option<usize>,
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print rates and lag on standard error each second
    #[arg(long)]
    stats: bool,
    /// Show the output of a shell command that gets each value on its standard input, in place of the value
    #[arg(long, value_name = "COMMAND")]
    decode: Option<String>,
    /// Stop after the records that the topics have when the command starts
    #[arg(short, long)]
    exit_at_end: bool,
    /// Format of a record, with the fields {topic} {partition} {offset} {time} {timestamp} {key} {value} {headers}
    /// {key_length} (-1 without a key) {value_length}, also spelt {{name}} or %t %p %o %T %k %s %h %K %S, and the escapes \n, \t and \xNN. A newline follows unless the format ends
    /// with one or with \c
    #[arg(long, value_name = "FORMAT", value_parser = Template::parse, allow_hyphen_values = true)]
    format: Option<Template>,
    /// Read only the partitions mirrored with this remote cluster (Fluvio)
    #[arg(long, value_name = "REMOTE", conflicts_with = "partition")]
    mirror: Option<String>,
    #[command(flatten)]
    smartmodules: SmartModuleArgs,
}

impl ConsumeArgs {
    fn start(&self) -> Outcome<StartAt> {
        match self.from {
            Some(StartAt::StoredOrBeginning) if self.group.is_none() => {
                Err(Failure::usage("--from stored needs --group: offsets are stored for a group"))
            }
            Some(position) => Ok(position),
            None if self.beginning => Ok(StartAt::Beginning),
            None if self.group.is_some() => Ok(StartAt::StoredOrBeginning),
            None if self.exit_at_end => Ok(StartAt::Beginning),
            None => Ok(StartAt::End),
        }
    }
}

pub(crate) async fn run(global: &Global, args: ConsumeArgs) -> Outcome {
    if args.format.is_some() && global.output != OutputFormat::Text {
        return Err(Failure::usage("--format and --output both set the format of records: use one"));
    }
    let start = args.start()?;
    let filter = args.selection.filter()?;
    if args.mirror.is_some() {
        fluvio::require(&global.url, "mirrors")?;
    }
    let modules = args.smartmodules.load(global).await?;
    let interrupt = Interrupt::listen()?;
    with_reader(global, async |client| {
        let topics = topics(global, client, &args.topics).await?;
        let (sources, newest) = open(client, &args, &topics, (start, modules)).await?;
        let out = Stdout::lock();
        let printer = RecordPrinter::new(global.output, args.format.clone(), out.is_terminal());
        // Where reading removes records, the rest of a batch that is not printed must be counted as lost.
        let capabilities = client.info().capabilities;
        let parts = SessionParts {
            removes: capabilities.consuming_reads && !capabilities.offsets,
            output: global.output,
            grouped: args.group.is_some(),
            remaining: args.count,
            filter,
            decoder: args.decode.as_deref().map(ValueDecoder::new),
            stats: args.stats.then(ReadingStats::start),
        };
        Session::new(sources, (out, printer), &interrupt, parts).run(newest).await
    })
    .await
    .map_err(|failure| match args.from {
        Some(StartAt::Offset(offset)) if failure.code() == ErrorKind::OffsetOutOfRange.as_str() => failure
            .with_hint(format!(
                "--from +{offset} starts as many records after the oldest of each partition; --partition P reads one \
                 partition, and `floe topic describe {}` shows the offsets of all",
                args.topics.join(" ")
            )),
        _ => failure,
    })
}

/// Returns the topics that the arguments name, once each.
async fn topics(global: &Global, client: &Client, named: &[String]) -> Outcome<Vec<Topic>> {
    let mut topics = Vec::new();
    for name in named {
        if !NamePattern::is_meant_by(name) {
            wait_for_topic(global, client, name).await;
            topics.push(Topic::from(name.as_str()));
            continue;
        }
        let all = client.admin().topics().await?;
        let before = topics.len();
        let pattern = NamePattern::parse(name).map_err(Failure::usage)?;
        topics.extend(all.into_iter().map(|info| info.name).filter(|topic| pattern.matches(topic.as_str())));
        if topics.len() == before {
            return Err(Failure::not_found(format!("no topic matches {name:?}"))
                .with_hint("`floe topic list` shows the topics"));
        }
    }
    let mut seen = std::collections::HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

/// Opens a consumer for each topic. Returns the records that --tail prints first, too.
async fn open(
    client: &Client,
    args: &ConsumeArgs,
    topics: &[Topic],
    (start, modules): (StartAt, Vec<SmartModule>),
) -> Outcome<(TopicSources, Vec<floe::Message>)> {
    if let Some(group) = &args.group
        && !args.shared
    {
        hint_at_sharing(client, group).await;
    }
    let builder = |topic: &Topic, start| {
        let builder = client.consumer(topic).from(start);
        configured(modules.iter().cloned().fold(builder, ConsumerBuilder::smartmodule), args)
    };
    if let Some(count) = args.tail {
        return sources::tail(client, topics, (args.partition, count, args.exit_at_end), builder).await;
    }
    let mut consumers: Vec<Consumer> = Vec::with_capacity(topics.len());
    for topic in topics {
        let builder = builder(topic, start);
        let builder = match consumers.first() {
            _ if !args.shared => builder,
            None => builder.shared_as(membership(args)),
            // All topics have one member.
            Some(first) => builder.shared_with(first),
        };
        consumers.push(builder.start().await?);
    }
    Ok((TopicSources::new(consumers), Vec::new()))
}

/// Adds the options of the command to a consumer.
fn configured(mut builder: ConsumerBuilder, args: &ConsumeArgs) -> ConsumerBuilder {
    if let Some(remote) = &args.mirror {
        builder = builder.mirror(remote.as_str());
    }
    if let Some(partition) = args.partition {
        builder = builder.partition(partition);
    }
    if let Some(group) = &args.group {
        // A record counts as read when it has left this process, so the session acknowledges it explicitly.
        builder = builder
            .group(group.as_str())
            .ack_mode(AckMode::Explicit)
            .commit(CommitPolicy::Interval(COMMIT_EVERY));
    }
    if args.exit_at_end { builder.stop_at_end() } else { builder }
}

fn membership(args: &ConsumeArgs) -> Membership {
    let mut membership = Membership::new();
    if let Some(instance) = &args.instance {
        membership = membership.instance(instance.as_str());
    }
    match args.session {
        Some(session) => membership.session(session),
        None => membership,
    }
}

/// Tells of another reader of the group, which gets the same records.
async fn hint_at_sharing(client: &Client, group: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let since = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(ACTIVE_MILLIS);
    let has_members = client.groups().describe(group).await.is_ok_and(|group| !group.members.is_empty());
    if has_members {
        note(&format!(
            "group {group} has members that share its partitions: without --shared this consumer gets every record"
        ));
        return;
    }
    let stored = client.admin().committed_offsets(Some(group)).await.unwrap_or_default();
    if stored.iter().any(|offset| offset.modified_at.is_some_and(|at| at > since)) {
        note(&format!(
            "offsets of group {group} were stored a moment ago: if another consumer of it runs, both get every record; \
             --shared divides them"
        ));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ConsumeArgs,
    }

    fn start(line: &[&str]) -> Outcome<StartAt> {
        Line::try_parse_from([&["consume", "t"], line].concat()).unwrap().args.start()
    }

    #[test]
    fn start_position_follows_the_options() {
        assert_eq!(start(&[]).unwrap(), StartAt::End);
        assert_eq!(start(&["-e"]).unwrap(), StartAt::Beginning);
        assert_eq!(start(&["-B"]).unwrap(), StartAt::Beginning);
        assert_eq!(start(&["--beginning", "-g", "g"]).unwrap(), StartAt::Beginning);
        assert!(Line::try_parse_from(["consume", "t", "-B", "--from", "end"]).is_err());
        assert_eq!(start(&["-e", "--group", "g"]).unwrap(), StartAt::StoredOrBeginning);
        assert_eq!(start(&["--from", "end", "--group", "g"]).unwrap(), StartAt::End);
        assert_eq!(start(&["--from", "-3"]).unwrap(), StartAt::BeforeEnd(3));
        assert_eq!(start(&["--from=-3", "-e"]).unwrap(), StartAt::BeforeEnd(3));
        assert_eq!(start(&["--from", "+3"]).unwrap(), StartAt::AfterBeginning(3));
        assert!(start(&["--from", "stored"]).is_err());
    }
}
