//! `floe consume`: reads records and prints them.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use floe::{
    Client, Error, ErrorKind, SmartModule,
    consumer::{
        AckMode, CommitPolicy, Consumer, ConsumerBuilder, Gap, Membership, Message, RecordBatch, StartAt,
    },
    exchange::RecordFields,
    units,
};
use futures_util::FutureExt as _;

use super::{
    fluvio::{self, smartmodule_options::SmartModuleArgs},
    wait_for_topic, with_reader,
};
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::{
        amount,
        record::RecordPrinter,
        stdout::{Stdout, note},
        template::Template,
    },
    platform::StdoutReader,
};

/// Commit interval of a consumer group. A killed consumer prints at most this much again.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A group whose offsets were stored within this time has another reader.
const ACTIVE_MILLIS: i64 = 5_000;

/// Most records printed one by one between two flushes.
const UNFLUSHED: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Topic to read
    topic: String,
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
    /// Stop after N records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Stop at the high watermark of the time when the command starts
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
    if args.mirror.is_some() {
        fluvio::require(&global.url, "mirrors")?;
    }
    let modules = args.smartmodules.load(global).await?;
    let interrupt = Interrupt::listen()?;
    with_reader(global, async |client| {
        wait_for_topic(global, client, &args.topic).await;
        let consumer = open(client, &args, (start, modules)).await?;
        let out = Stdout::lock();
        let printer = RecordPrinter::new(global.output, args.format.clone(), out.is_terminal());
        // Where reading removes records, the rest of a batch that is not printed must be counted as lost.
        let capabilities = client.info().capabilities;
        let removes = capabilities.consuming_reads && !capabilities.offsets;
        let session = Session {
            consumer,
            removes,
            out,
            printer,
            interrupt: &interrupt,
            reader: StdoutReader::watch(),
            output: global.output,
            grouped: args.group.is_some(),
            remaining: args.count,
            unflushed: Vec::new(),
            gaps: 0,
            missing: 0,
        };
        session.run().await
    })
    .await
    .map_err(|failure| match args.from {
        Some(StartAt::Offset(offset)) if failure.code() == ErrorKind::OffsetOutOfRange.as_str() => failure
            .with_hint(format!(
                "--from +{offset} starts as many records after the oldest of each partition; --partition P reads one \
                 partition, and `floe topic describe {}` shows the offsets of all",
                args.topic
            )),
        _ => failure,
    })
}

async fn open(
    client: &Client,
    args: &ConsumeArgs,
    (start, modules): (StartAt, Vec<SmartModule>),
) -> Outcome<Consumer> {
    let mut builder = client.consumer(args.topic.as_str()).from(start);
    builder = modules.into_iter().fold(builder, ConsumerBuilder::smartmodule);
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
    if args.shared {
        builder = builder.shared_as(membership(args));
    } else if let Some(group) = &args.group {
        hint_at_sharing(client, group).await;
    }
    if args.exit_at_end {
        builder = builder.stop_at_end();
    }
    Ok(builder.start().await?)
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

/// Reason why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The end of the topic or the number of records was reached.
    Complete,
    Interrupted,
}

/// Next event of the consumer.
enum Next {
    Batch(RecordBatch),
    Message(Message),
    Gap(Error),
    End(End),
}

struct Session<'a> {
    consumer: Consumer,
    /// Whether reading removes records for good.
    removes: bool,
    out: Stdout,
    printer: RecordPrinter,
    interrupt: &'a Interrupt,
    reader: StdoutReader,
    output: OutputFormat,
    grouped: bool,
    /// Number of records still to print, where there is a limit.
    remaining: Option<u64>,
    /// Printed messages that the buffer may still hold.
    unflushed: Vec<Message>,
    gaps: u64,
    missing: u64,
}

impl Session<'_> {
    async fn run(mut self) -> Outcome {
        let outcome = self.print_all().await;
        if outcome.as_ref().is_err_and(Failure::is_broken_pipe) {
            // Records that the reader did not take stay unacknowledged, so closing stores no offset beyond them.
            let unwritten = if self.removes { self.unflushed.len() } else { 0 };
            self.consumer.close().await?;
            if unwritten > 0 {
                let records = amount::count(unwritten as u64, "record");
                return Err(Failure::loss(format!(
                    "{records} were taken from the topic and not written: the pipe is closed"
                )));
            }
            return outcome.map(drop);
        }
        // Even after an error the output is complete: the JSON array is closed, the printed records are acknowledged.
        let ended = self.finish();
        let closed = self.consumer.close().await;
        let end = outcome?;
        ended?;
        closed?;
        if end == End::Interrupted {
            return Err(Failure::interrupted());
        }
        if self.gaps > 0 {
            return Err(Failure::loss(format!(
                "{} missing in {}",
                amount::count(self.missing, "record"),
                amount::count(self.gaps, "gap")
            )));
        }
        Ok(())
    }

    async fn print_all(&mut self) -> Outcome<End> {
        self.printer.begin(&mut self.out).map_err(|error| Failure::output(&error))?;
        while self.remaining != Some(0) {
            match self.next().await? {
                Next::Batch(batch) => self.print_batch(&batch)?,
                Next::Message(message) => self.print_message(message)?,
                Next::Gap(error) => self.report_gap(error)?,
                Next::End(end) => return Ok(end),
            }
        }
        Ok(End::Complete)
    }

    /// Returns the next event. Flushes before it waits, so that printed records are visible at once.
    async fn next(&mut self) -> Outcome<Next> {
        if self.interrupt.is_pressed() {
            return Ok(Next::End(End::Interrupted));
        }
        // With --count, a group must not acknowledge the rest of a batch.
        let singly = self.removes || self.grouped && self.remaining.is_some();
        let fetched = match fetch(&mut self.consumer, singly).now_or_never() {
            Some(fetched) => fetched,
            None => {
                self.flush()?;
                tokio::select! {
                    fetched = fetch(&mut self.consumer, singly) => fetched,
                    () = self.interrupt.pressed() => return Ok(Next::End(End::Interrupted)),
                    // On a quiet topic no write would notice.
                    () = self.reader.gone() => return Err(Failure::output(&io::ErrorKind::BrokenPipe.into())),
                }
            }
        };
        match fetched {
            Ok(next) => Ok(next),
            Err(error) if error.kind() == ErrorKind::Gap => Ok(Next::Gap(error)),
            Err(error) => Err(error.into()),
        }
    }

    fn print_batch(&mut self, batch: &RecordBatch) -> Outcome {
        let limit = self.remaining.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let printed = print_records(&mut self.printer, &mut self.out, batch, limit);
        printed.map_err(|error| Failure::output(&error))?;
        if let Some(left) = &mut self.remaining {
            *left -= batch.len().min(limit) as u64;
        }
        if self.grouped {
            self.out.flush()?;
            batch.ack();
        }
        Ok(())
    }

    fn print_message(&mut self, message: Message) -> Outcome {
        let row = RecordFields::from(&message);
        self.printer.write(&mut self.out, &row).map_err(|error| Failure::output(&error))?;
        if let Some(left) = &mut self.remaining {
            *left -= 1;
        }
        self.unflushed.push(message);
        if self.unflushed.len() >= UNFLUSHED { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome {
        self.out.flush()?;
        for message in self.unflushed.drain(..) {
            message.ack();
        }
        Ok(())
    }

    /// Reports a gap; reading continues after it.
    fn report_gap(&mut self, error: Error) -> Outcome {
        self.flush()?;
        self.gaps += 1;
        self.missing += Gap::of(&error).map_or(0, Gap::offsets);
        Failure::from(error).report(self.output);
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.printer.end(&mut self.out).map_err(|error| Failure::output(&error))?;
        self.flush()?;
        if self.output == OutputFormat::Table {
            note(&amount::count(self.printer.printed(), "record"));
        }
        Ok(())
    }
}

/// Returns the next message, or the next batch.
///
/// # Cancel safety
/// Dropping the future loses nothing.
async fn fetch(consumer: &mut Consumer, singly: bool) -> floe::Result<Next> {
    let next = if singly {
        consumer.try_next().await?.map(Next::Message)
    } else {
        consumer.next_batch().await?.map(Next::Batch)
    };
    Ok(next.unwrap_or(Next::End(End::Complete)))
}

/// Prints at most `limit` records of a batch.
fn print_records(
    printer: &mut RecordPrinter,
    out: &mut Stdout,
    batch: &RecordBatch,
    limit: usize,
) -> io::Result<()> {
    let values_only = printer.wants_values_only();
    for record in batch.borrowed().take(limit) {
        if values_only {
            printer.write_value(out, record.value)?;
            continue;
        }
        let row = RecordFields::of_batch(batch, &record);
        printer.write(out, &row)?;
    }
    Ok(())
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
