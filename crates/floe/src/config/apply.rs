//! Conversion of settings into the options of a client's components.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Config,
    engine_options::{EngineOptions, EngineSection},
    origin::SettingOrigin,
    raw::Raw,
    sections::Settings,
};
use crate::{
    Result, RetryPolicy,
    layer::{BreakerPolicy, Limits},
    telemetry::TelemetryOptions,
    url::EngineUrl,
};

impl Config {
    /// Moves the options of the URL into the configuration: those with a dot in their name are settings, the others belong to
    /// the section of the engine. Settings from flags and from the program stay.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or an invalid value.
    pub fn take_options(&mut self, url: &mut EngineUrl) -> Result<()> {
        let engine = EngineSection::of(url.scheme);
        if let Some(engine) = &engine {
            let mut own = url.clone();
            own.options.retain(|key, _| !key.contains('.'));
            own.check_options(engine.names)?;
        }
        for (key, text) in std::mem::take(&mut url.options) {
            let key = match &engine {
                _ if key.contains('.') => key,
                Some(engine) => format!("{}.{key}", engine.name),
                // The engine is not compiled in, which opening it tells.
                None => continue,
            };
            let raw = Raw { key, text, origin: SettingOrigin::Url };
            let stronger = matches!(self.origin(&raw.key), SettingOrigin::Flag(_) | SettingOrigin::Code);
            // An overridden option is validated all the same.
            let target = if stronger { &mut Self::default() } else { &mut *self };
            target.apply(&raw)?;
        }
        self.check()
    }

    /// Puts the options of a program over those of the other sources. An option with its default leaves the choice to them.
    pub(crate) fn put_options(&mut self, options: &EngineOptions) {
        for key in options.overlay(&mut self.settings) {
            self.origins.insert(key, SettingOrigin::Code);
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
            .propagate(telemetry.propagate)
            .metrics_prefix(telemetry.metrics_prefix.as_str());
        match &telemetry.client_id {
            Some(id) => options.client_id(id.as_str()),
            None => options,
        }
    }
}
