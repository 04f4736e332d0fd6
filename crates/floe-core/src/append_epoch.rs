//! The fence that keeps the order of pipelined appends when one of them fails.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{Effect, Error, ErrorKind, Result};

/// The epoch of an append: a mark that the appends of one sender to one partition share until one of them fails.
///
/// A sender that keeps several appends in flight begins an epoch and gives each request the [next](Self::next) place in it.
/// The first failure ends the epoch for the appends behind it: an engine sends none of them, so no record overtakes one that
/// has to be resent. Appends in front of the failed one are not affected. The sender waits for the outcome of every append in
/// flight, begins another epoch and resends in order. Epochs of different senders are independent.
///
/// The default belongs to no sender: such an append is never refused, and its failure affects no other.
///
/// ```
/// use floe_core::{Effect, Error, ErrorKind, append_epoch::AppendEpoch};
///
/// let epoch = AppendEpoch::begin();
/// let [first, second, third] = [epoch.next(), epoch.next(), epoch.next()];
/// second.fail(&Error::new(ErrorKind::NetworkError, "connection reset"));
/// assert!(first.check().is_ok());
/// let refused = third.check().unwrap_err();
/// assert!(refused.is_retriable());
/// assert_eq!(refused.effect(), Effect::None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct AppendEpoch {
    shared: Option<Arc<EpochShared>>,
    /// Place of the append in the epoch.
    place: u64,
}

/// The part of an epoch that its appends share.
#[derive(Debug, Default)]
struct EpochShared {
    /// Number of places given away.
    places: AtomicU64,
    /// Place and cause of the failure that is nearest to the front.
    failure: Mutex<Option<(u64, Error)>>,
}

impl AppendEpoch {
    /// Begins an epoch in which nothing has failed.
    #[must_use]
    pub fn begin() -> Self {
        Self { shared: Some(Arc::default()), place: 0 }
    }

    /// Returns the next place in the epoch. A clone has the place of its original.
    #[must_use]
    pub fn next(&self) -> Self {
        let place = self.shared.as_ref().map_or(0, |shared| shared.places.fetch_add(1, Ordering::Relaxed));
        Self { shared: self.shared.clone(), place }
    }

    /// Returns an error if this append or one in front of it has failed: a layer can fail an append that the engine still has
    /// in its queue, and the sender resends it. Engines call it when the append is passed to them and
    /// again right before they send or store it.
    ///
    /// # Errors
    /// Retriable and without effect. The kind is that of the failure if that is retriable, otherwise
    /// [`ErrorKind::ServerError`]; the failure is the source.
    pub fn check(&self) -> Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let failure = shared.failure.lock();
        let Some((place, cause)) = &*failure else { return Ok(()) };
        if *place > self.place {
            return Ok(());
        }
        let kind = if cause.is_retriable() { cause.kind() } else { ErrorKind::ServerError };
        Err(Error::new(kind, "not sent, because an earlier append of this epoch failed")
            .with_retriable(true)
            .with_effect(Effect::None)
            .with_source(cause.clone()))
    }

    /// Ends the epoch for the appends behind this one. Engines call it before they report the failure of an append. Of
    /// several failures the one nearest to the front counts.
    pub fn fail(&self, cause: &Error) {
        let Some(shared) = &self.shared else { return };
        let mut failure = shared.failure.lock();
        if failure.as_ref().is_none_or(|(place, _)| self.place < *place) {
            *failure = Some((self.place, cause.clone()));
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
                let epochs: Vec<_> = (0..APPENDS).map(|n| senders[owner(n) as usize].next()).collect();
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
    fn refusal_is_retriable_and_names_the_foremost_failure() {
        let epoch = AppendEpoch::begin();
        let [first, second, third] = [epoch.next(), epoch.next(), epoch.next()];
        second.fail(&Error::new(ErrorKind::NetworkError, "reset"));
        first.fail(&Error::new(ErrorKind::RecordTooLarge, "too large").with_effect(Effect::None));
        third.fail(&Error::new(ErrorKind::NetworkError, "reset"));
        let refused = third.check().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::ServerError, Effect::None));
        assert!(refused.is_retriable());
        let source = std::error::Error::source(&refused).unwrap();
        assert!(source.to_string().contains("too large"), "{source}");
        assert!(AppendEpoch::begin().next().check().is_ok());
    }

    /// Otherwise a failure that needs no server, such as an open circuit, could refuse the append that was to close it.
    #[test]
    fn failure_does_not_affect_appends_in_front_of_it() {
        let epoch = AppendEpoch::begin();
        let [first, second, third] = [epoch.next(), epoch.next(), epoch.next()];
        second.fail(&Error::new(ErrorKind::CircuitOpen, "open"));
        assert!(first.check().is_ok() && first.clone().check().is_ok());
        assert!(second.check().is_err(), "its sender resends it");
        assert!(third.check().is_err() && epoch.next().check().is_err());
    }

    #[test]
    fn refusal_has_the_kind_of_a_retriable_failure_even_if_that_may_have_taken_effect() {
        let epoch = AppendEpoch::begin();
        let [first, second] = [epoch.next(), epoch.next()];
        let lost =
            Error::new(ErrorKind::NetworkError, "reset").with_retriable(true).with_effect(Effect::Unknown);
        first.fail(&lost);
        let refused = second.check().unwrap_err();
        assert_eq!((refused.kind(), refused.effect()), (ErrorKind::NetworkError, Effect::None));
    }
}
