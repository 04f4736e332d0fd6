//! Records whose payload does not decode.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use floe_core::process;
use tokio::task::JoinHandle;

use super::message::Message;
use crate::{
    Error, ErrorKind, Result,
    client_core::ClientCore,
    dead_letter::{DeadLetterWriter, Reason},
    payload::PayloadError,
    topic::{Topic, TopicPartition},
};

/// The reaction to a record that does not decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnUndecodable {
    /// One error of kind [`ErrorKind::DeserializationError`] for each record, with [`Undecodable`] as its source. The next
    /// call continues after the record.
    #[default]
    Fail,
    /// A `warn` event, and the record counts in [`Consumer::undecodable`](super::Consumer::undecodable).
    Skip,
    /// The record goes to this topic, with headers that give its origin and the reason; see [`crate::dead_letter`]. The
    /// topic is created if it does not exist.
    DeadLetter(Topic),
}

/// A record whose payload does not decode. It is the source of errors of kind [`ErrorKind::DeserializationError`]:
///
/// ```
/// # fn show(error: &floe::Error) {
/// use floe::consumer::Undecodable;
/// if let Some(bad) = Undecodable::of(error) {
///     println!("offset {} of {} is not {}", bad.message.offset, bad.at(), bad.format);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Undecodable {
    /// The record, with its bytes.
    pub message: Message,
    /// Name of the expected format.
    pub format: &'static str,
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

impl Undecodable {
    pub(super) fn new(message: Message, format: &'static str, cause: PayloadError) -> Self {
        Self { message, format, cause: Arc::from(cause) }
    }

    /// Returns the record that an error of kind [`ErrorKind::DeserializationError`] is about.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// Returns the partition of the record.
    #[must_use]
    pub fn at(&self) -> TopicPartition {
        self.message.topic.partition(self.message.partition)
    }

    fn into_error(self) -> Error {
        let message =
            format!("the record at offset {} is not {}: {}", self.message.offset, self.format, self.cause);
        Error::new(ErrorKind::DeserializationError, message)
            .with_topic(&self.message.topic)
            .with_partition(self.message.partition)
            .with_source(self)
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {} of {} is not {}", self.message.offset, self.at(), self.format)
    }
}

impl std::error::Error for Undecodable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Applies [`OnUndecodable`] to the records of one consumer.
#[derive(Debug)]
pub(super) struct UndecodableHandler {
    skips: bool,
    writer: Option<DeadLetterWriter>,
    /// Record on its way to the dead-letter topic; kept until it is there.
    waiting: Option<Box<DeadRecord>>,
    count: u64,
}

/// A record on its way to the dead-letter topic.
#[derive(Debug)]
struct DeadRecord {
    bad: Undecodable,
    /// The task that sends the record. A task, so that a dropped call does not lead to a duplicate.
    sending: Option<JoinHandle<Result<()>>>,
}

impl UndecodableHandler {
    /// Opens the dead-letter topic, if the policy has one.
    pub(super) async fn open(policy: &OnUndecodable, client: &ClientCore) -> Result<Self> {
        let writer = match policy {
            OnUndecodable::DeadLetter(topic) => Some(DeadLetterWriter::open(client, topic).await?),
            OnUndecodable::Fail | OnUndecodable::Skip => None,
        };
        Ok(Self { skips: *policy == OnUndecodable::Skip, writer, waiting: None, count: 0 })
    }

    /// Number of records that did not decode.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Applies the policy to a record. With a dead-letter topic, [`UndecodableHandler::poll_sent`] completes it.
    pub(super) fn handle(&mut self, bad: Undecodable) -> Result<()> {
        self.count += 1;
        if self.writer.is_some() {
            self.waiting = Some(Box::new(DeadRecord { bad, sending: None }));
            return Ok(());
        }
        // The application does not get the message, so that it cannot acknowledge it.
        bad.message.ack();
        let error = bad.into_error();
        if self.skips {
            tracing::warn!(%error, "record skipped");
            return Ok(());
        }
        Err(error)
    }

    /// Whether a record waits to be sent to the dead-letter topic.
    #[inline]
    pub(super) fn is_sending(&self) -> bool {
        self.waiting.is_some()
    }

    /// Waits until the waiting record is in the dead-letter topic. After an error the next call retries.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (Some(writer), Some(dead)) = (&self.writer, &mut self.waiting) else {
            return Poll::Ready(Ok(()));
        };
        let DeadRecord { bad, sending } = &mut **dead;
        let task =
            sending.get_or_insert_with(|| tokio::spawn(process::inherit(send(writer.clone(), bad.clone()))));
        let outcome = ready!(Pin::new(task).poll(cx));
        *sending = None;
        outcome.unwrap_or_else(|_| Err(Error::closed("runtime")))?;
        bad.message.ack();
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    /// Closes the dead-letter topic.
    pub(super) async fn close(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => writer.close().await,
            None => Ok(()),
        }
    }
}

/// Sends a record to the dead-letter topic.
async fn send(writer: DeadLetterWriter, bad: Undecodable) -> Result<()> {
    let message = bad.message.clone();
    let error = bad.into_error();
    let reason = Reason { code: error.kind().as_str(), text: error.message(), attempts: 1 };
    writer.enqueue(&message, &reason).await?.await.map(drop)
}
