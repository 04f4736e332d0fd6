//! `floe dlq`: dead letters, the records that a consumer failed to process.

use clap::Subcommand;
use floe::{
    Client, Error, ErrorKind, Message,
    consumer::{AckMode, CommitPolicy, Consumer, FetchLimit, StartAt},
    dead_letter::DeadLetter,
    exchange::RecordFields,
    filter::Filter,
    producer::Delivery,
    topic::Topic,
};
use serde_json::{Value, json};

use super::{
    selection::{FILTER_HELP, parse_filter},
    with_reader,
};
use crate::{
    escape,
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::{List, amount, print_document, print_list, table},
};

/// Most records in flight during a replay.
const IN_FLIGHT: usize = 1000;

/// Group that stores the progress of a replay of all dead letters.
const REPLAY_GROUP: &str = "floe-dlq-replay";

/// A dead letter whose record is on its way.
struct Sent {
    message: Message,
    /// The topic that the record goes to.
    to: Topic,
    delivery: floe::Result<Delivery>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters with their origins and errors
    #[command(after_long_help = FILTER_HELP)]
    List {
        /// Dead-letter topic
        topic: String,
        /// List at most N, oldest first
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
        count: usize,
        /// List only the dead letters that this expression selects, such as 'header.floe-dead-code = "storage_error"'
        #[arg(long = "where", value_name = "EXPR")]
        expression: Option<String>,
    },
    /// Replay dead letters: send each record once to the topic of its origin
    #[command(after_long_help = FILTER_HELP)]
    Replay {
        /// Dead-letter topic
        topic: String,
        /// Send the records to this topic instead
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// Consumer group that stores the progress of the replay [default: floe-dlq-replay]
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Stop after N records
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
        /// Replay only the dead letters that this expression selects. Needs --group with a name of its own: progress
        /// passes over the others, which stay for a replay in another group
        #[arg(long = "where", value_name = "EXPR", requires = "group", conflicts_with = "at")]
        expression: Option<String>,
        /// Replay only these dead letters, as listed by `floe dlq list` and separated by commas; stores no progress
        #[arg(long, value_name = "PARTITION/OFFSET", value_delimiter = ',', value_parser = parse_address,
              conflicts_with_all = ["group", "count"])]
        at: Vec<LetterAddress>,
    },
}

/// Partition and offset of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LetterAddress {
    partition: u32,
    offset: i64,
}

fn parse_address(text: &str) -> Result<LetterAddress, String> {
    let address = text.split_once('/').and_then(|(partition, offset)| {
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(LetterAddress { partition: partition.parse().ok()?, offset })
    });
    address.ok_or_else(|| "use PARTITION/OFFSET, such as 0/17".to_owned())
}

pub(crate) async fn run(global: &Global, command: DlqCommand) -> Outcome {
    match command {
        DlqCommand::List { topic, count, expression } => {
            let filter = expression.as_deref().map(parse_filter).transpose()?;
            list(global, &topic, count, filter.as_ref()).await
        }
        DlqCommand::Replay { topic, to, group, count, expression, at } => {
            let filter = expression.as_deref().map(parse_filter).transpose()?;
            let interrupt = Interrupt::listen()?;
            let group = group.as_deref().unwrap_or(REPLAY_GROUP);
            let replay = Replay {
                to: to.map(Topic::from),
                remaining: count.unwrap_or(u64::MAX),
                filter,
                interrupt,
                output: global.output,
            };
            replay.run(global, &topic, group, &at).await
        }
    }
}

/// Whether the filter, if there is one, selects a dead letter as its topic holds it.
fn selects(filter: Option<&Filter>, message: &Message) -> bool {
    filter.is_none_or(|filter| filter.matches(&RecordFields::from(message)))
}

async fn list(global: &Global, topic: &str, count: usize, filter: Option<&Filter>) -> Outcome {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    with_reader(global, async |client| {
        require_offsets(client)?;
        let mut letters = client.consumer(topic).from(StartAt::Beginning).stop_at_end().start().await?;
        while rows.len() < count
            && let Some(message) = letters.try_next().await?
        {
            if selects(filter, &message) {
                rows.push(row(&message));
                documents.push(document(&message));
            }
        }
        Ok(())
    })
    .await?;
    let headings = vec!["offset", "origin", "code", "attempts", "failed at", "key", "error"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

/// Fails on an engine without offsets: a dead letter has no address there, and reading may consume it.
fn require_offsets(client: &Client) -> Outcome {
    let info = client.info();
    if info.capabilities.offsets {
        return Ok(());
    }
    let failure = Failure::from(Error::unsupported("offsets, which address dead letters", info.name));
    Err(failure.with_hint("on Walrus, the option journal=PATH assigns offsets"))
}

/// Fails on an engine that cannot store the progress of a replay.
fn require_stored_offsets(client: &Client) -> Outcome {
    let info = client.info();
    if info.capabilities.commit_offsets {
        return Ok(());
    }
    let failure =
        Failure::from(Error::unsupported("stored offsets, which hold the progress of a replay", info.name));
    Err(failure.with_hint("select the dead letters with --at PARTITION/OFFSET,…"))
}

fn row(message: &Message) -> Vec<String> {
    let address = format!("{}/{}", message.partition, message.offset);
    let key = message.key.as_deref().map_or_else(|| "-".to_owned(), escape::for_cell);
    match DeadLetter::of(message) {
        Some(letter) => vec![
            address,
            letter.origin.to_string(),
            letter.code,
            letter.attempts.to_string(),
            amount::time(Some(letter.at)),
            key,
            escape::for_cell(letter.error.as_bytes()),
        ],
        None => {
            let unknown = || "-".to_owned();
            vec![address, unknown(), unknown(), unknown(), unknown(), key, "not a dead letter".to_owned()]
        }
    }
}

fn document(message: &Message) -> Value {
    let letter = DeadLetter::of(message);
    json!({
        "partition": message.partition,
        "offset": message.offset,
        "origin": letter.as_ref().map(|letter| letter.origin.to_string()),
        "code": letter.as_ref().map(|letter| letter.code.as_str()),
        "error": letter.as_ref().map(|letter| letter.error.as_str()),
        "attempts": letter.as_ref().map(|letter| letter.attempts),
        "given_up_at": letter.as_ref().map(|letter| letter.at),
        "key": message.key.as_deref().map(String::from_utf8_lossy),
        "value": String::from_utf8_lossy(&message.value),
    })
}

struct Replay {
    to: Option<Topic>,
    remaining: u64,
    filter: Option<Filter>,
    interrupt: Interrupt,
    output: OutputFormat,
}

/// Outcome of a replay.
#[derive(Debug, Default)]
struct Counts {
    replayed: u64,
    skipped: u64,
    failed: u64,
    /// The last of the failures.
    error: Option<Error>,
    interrupted: bool,
}

impl Replay {
    async fn run(mut self, global: &Global, topic: &str, group: &str, at: &[LetterAddress]) -> Outcome {
        let counts = with_reader(global, async |client| {
            require_offsets(client)?;
            if !at.is_empty() {
                return self.send_selected(client, topic, at).await;
            }
            require_stored_offsets(client)?;
            let mut letters = client
                .consumer(topic)
                .group(group)
                .ack_mode(AckMode::Explicit)
                .commit(CommitPolicy::Manual)
                .stop_at_end()
                .start()
                .await?;
            let mut counts = Counts::default();
            let outcome = self.send_all(client, &mut letters, &mut counts).await;
            letters.close().await?;
            outcome?;
            Ok(counts)
        })
        .await?;
        let document = json!({
            "topic": topic,
            "replayed": counts.replayed,
            "passed_over": counts.skipped,
            "failed": counts.failed,
            "interrupted": counts.interrupted,
        });
        let mut text = format!("replayed {}\n", amount::count(counts.replayed, "record"));
        if counts.skipped > 0 {
            text += &format!("skipped {}: not dead letters\n", amount::count(counts.skipped, "record"));
        }
        print_document(global.output, &document, &text)?;
        if counts.interrupted {
            return Err(Failure::interrupted());
        }
        match counts.error {
            Some(error) => {
                let left = amount::count(counts.failed, "dead letter");
                Err(Failure::partial(format!("{left} could not be replayed and stay in {topic}"), &error))
            }
            None => Ok(()),
        }
    }

    /// Replays the dead letters at these addresses. Fetches all of them before it sends the first.
    async fn send_selected(&mut self, client: &Client, topic: &str, at: &[LetterAddress]) -> Outcome<Counts> {
        let mut found = Vec::with_capacity(at.len());
        for &LetterAddress { partition, offset } in at {
            let one = FetchLimit::default().records(1);
            let fetched = client.fetch(Topic::from(topic).partition(partition), offset, one).await?;
            let Some(message) = fetched.into_iter().find(|message| message.offset == offset) else {
                let message = format!("no record at {partition}/{offset}");
                return Err(Error::new(ErrorKind::OffsetOutOfRange, message)
                    .with_topic(&topic.into())
                    .into());
            };
            found.push(message);
        }
        let (mut counts, mut waiting) = (Counts::default(), Vec::new());
        for message in found {
            if self.interrupt.is_pressed() {
                counts.interrupted = true;
                break;
            }
            match self.send(client, message).await {
                Ok(sent) => waiting.push(sent),
                Err(_) => counts.skipped += 1,
            }
        }
        for sent in waiting {
            match sent.result().await {
                Ok(_) => counts.replayed += 1,
                // It stays where it is: its address is how it was selected.
                Err((message, error)) => counts.fail(&message, error, self.output),
            }
        }
        Ok(counts)
    }

    async fn send_all(&mut self, client: &Client, letters: &mut Consumer, counts: &mut Counts) -> Outcome {
        let mut waiting = Vec::new();
        while self.remaining > 0 {
            if self.interrupt.is_pressed() {
                counts.interrupted = true;
                break;
            }
            let message = match letters.try_next().await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    // Records on their way must not be sent again by the next replay.
                    self.finish(client, &mut waiting, letters, counts).await?;
                    return Err(error.into());
                }
            };
            if !selects(self.filter.as_ref(), &message) {
                message.ack();
                continue;
            }
            match self.send(client, message).await {
                Ok(sent) => {
                    self.remaining -= 1;
                    waiting.push(sent);
                }
                Err(other) => {
                    counts.skipped += 1;
                    other.ack();
                }
            }
            if waiting.len() >= IN_FLIGHT {
                self.finish(client, &mut waiting, letters, counts).await?;
            }
        }
        self.finish(client, &mut waiting, letters, counts).await
    }

    /// Waits for the deliveries, acknowledges their dead letters and stores the progress. A dead letter that failed again
    /// moves to the end of its topic: progress is one offset, and one failure must not hold up the others.
    async fn finish(
        &self,
        client: &Client,
        waiting: &mut Vec<Sent>,
        letters: &mut Consumer,
        counts: &mut Counts,
    ) -> Outcome {
        let mut again = Vec::new();
        for sent in waiting.drain(..) {
            match sent.result().await {
                Ok(message) => {
                    message.ack();
                    counts.replayed += 1;
                }
                Err((message, error)) => {
                    let letter = DeadLetter::failed_again(&message, &error);
                    counts.fail(&message, error, self.output);
                    again.extend(letter.map(|letter| (message, letter)));
                }
            }
        }
        for (message, letter) in again {
            client.shared_producer(&message.topic).await?.send(letter).await?;
            message.ack();
        }
        Ok(letters.commit().await?)
    }

    /// Sends the record of a dead letter. Returns another record as the error.
    async fn send(&self, client: &Client, message: Message) -> Result<Sent, Message> {
        let Some((to, record)) = DeadLetter::replay(&message, self.to.clone()) else { return Err(message) };
        let delivery = match client.shared_producer(&to).await {
            Ok(producer) => producer.enqueue(record).await,
            Err(error) => Err(error),
        };
        Ok(Sent { message, to, delivery })
    }
}

impl Sent {
    /// Waits for the delivery.
    async fn result(self) -> Result<Message, (Message, Error)> {
        let outcome = match self.delivery {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => Ok(self.message),
            Err(error) if error.topic().is_some() => Err((self.message, error)),
            Err(error) => Err((self.message, error.with_topic(&self.to))),
        }
    }
}

impl Counts {
    /// Counts and reports a dead letter whose replay failed.
    fn fail(&mut self, message: &Message, error: Error, output: OutputFormat) {
        self.failed += 1;
        let failure = Failure::from(error.clone());
        let explained = format!("dead letter {}/{} was not replayed", message.partition, message.offset);
        failure.explained(explained).report(output);
        self.error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        assert_eq!(parse_address("2/17"), Ok(LetterAddress { partition: 2, offset: 17 }));
        for bad in ["", "2", "2/", "/17", "2/-1", "2:17", "a/1", "2/17/1", "99999999999/0"] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
