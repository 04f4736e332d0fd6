//! Records whose payload is not what it should be.

use std::{fmt, sync::Arc};

use super::PayloadError;
use crate::{Error, ErrorKind, Message, topic::TopicPartition};

/// A record whose payload did not decode. It is the source of errors of kind [`ErrorKind::DeserializationError`]:
///
/// ```
/// # fn show(error: &floe::Error) {
/// use floe::payload::Undecodable;
/// if let Some(bad) = Undecodable::of(error) {
///     println!("offset {} of {} is not {}", bad.message.offset, bad.at(), bad.format);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Undecodable {
    /// The record as it came.
    pub message: Message,
    /// Name of the format that it should have.
    pub format: &'static str,
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

impl Undecodable {
    pub(super) fn new(message: Message, format: &'static str, cause: PayloadError) -> Self {
        Self { message, format, cause: Arc::from(cause) }
    }

    /// The record that an error tells about, if it is of kind [`ErrorKind::DeserializationError`].
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// The partition that the record came from.
    #[must_use]
    pub fn at(&self) -> TopicPartition {
        self.message.topic.partition(self.message.partition)
    }

    pub(super) fn into_error(self) -> Error {
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
