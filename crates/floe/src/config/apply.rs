//! Conversion of settings into the options of a client's components.

use std::{num::NonZeroU32, time::Duration};

use super::{Config, origin::SettingOrigin, raw::Raw, sections::Settings, value::Setting};
use crate::{
    Result, RetryPolicy,
    layer::{BreakerPolicy, Limits},
    telemetry::TelemetryOptions,
    url::{EngineUrl, Scheme},
};

impl Config {
    /// Moves the options with a dot in their name from the URL into the configuration. Settings from flags and from the
    /// program stay.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or an invalid value.
    pub fn take_options(&mut self, url: &mut EngineUrl) -> Result<()> {
        let (ours, rest) =
            std::mem::take(&mut url.options).into_iter().partition(|(key, _)| key.contains('.'));
        url.options = rest;
        for (key, text) in ours {
            let raw = Raw { key, text, origin: SettingOrigin::Url };
            let stronger = matches!(
                self.origin(&raw.key.replace('-', "_")),
                SettingOrigin::Flag(_) | SettingOrigin::Code
            );
            // An overridden option is validated all the same.
            let target = if stronger { &mut Self::default() } else { &mut *self };
            target.apply(&raw)?;
        }
        self.check()
    }

    /// Adds the settings that engines take as URL options, where the URL does not set them.
    pub(crate) fn give_options(&self, url: &mut EngineUrl) {
        if url.scheme != Scheme::Walrus {
            return;
        }
        let pool = &self.settings.pool;
        let options = [
            ("pool-min", "pool.min", pool.min.show()),
            ("pool-max", "pool.max", pool.max.show()),
            ("idle-timeout", "pool.idle_timeout", pool.idle_timeout.show()),
            ("health-interval", "pool.health_interval", pool.health_interval.show()),
        ];
        for (option, key, value) in options {
            if self.origin(key) != SettingOrigin::Default {
                url.options.entry(option.to_owned()).or_insert(value);
            }
        }
    }

    /// Timeout of one attempt of a call; none by default for engines inside the process.
    pub(crate) fn attempt_timeout(&self, network: bool) -> Option<Duration> {
        let asked_for = self.origin("client.attempt_timeout") != SettingOrigin::Default;
        (network || asked_for).then_some(self.settings.client.attempt_timeout)
    }
}

impl Settings {
    /// Returns the back-off of `retry`, with as many attempts as given.
    #[must_use]
    pub fn waits(&self, max_attempts: impl Into<Option<u32>>) -> RetryPolicy {
        RetryPolicy::default()
            .max_attempts(max_attempts)
            .first_delay(self.retry.first_delay)
            .multiplier(self.retry.multiplier)
            .max_delay(self.retry.max_delay)
    }

    /// Returns the retry policy of calls.
    #[must_use]
    pub fn call_retries(&self) -> RetryPolicy {
        self.waits(self.retry.max_attempts).deadline(self.retry.deadline)
    }

    /// The policy of the circuit breaker, where it is enabled.
    pub(crate) fn breaker_policy(&self, network: bool) -> Option<BreakerPolicy> {
        let breaker = &self.breaker;
        breaker.enabled.resolve(network).then_some(BreakerPolicy {
            failures: breaker.failures,
            open_for: breaker.open_for,
            trials: breaker.trials,
        })
    }

    pub(crate) fn call_limits(&self) -> Limits {
        let number = |number: Option<u32>| number.and_then(NonZeroU32::new);
        let limits = &self.limits;
        Limits {
            concurrency: number(limits.concurrency),
            rate: number(limits.rate),
            burst: number(limits.burst),
        }
    }

    pub(crate) fn telemetry_options(&self) -> TelemetryOptions {
        let telemetry = &self.telemetry;
        let options = TelemetryOptions::default()
            .metrics(telemetry.metrics)
            .spans(telemetry.spans)
            .create_spans(telemetry.create_spans)
            .propagate(telemetry.propagate);
        match &telemetry.client_id {
            Some(id) => options.client_id(id.as_str()),
            None => options,
        }
    }
}
