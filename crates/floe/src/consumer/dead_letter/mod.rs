//! Dead letters: records that could not be handled, kept in a topic of their own.
//!
//! A dead letter has the key, the payload, the headers and the time of the record, and five more headers:
//!
//! | header | value |
//! | --- | --- |
//! | `floe-dead-origin` | coordinates of the record: `TOPIC/PARTITION/OFFSET` |
//! | `floe-dead-code` | stable code of the failure, such as `deserialization_error` or `handler_panicked` |
//! | `floe-dead-error` | text of the error, at most 1 KiB |
//! | `floe-dead-attempts` | number of attempts |
//! | `floe-dead-at` | time of the failure, milliseconds since the Unix epoch |
//!
//! A crash may duplicate a dead letter; both have the same origin. The command line lists and replays dead letters:
//! `floe dlq list TOPIC`, `floe dlq replay TOPIC`.

mod origin;

use std::time::Duration;

pub(crate) use origin::PROCESSED;
pub use origin::RecordOrigin;

use crate::{
    Error, ErrorKind, Message, Record, Result, WallClock,
    admin::Admin,
    client_core::ClientCore,
    producer::{Delivery, Producer, ProducerBuilder},
    topic::{Topic, TopicSpec},
};

/// Prefix of the headers of a dead letter.
const PREFIX: &str = "floe-dead-";
const ORIGIN: &str = "floe-dead-origin";
const CODE: &str = "floe-dead-code";
const ERROR: &str = "floe-dead-error";
const ATTEMPTS: &str = "floe-dead-attempts";
const AT: &str = "floe-dead-at";

/// Longest error text in a header, in bytes.
const MAX_TEXT: usize = 1024;

/// Whether a header differs when the same record becomes a dead letter a second time.
pub(crate) fn is_volatile(header: &str) -> bool {
    [ERROR, ATTEMPTS, AT].contains(&header)
}

/// Returns the coordinates in a header that names the record that another one was made from.
pub(crate) fn origin_of(header: &str, value: &[u8]) -> Option<RecordOrigin> {
    let names = header == PROCESSED || header == ORIGIN;
    names.then(|| str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// Facts in the headers of a dead letter.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec, consumer::{OnUndecodable, StartAt}, dead_letter::DeadLetter};
///
/// let client = Client::connect("memory:").await?;
/// client.admin().create_topic(TopicSpec::new("counts")).await?;
/// let counts = client.producer("counts").start().await?;
/// counts.send_all(["1", "two", "3"]).await?;
///
/// let mut reader = client
///     .consumer("counts")
///     .json::<u32>()
///     .on_undecodable(OnUndecodable::DeadLetter("counts-dead".into()))
///     .from(StartAt::Beginning)
///     .stop_at_end()
///     .start()
///     .await?;
/// let mut sum = 0;
/// while let Some(message) = reader.try_next().await? {
///     sum += message.value;
/// }
/// assert_eq!(sum, 4);
///
/// let mut dead = client.consumer("counts-dead").from(StartAt::Beginning).stop_at_end().start().await?;
/// let message = dead.try_next().await?.expect("one dead letter");
/// let letter = DeadLetter::of(&message).expect("the headers of a dead letter");
/// assert_eq!((letter.origin.to_string(), &letter.code[..]), ("counts/0/1".to_owned(), "deserialization_error"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Coordinates of the record.
    pub origin: RecordOrigin,
    /// Stable code of the failure: that of an [`ErrorKind`], or one that the handler defines.
    pub code: String,
    /// Text of the error.
    pub error: String,
    /// Number of attempts.
    pub attempts: u32,
    /// Time of the failure, milliseconds since the Unix epoch.
    pub at: i64,
}

impl DeadLetter {
    /// Parses the headers of a message; `None` if it is no dead letter.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        let text = |name| message.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        Some(Self {
            origin: text(ORIGIN)?.parse().ok()?,
            code: text(CODE)?,
            error: text(ERROR)?,
            attempts: text(ATTEMPTS)?.parse().ok()?,
            at: text(AT)?.parse().ok()?,
        })
    }

    /// Returns the original record, without the headers of the dead letter, to be replayed.
    #[must_use]
    pub fn restore(message: &Message) -> Record {
        message.to_record(|name| !name.starts_with(PREFIX))
    }

    /// Returns the record of a dead letter to be sent once more, and its topic: `to`, or that of the origin. There a record
    /// with a key goes to the partition of its key, and one without to the partition of its origin. `None` if the message is
    /// no dead letter.
    #[must_use]
    pub fn replay(message: &Message, to: Option<Topic>) -> Option<(Topic, Record)> {
        let letter = Self::of(message)?;
        let mut record = Self::restore(message);
        let topic = to.unwrap_or_else(|| {
            record.partition = message.key.is_none().then_some(letter.origin.at.partition);
            letter.origin.at.topic
        });
        Some((topic, record))
    }

    /// Returns the dead letter of a message once more, after a replay of it failed: with the same origin, one more attempt
    /// and the new error. A replay puts it behind the others, which would else have to wait for it; `None` if the message
    /// is no dead letter.
    #[must_use]
    pub fn failed_again(message: &Message, error: &Error) -> Option<Record> {
        let letter = Self::of(message)?;
        let text = error.to_string();
        let reason =
            Reason { code: error.kind().as_str(), text: &text, attempts: letter.attempts.saturating_add(1) };
        Some(reason.record(Self::restore(message), &letter.origin, &WallClock::default()))
    }
}

/// Reason why a record becomes a dead letter.
#[derive(Debug)]
pub(crate) struct Reason<'a> {
    pub(crate) code: &'a str,
    pub(crate) text: &'a str,
    pub(crate) attempts: u32,
}

impl Reason<'_> {
    /// Adds the headers of a dead letter to a record.
    fn record(&self, record: Record, origin: &RecordOrigin, clock: &WallClock) -> Record {
        record
            .header(ORIGIN, origin.to_string())
            .header(CODE, self.code.to_owned())
            .header(ERROR, shortened(self.text).to_owned())
            .header(ATTEMPTS, self.attempts.to_string())
            .header(AT, clock.now_millis().to_string())
    }
}

/// Writes dead letters to one topic.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterWriter {
    producer: Producer,
    clock: WallClock,
}

impl DeadLetterWriter {
    /// Opens the topic, and creates it with one partition if it does not exist.
    pub(crate) async fn open(client: &ClientCore, topic: &Topic) -> Result<Self> {
        let info = client.info();
        if !info.capabilities.headers {
            let error = Error::unsupported("headers, which dead letters need", info.name);
            return Err(error.with_topic(topic));
        }
        let start = || ProducerBuilder::new(client.clone(), topic.clone()).start();
        let producer = match start().await {
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                Admin::new(client.clone()).ensure_topic(TopicSpec::new(topic)).await?;
                start().await?
            }
            other => other?,
        };
        Ok(Self { producer, clock: client.clock().clone() })
    }

    /// Returns the dead letter of a message.
    pub(crate) fn letter(&self, message: &Message, reason: &Reason<'_>) -> Record {
        // A replayed dead letter that fails again carries the last failure only.
        reason.record(DeadLetter::restore(message), &RecordOrigin::of_message(message), &self.clock)
    }

    /// Buffers the dead letter of a message.
    pub(crate) async fn enqueue(&self, message: &Message, reason: &Reason<'_>) -> Result<Delivery> {
        self.producer.enqueue(self.letter(message, reason)).await
    }

    /// Closes without waiting for dead letters in flight.
    pub(crate) async fn give_up(&self) -> Result<()> {
        self.producer.close_within(Duration::ZERO).await.map(drop)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.producer.close().await?.into_result(self.producer.topic())
    }
}

/// Returns as much of the beginning as the header may hold.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_TEXT).last();
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(""), "");
        let long = "ä".repeat(1000);
        assert_eq!(shortened(&long).len(), MAX_TEXT);
        let shifted = format!("x{long}");
        assert_eq!(shortened(&shifted).len(), MAX_TEXT - 1);
    }
}
