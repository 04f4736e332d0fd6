//! What settings mean for the parts of a client.

use super::{Config, load, origin::Origin, raw::Raw, sections::Settings};
use crate::{Result, RetryPolicy, url::EngineUrl};

impl Config {
    /// Takes the options with a dot in their name out of a URL, since they are settings. What a flag or the program has
    /// set stays.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or an impossible value.
    pub fn take_options(&mut self, url: &mut EngineUrl) -> Result<()> {
        let (ours, rest) =
            std::mem::take(&mut url.options).into_iter().partition(|(key, _)| key.contains('.'));
        url.options = rest;
        for (key, text) in ours {
            let raw = Raw { key, text, origin: Origin::Url };
            let stronger = matches!(self.origin(&raw.key.replace('-', "_")), Origin::Flag(_) | Origin::Code);
            // Checked all the same.
            let target = if stronger { &mut Self::default() } else { &mut *self };
            target.apply(&raw)?;
        }
        self.check().map_err(|error| load::invalid(error.message().to_owned()))
    }
}

impl Settings {
    /// The waits of `retry`, for as many attempts as given.
    #[must_use]
    pub fn waits(&self, max_attempts: Option<u32>) -> RetryPolicy {
        RetryPolicy {
            max_attempts,
            first_delay: self.retry.first_delay,
            multiplier: self.retry.multiplier,
            max_delay: self.retry.max_delay,
            ..RetryPolicy::default()
        }
    }

    /// How calls are repeated.
    #[must_use]
    pub fn call_retries(&self) -> RetryPolicy {
        RetryPolicy { deadline: self.retry.deadline, ..self.waits(Some(self.retry.max_attempts)) }
    }
}
