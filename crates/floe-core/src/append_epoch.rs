//! The fence that keeps the order of pipelined appends when one of them fails.

use std::sync::{Arc, OnceLock};

use crate::{Effect, Error, ErrorKind, Result};

/// The epoch of an append: a mark that appends of one sender to one partition share until one of them fails.
///
/// A sender that keeps several appends in flight begins an epoch and gives a clone of it to each request. The first
/// failure ends the epoch: an engine sends no further append of it, so no record overtakes one that has to be resent.
/// The sender waits for the outcome of every append in flight, begins another epoch and resends in order. Epochs of
/// different senders are independent.
///
/// The default belongs to no sender: such an append is never refused, and its failure affects no other.
///
/// ```
/// use floe_core::{Effect, Error, ErrorKind, append_epoch::AppendEpoch};
///
/// let epoch = AppendEpoch::begin();
/// let request_epoch = epoch.clone();
/// assert!(request_epoch.check().is_ok());
/// epoch.fail(&Error::new(ErrorKind::NetworkError, "connection reset"));
/// let refused = request_epoch.check().unwrap_err();
/// assert!(refused.is_retriable());
/// assert_eq!(refused.effect(), Effect::None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct AppendEpoch {
    /// Shared by the clones; holds the first failure.
    failure: Option<Arc<OnceLock<Error>>>,
}

impl AppendEpoch {
    /// Begins an epoch in which nothing has failed.
    #[must_use]
    pub fn begin() -> Self {
        Self { failure: Some(Arc::default()) }
    }

    /// Returns an error if an append of this epoch has failed. Engines call it when the append is passed to them and again
    /// right before they send or store it.
    ///
    /// # Errors
    /// Retriable and without effect. The kind is that of the first failure if that is retriable, otherwise
    /// [`ErrorKind::ServerError`]; the first failure is the source.
    pub fn check(&self) -> Result<()> {
        let Some(cause) = self.failure.as_ref().and_then(|failure| failure.get()) else { return Ok(()) };
        let kind = if cause.is_retriable() { cause.kind() } else { ErrorKind::ServerError };
        Err(Error::new(kind, "not sent, because an earlier append of this epoch failed")
            .with_retriable(true)
            .with_effect(Effect::None)
            .with_source(cause.clone()))
    }

    /// Ends the epoch. Engines call it before they report the failure of an append. The first cause is kept.
    pub fn fail(&self, cause: &Error) {
        if let Some(failure) = &self.failure {
            // A later failure adds nothing.
            let _ = failure.set(cause.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine of the smallest kind: appends take effect or fail, in the order in which they were started.
    fn run(epochs: &[AppendEpoch], fails: u32) -> Vec<Result<()>> {
        let append = |(number, epoch): (usize, &AppendEpoch)| {
            epoch.check()?;
            if fails & (1 << number) == 0 {
                return Ok(());
            }
            let error = Error::new(ErrorKind::NetworkError, "reset");
            epoch.fail(&error);
            Err(error)
        };
        epochs.iter().enumerate().map(append).collect()
    }

    #[test]
    fn no_append_follows_a_failure_of_its_epoch_in_any_interleaving() {
        const APPENDS: u32 = 6;
        // Each append belongs to one of two senders, or to none, and fails or not: all cases.
        for owners in 0..3_u32.pow(APPENDS) {
            let owner = |number: u32| owners / 3_u32.pow(number) % 3;
            for fails in 0..1_u32 << APPENDS {
                let senders = [AppendEpoch::begin(), AppendEpoch::begin(), AppendEpoch::default()];
                let epochs: Vec<_> = (0..APPENDS).map(|n| senders[owner(n) as usize].clone()).collect();
                let outcomes = run(&epochs, fails);
                for number in 0..APPENDS {
                    let failed_before =
                        (0..number).any(|n| owner(n) == owner(number) && fails & (1 << n) != 0);
                    let fenced = owner(number) < 2 && failed_before;
                    let fails_itself = fails & (1 << number) != 0;
                    assert_eq!(outcomes[number as usize].is_err(), fenced || fails_itself);
                }
            }
        }
    }

    #[test]
    fn refusal_is_retriable_and_names_the_first_failure() {
        let epoch = AppendEpoch::begin();
        epoch.fail(&Error::new(ErrorKind::RecordTooLarge, "too large").with_effect(Effect::None));
        epoch.fail(&Error::new(ErrorKind::NetworkError, "reset"));
        let refused = epoch.check().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::ServerError, Effect::None));
        assert!(refused.is_retriable());
        let source = std::error::Error::source(&refused).unwrap();
        assert!(source.to_string().contains("too large"), "{source}");
        let next = AppendEpoch::begin();
        assert!(next.check().is_ok());
    }

    #[test]
    fn refusal_has_the_kind_of_a_retriable_failure_even_if_that_may_have_taken_effect() {
        let epoch = AppendEpoch::begin();
        let lost =
            Error::new(ErrorKind::NetworkError, "reset").with_retriable(true).with_effect(Effect::Unknown);
        epoch.fail(&lost);
        let refused = epoch.clone().check().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::NetworkError, Effect::None));
    }
}
