//! `floe dlq`: dead letters, which are records that could not be handled.

use clap::Subcommand;
use floe::{
    Client, Error, ErrorKind, Message,
    consumer::{CommitPolicy, Consumer, FetchLimit, Finish, StartAt},
    dead_letter::DeadLetter,
    producer::Delivery,
    topic::Topic,
};
use serde_json::{Value, json};

use super::with_client;
use crate::{
    global::Global,
    exit::{Failure, Outcome},
    interrupt::Interrupt,
    output::{List, amount, escape, print_document, print_list, table},
};

/// Letters sent again at the same time.
const IN_FLIGHT: usize = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters: where each record is, and what went wrong with it
    List {
        /// The dead-letter topic
        topic: String,
        /// Show at most N, the oldest first
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
        count: usize,
    },
    /// Send the records of dead letters again, each once, to the topics they came from
    Replay {
        /// The dead-letter topic
        topic: String,
        /// Send to this topic instead
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// Remember under this name what was replayed
        #[arg(long, value_name = "GROUP", default_value = "floe-dlq-replay")]
        group: String,
        /// Stop after N
        #[arg(short = 'n', long, value_name = "N")]
        count: Option<u64>,
        /// Send just these dead letters, as `list` shows where they are; several by commas. Nothing is remembered
        #[arg(long, value_name = "PARTITION/OFFSET", value_delimiter = ',', value_parser = parse_place,
              conflicts_with_all = ["group", "count"])]
        at: Vec<Place>,
    },
}

/// Where a dead letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    partition: u32,
    offset: i64,
}

fn parse_place(text: &str) -> Result<Place, String> {
    let place = text.split_once('/').and_then(|(partition, offset)| {
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some(Place { partition: partition.parse().ok()?, offset })
    });
    place.ok_or_else(|| "write PARTITION/OFFSET, such as 0/17".to_owned())
}

pub(crate) async fn run(global: &Global, command: DlqCommand) -> Outcome {
    match command {
        DlqCommand::List { topic, count } => list(global, &topic, count).await,
        DlqCommand::Replay { topic, to, group, count, at } => {
            let interrupt = Interrupt::listen()?;
            let replay = Replay { to: to.map(Topic::from), remaining: count.unwrap_or(u64::MAX), interrupt };
            replay.run(global, &topic, &group, &at).await
        }
    }
}

async fn list(global: &Global, topic: &str, count: usize) -> Outcome {
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    with_client(global, async |client| {
        require_offsets(client)?;
        let mut letters = client.consumer(topic).from(StartAt::Beginning).stop_at_end().start().await?;
        while rows.len() < count
            && let Some(message) = letters.try_next().await?
        {
            rows.push(row(&message));
            documents.push(document(&message));
        }
        Ok(())
    })
    .await?;
    let headings = vec!["offset", "origin", "code", "attempts", "given up", "key", "error"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

/// Without offsets a dead letter has no place, and reading it may take it away.
fn require_offsets(client: &Client) -> Outcome {
    let info = client.info();
    if info.capabilities.offsets {
        return Ok(());
    }
    let failure = Failure::from(Error::unsupported("dead letters that have a place", info.name));
    Err(failure.with_hint(
        "records have no offsets here; a Walrus cluster gives them some with the option journal=PATH",
    ))
}

/// What was sent must be remembered, or named.
fn require_memory(client: &Client) -> Outcome {
    let info = client.info();
    if info.capabilities.commit_offsets {
        return Ok(());
    }
    let failure =
        Failure::from(Error::unsupported("stored offsets, which remember what was replayed", info.name));
    Err(failure.with_hint("name the dead letters: --at PARTITION/OFFSET,…"))
}

fn row(message: &Message) -> Vec<String> {
    let place = format!("{}/{}", message.partition, message.offset);
    let key = message.key.as_deref().map_or_else(|| "-".to_owned(), escape::for_cell);
    match DeadLetter::of(message) {
        Some(letter) => vec![
            place,
            letter.origin.to_string(),
            letter.code,
            letter.attempts.to_string(),
            amount::time(Some(letter.at)),
            key,
            escape::for_cell(letter.error.as_bytes()),
        ],
        None => {
            let unknown = || "-".to_owned();
            vec![place, unknown(), unknown(), unknown(), unknown(), key, "no dead letter".to_owned()]
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
    interrupt: Interrupt,
}

/// What a replay has done.
#[derive(Debug, Default)]
struct Counts {
    replayed: u64,
    passed_over: u64,
    interrupted: bool,
}

impl Replay {
    async fn run(mut self, global: &Global, topic: &str, group: &str, at: &[Place]) -> Outcome {
        let counts = with_client(global, async |client| {
            require_offsets(client)?;
            if !at.is_empty() {
                return self.send_named(client, topic, at).await;
            }
            require_memory(client)?;
            let mut letters = client
                .consumer(topic)
                .group(group)
                .finish(Finish::OnAck)
                .commit(CommitPolicy::Manual)
                .stop_at_end()
                .start()
                .await?;
            let mut counts = Counts::default();
            let outcome = self.send_all(client, &mut letters, &mut counts).await;
            // Those sent again before something went wrong must not be sent a third time.
            letters.commit().await?;
            outcome?;
            Ok(counts)
        })
        .await?;
        let document = json!({
            "topic": topic,
            "replayed": counts.replayed,
            "passed_over": counts.passed_over,
            "interrupted": counts.interrupted,
        });
        let mut text = format!("replayed {}\n", amount::count(counts.replayed, "record"));
        if counts.passed_over > 0 {
            text +=
                &format!("passed over {}: no dead letters\n", amount::count(counts.passed_over, "record"));
        }
        print_document(global.output, &document, &text)?;
        if counts.interrupted { Err(Failure::interrupted()) } else { Ok(()) }
    }

    /// Sends the dead letters at these places. All are looked at before the first is sent.
    async fn send_named(&mut self, client: &Client, topic: &str, at: &[Place]) -> Outcome<Counts> {
        let mut found = Vec::with_capacity(at.len());
        for &Place { partition, offset } in at {
            let one = FetchLimit { records: 1, ..FetchLimit::default() };
            let fetched = client.fetch(Topic::from(topic).partition(partition), offset, one).await?;
            let Some(message) = fetched.into_iter().find(|message| message.offset == offset) else {
                let message = format!("there is no record at {partition}/{offset} yet");
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
            match self.send(client, &message).await? {
                Some(delivery) => waiting.push((message, delivery)),
                None => counts.passed_over += 1,
            }
        }
        finish(&mut waiting, &mut counts).await?;
        Ok(counts)
    }

    async fn send_all(&mut self, client: &Client, letters: &mut Consumer, counts: &mut Counts) -> Outcome {
        let mut waiting: Vec<(Message, Delivery)> = Vec::new();
        while self.remaining > 0 {
            if self.interrupt.is_pressed() {
                counts.interrupted = true;
                break;
            }
            let Some(message) = letters.try_next().await? else { break };
            match self.send(client, &message).await? {
                Some(delivery) => {
                    self.remaining -= 1;
                    waiting.push((message, delivery));
                }
                None => {
                    counts.passed_over += 1;
                    message.ack();
                }
            }
            if waiting.len() >= IN_FLIGHT {
                finish(&mut waiting, counts).await?;
            }
        }
        finish(&mut waiting, counts).await
    }

    /// Sends the record of a dead letter; `None` for what is none.
    async fn send(&self, client: &Client, message: &Message) -> Outcome<Option<Delivery>> {
        let Some(letter) = DeadLetter::of(message) else { return Ok(None) };
        let mut record = DeadLetter::restore(message);
        let topic = match &self.to {
            Some(topic) => topic,
            None => {
                // With a key the partitioner finds the partition again.
                record.partition = message.key.is_none().then_some(letter.origin.at.partition);
                &letter.origin.at.topic
            }
        };
        let producer = client.shared_producer(topic).await?;
        Ok(Some(producer.enqueue(record).await?))
    }
}

async fn finish(waiting: &mut Vec<(Message, Delivery)>, counts: &mut Counts) -> Outcome {
    for (message, delivery) in waiting.drain(..) {
        delivery.await?;
        message.ack();
        counts.replayed += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        assert_eq!(parse_place("2/17"), Ok(Place { partition: 2, offset: 17 }));
        for bad in ["", "2", "2/", "/17", "2/-1", "2:17", "a/1", "2/17/1", "99999999999/0"] {
            assert!(parse_place(bad).is_err(), "{bad}");
        }
    }
}
