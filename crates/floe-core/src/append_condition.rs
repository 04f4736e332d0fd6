//! Conditions of appends: where the partition must end, or which fencing token the writer holds.

use std::{fmt, sync::Arc};

use floe_wire::batch::producer_id;

use crate::{Error, ErrorKind};

/// Condition under which a producer appends a batch. The engine checks it and appends in one step: no other append comes
/// between.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendCondition {
    /// The partition ends at this offset, which the first record then gets. Of several writers that ask for one offset, one
    /// succeeds.
    EndsAt(i64),
    /// The partition has no batch under a newer epoch of this token.
    Token(FencingToken),
}

/// Right to append to a partition, until a holder with a newer epoch does so.
///
/// The name says what the token is for, such as a stream of events with one writer. The epoch comes from whatever elects
/// the writer: a lease, a counter in a database. It has to rise with each new holder. A batch has room for 15 bits of it, so
/// an epoch counts as newer if it is at most 16,383 ahead, modulo 32,768: use a counter, not a time.
///
/// ```
/// use floe_core::append_condition::FencingToken;
///
/// let old = FencingToken::new("account-7", 41);
/// let new = FencingToken::new("account-7", 42);
/// assert!(old.is_older_than(&new) && !new.is_older_than(&old));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FencingToken {
    name: Arc<str>,
    epoch: i64,
}

impl FencingToken {
    /// Creates the token of a name with an epoch.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, epoch: i64) -> Self {
        Self { name: name.into(), epoch }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the epoch.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Returns producer id and epoch of the batches that are written under this token.
    #[must_use]
    pub fn producer(&self) -> (i64, i16) {
        (producer_id::token_id(&self.name), producer_id::folded_epoch(self.epoch))
    }

    /// Returns whether a log refuses this token once it has stored a batch under the other one.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        let ((id, epoch), (other_id, than)) = (self.producer(), other.producer());
        id == other_id && producer_id::is_older(epoch, than)
    }
}

/// The end of a partition that an append did not find where it asked for it.
///
/// It is the source of the error [`ErrorKind::ConditionFailed`] of a conditional append:
///
/// ```
/// use floe_core::append_condition::NotAtEnd;
///
/// let error = NotAtEnd { expected: 4, end: 6 }.into_error();
/// assert_eq!(NotAtEnd::of(&error).map(|found| found.end), Some(6));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAtEnd {
    /// The end that the append asked for.
    pub expected: i64,
    /// The actual end: the offset that the next record gets.
    pub end: i64,
}

impl NotAtEnd {
    /// Returns the ends that an error of kind [`ErrorKind::ConditionFailed`] reports.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// Returns the error that reports the actual end.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::new(ErrorKind::ConditionFailed, self.to_string()).with_source(self)
    }
}

impl fmt::Display for NotAtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partition ends at offset {}, not at {}", self.end, self.expected)
    }
}

impl std::error::Error for NotAtEnd {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_other_names_are_never_older() {
        let token = FencingToken::new("a", 1);
        assert!(!token.is_older_than(&FencingToken::new("b", 2)));
        assert!(token.is_older_than(&FencingToken::new("a", 16_384)));
        assert!(!token.is_older_than(&FencingToken::new("a", 16_385)), "half the circle");
        assert!(producer_id::is_fenced(token.producer().0));
    }

    #[test]
    fn refusal_tells_the_end_and_has_no_effect() {
        let error = NotAtEnd { expected: 4, end: 6 }.into_error();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::ConditionFailed, crate::Effect::None));
        assert!(!error.is_retriable());
        assert_eq!(error.message(), "the partition ends at offset 6, not at 4");
        assert_eq!(NotAtEnd::of(&Error::new(ErrorKind::ConditionFailed, "no source")), None);
    }
}
