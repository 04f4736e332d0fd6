//! Failures of handlers.

use std::{borrow::Cow, fmt};

use crate::{Error, ErrorKind, Message, payload::PayloadError};

/// Failure of a handler: its cause, a code, and whether a retry makes sense. The operator `?` converts every error: an
/// [`Error`] keeps its code and is retried if [`Error::is_retriable`]; other errors get the code `handler_failed` and are
/// retried.
///
/// ```
/// use floe::processor::Failure;
///
/// fn price(text: &str) -> Result<u32, Failure> {
///     let price: u32 = text.parse().map_err(|error| Failure::permanent(error).code("bad_price"))?;
///     Ok(price)
/// }
/// let failure = price("much").unwrap_err();
/// assert_eq!((failure.code_name(), failure.is_retriable()), ("bad_price", false));
/// ```
pub struct Failure {
    code: Cow<'static, str>,
    retriable: bool,
    cause: PayloadError,
}

impl Failure {
    /// Returns a failure without retries: the record becomes a dead letter at once.
    pub fn permanent(cause: impl Into<PayloadError>) -> Self {
        Self { retriable: false, ..Self::retriable(cause) }
    }

    /// Returns a failure that is retried.
    pub fn retriable(cause: impl Into<PayloadError>) -> Self {
        Self { code: Cow::Borrowed("handler_failed"), retriable: true, cause: cause.into() }
    }

    /// Sets the code that dead letters carry. Default: `handler_failed`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// Returns the code that dead letters carry.
    #[must_use]
    pub fn code_name(&self) -> &str {
        &self.code
    }

    /// Returns whether the record is retried.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// Converts the failure to an error that names the record.
    pub(super) fn into_error(self, message: &Message) -> Error {
        let text = format!("the record at offset {} failed: {self}", message.offset);
        Error::new(ErrorKind::HandlerFailed, text)
            .with_retriable(self.retriable)
            .with_operation("process")
            .with_topic(&message.topic)
            .with_partition(message.partition)
            .with_source(self.cause)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let cause: PayloadError = Box::new(error);
        match cause.downcast_ref::<Error>().map(|error| (error.kind().as_str(), error.is_retriable())) {
            Some((code, retriable)) => Self { code: Cow::Borrowed(code), retriable, cause },
            None => Self::retriable(cause),
        }
    }
}

/// Writes the cause and its own causes, because a failure has no `source`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut source = self.cause.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({}, retriable: {})", self.code, self.retriable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_crate_keep_their_code() {
        let failure = Failure::from(Error::new(ErrorKind::RateLimited, "slow down"));
        assert_eq!((failure.code_name(), failure.is_retriable()), ("rate_limited", true));
        let failure = Failure::from(Error::new(ErrorKind::AuthFailed, "no"));
        assert_eq!((failure.code_name(), failure.is_retriable()), ("auth_failed", false));
        let failure = Failure::from(std::io::Error::other("disk"));
        assert_eq!((failure.code_name(), failure.is_retriable()), ("handler_failed", true));
    }

    #[test]
    fn causes_are_shown() {
        let error = Error::new(ErrorKind::NetworkError, "broken").with_source(std::io::Error::other("reset"));
        assert_eq!(Failure::from(error).to_string(), "broken (network_error): reset");
    }
}
