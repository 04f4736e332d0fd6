//! Configures a client before it connects.

use std::{fmt, time::Duration};

use parking_lot::Mutex;

use super::{Client, Shared};
use crate::{
    Error, ErrorKind, Result, RetryPolicy,
    config::Config,
    engine::{self, OpenedEngine, SharedEngine},
    health::LastSuccess,
    layer::{BreakerPolicy, Layer, Limits, PutAround, Stack},
    producer::SharedProducers,
    telemetry::{Telemetry, TelemetryOptions},
    url::EngineUrl,
};

/// Configures a client before it connects.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, RetryPolicy, layer::BreakerPolicy};
///
/// let client = Client::builder("memory:?producer.linger=5ms")
///     .retry(RetryPolicy { max_attempts: Some(5), ..RetryPolicy::calls() })
///     .breaker(BreakerPolicy { failures: 10, ..BreakerPolicy::default() })
///     .connect()
///     .await?;
/// assert_eq!(client.settings().producer.linger.as_millis(), 5);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until connect"]
pub struct ClientBuilder {
    url: String,
    config: Config,
    /// User layers, outermost first.
    user: Vec<PutAround>,
    telemetry: Option<TelemetryOptions>,
    /// What the program says, which goes before the configuration.
    retry: Option<Option<RetryPolicy>>,
    breaker: Option<Option<BreakerPolicy>>,
    attempt_timeout: Option<Option<Duration>>,
    limits: Option<Limits>,
}

impl ClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            config: Config::default(),
            user: Vec::new(),
            telemetry: None,
            retry: None,
            breaker: None,
            attempt_timeout: None,
            limits: None,
        }
    }

    /// Adds a layer inside those added before.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.user.push(Box::new(|engine| layer.layer(engine)));
        self
    }

    /// Settings from elsewhere, see [`crate::config`]. What is set by the other methods here goes before them, as do
    /// options of the URL, and the URL that this builder was made with. Default: none.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What the client tells about itself, and to whom. Default: everything, to the global providers of OpenTelemetry.
    pub fn telemetry(mut self, options: TelemetryOptions) -> Self {
        self.telemetry = Some(options);
        self
    }

    /// How failed calls are repeated; `None` for not at all. Default: [`RetryPolicy::calls`] for engines on the network,
    /// none for those inside the process, which do not fail in passing.
    ///
    /// Batches and broken readers are repeated by producers and consumers, see
    /// [`ProducerBuilder::retries`](crate::producer::ProducerBuilder::retries) and
    /// [`ConsumerBuilder::reconnect`](crate::consumer::ConsumerBuilder::reconnect).
    pub fn retry(mut self, policy: impl Into<Option<RetryPolicy>>) -> Self {
        self.retry = Some(policy.into());
        self
    }

    /// When servers that fail are left alone; `None` for never. Default: [`BreakerPolicy::default`] for engines on the
    /// network, none for those inside the process.
    pub fn breaker(mut self, policy: impl Into<Option<BreakerPolicy>>) -> Self {
        self.breaker = Some(policy.into());
        self
    }

    /// Time for one attempt of a call that is neither an append nor waiting for records; `None` for no limit. Default:
    /// 25 seconds for engines on the network, which have shorter limits for each request; none for those inside the
    /// process.
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = Some(limit.into());
        self
    }

    /// Bounds on the calls of this client. Default: none.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`ErrorKind::InvalidConfig`] for policies that make no sense.
    pub async fn connect(mut self) -> Result<Client> {
        let mut url: EngineUrl = self.url.parse()?;
        self.config.take_options(&mut url)?;
        self.config.give_options(&mut url);
        let stack = self.stack(url.scheme.as_str(), url.scheme.is_network())?;
        let opened = engine::open(&url, |tcp| stack.telemetry.dial(tcp)).await?;
        Ok(self.finish(stack, opened))
    }

    /// A client over an engine of the caller's own, which counts as one inside the process. The URL has no effect.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for policies that make no sense.
    pub fn over(mut self, engine: SharedEngine) -> Result<Client> {
        let name = engine.info().name;
        self.url = format!("{name}:");
        let stack = self.stack(name, false)?;
        Ok(self.finish(
            stack,
            OpenedEngine {
                engine,
                #[cfg(feature = "fluvio")]
                fluvio: None,
            },
        ))
    }

    /// What to put around the engine.
    fn stack(&mut self, engine: &str, network: bool) -> Result<Stack> {
        let settings = self.config.settings();
        let configured = settings.retry.enabled.resolve(network).then(|| settings.call_retries());
        let stack = Stack {
            telemetry: Telemetry::new(
                self.telemetry.take().unwrap_or_else(|| settings.telemetry_options()),
                engine,
            ),
            last_success: LastSuccess::new(),
            user: std::mem::take(&mut self.user),
            limits: self.limits.unwrap_or_else(|| settings.call_limits()),
            retry: self.retry.take().unwrap_or(configured),
            breaker: self.breaker.unwrap_or_else(|| settings.breaker_policy(network)),
            attempt_timeout: self.attempt_timeout.unwrap_or_else(|| self.config.attempt_timeout(network)),
        };
        let problem = if let Some(problem) = stack.retry.as_ref().and_then(RetryPolicy::problem) {
            Some(format!("retry: {problem}"))
        } else if stack.breaker.is_some_and(|policy| policy.failures == 0 || policy.trials == 0) {
            Some("breaker: failures and trials must be at least 1".to_owned())
        } else if stack.attempt_timeout.is_some_and(|limit| limit.is_zero()) {
            Some("attempt_timeout is 0: nothing could ever be answered".to_owned())
        } else {
            None
        };
        match problem {
            Some(problem) => Err(Error::new(ErrorKind::InvalidConfig, problem)),
            None => Ok(stack),
        }
    }

    fn finish(self, stack: Stack, opened: OpenedEngine) -> Client {
        #[cfg(feature = "fluvio")]
        let fluvio = opened.fluvio.map(|admin| match &stack.retry {
            Some(policy) => admin.retry(policy.clone()).on_retry(stack.retry_observer()),
            None => admin,
        });
        let (telemetry, last_success) = (stack.telemetry.clone(), stack.last_success.clone());
        let (engine, breakers) = stack.around(opened.engine);
        Client::new(Shared {
            engine,
            #[cfg(feature = "fluvio")]
            fluvio,
            telemetry,
            breakers,
            last_success,
            settings: self.config.into_settings(),
            url: self.url,
            open: Mutex::default(),
            shared_producers: SharedProducers::default(),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &crate::url::shown(&self.url))
            .field("layers", &self.user.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fake_engine::FakeEngine;

    fn drawn(builder: ClientBuilder, network: bool) -> String {
        let mut builder = builder;
        let stack = builder.stack("fake", network).unwrap();
        let engine: SharedEngine = Arc::new(FakeEngine::with_topic("orders", 1));
        format!("{:?}", stack.around(engine).0)
    }

    #[test]
    fn engines_on_the_network_get_what_helps_against_failures() {
        let builder = || ClientBuilder::new("x:");
        let remote = drawn(builder(), true);
        assert!(["Retry", "Breaker", "Timeout"].iter().all(|layer| remote.contains(layer)), "{remote}");
        assert!(!remote.contains("Limit"), "{remote}");
        let local = drawn(builder(), false);
        assert!(!["Retry", "Breaker", "Timeout"].iter().any(|layer| local.contains(layer)), "{local}");
        let bare = drawn(builder().retry(None).breaker(None).attempt_timeout(None), true);
        assert!(!["Retry", "Breaker", "Timeout"].iter().any(|layer| bare.contains(layer)), "{bare}");
        let asked = drawn(builder().retry(RetryPolicy::calls()), false);
        assert!(asked.contains("Retry") && !asked.contains("Breaker"), "{asked}");
    }

    #[test]
    fn the_configuration_counts_where_the_program_says_nothing() {
        let mut config = Config::default();
        for (key, value) in [
            ("breaker.enabled", "on"),
            ("breaker.failures", "77"),
            ("limits.rate", "10"),
            ("client.attempt_timeout", "3s"),
            ("retry.enabled", "off"),
        ] {
            config.set(key, value).unwrap();
        }
        let local = drawn(ClientBuilder::new("x:").config(config.clone()), false);
        assert!(local.contains("failures: 77") && local.contains("Limit") && local.contains("3s"), "{local}");
        let remote = drawn(ClientBuilder::new("x:").config(config).retry(RetryPolicy::calls()), true);
        assert!(remote.contains("Retry"), "{remote}");
    }

    #[tokio::test]
    async fn impossible_policies_are_refused() {
        let builder = || Client::builder("memory:");
        for (builder, expected) in [
            (builder().retry(RetryPolicy { max_attempts: Some(0), ..RetryPolicy::calls() }), "retry: "),
            (builder().breaker(BreakerPolicy { trials: 0, ..BreakerPolicy::default() }), "breaker: "),
            (builder().attempt_timeout(Duration::ZERO), "attempt_timeout"),
        ] {
            let error = builder.connect().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
