//! Why a handler failed.

use std::{borrow::Cow, fmt};

use crate::{Error, ErrorKind, Message, payload::PayloadError};

/// Why a handler failed, and whether trying again makes sense. `?` makes one of every error: of [`Error`] with its code,
/// tried again if [`Error::is_retriable`]; of any other error with the code `handler_failed`, tried again.
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
    /// Trying again makes no sense: the record becomes a dead letter at once.
    pub fn permanent(cause: impl Into<PayloadError>) -> Self {
        Self { retriable: false, ..Self::retriable(cause) }
    }

    /// Trying again makes sense.
    pub fn retriable(cause: impl Into<PayloadError>) -> Self {
        Self { code: Cow::Borrowed("handler_failed"), retriable: true, cause: cause.into() }
    }

    /// Sets the word for it that dead letters carry. Default: `handler_failed`.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// The word for it that dead letters carry.
    #[must_use]
    pub fn code_name(&self) -> &str {
        &self.code
    }

    /// Whether trying again makes sense.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// As an error that says which record it was.
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

/// The cause with its own causes: there is nowhere else for them to show.
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
    fn causes_are_told() {
        let error = Error::new(ErrorKind::NetworkError, "broken").with_source(std::io::Error::other("reset"));
        assert_eq!(Failure::from(error).to_string(), "broken (network_error): reset");
    }
}
