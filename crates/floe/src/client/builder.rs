//! Configures a client before it connects.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Client,
    opening::{self, OpenedEngine},
};
use crate::{
    Error, ErrorKind, Result, RetryPolicy, WallClock,
    client_core::ClientCore,
    config::{Config, EngineOptions},
    engine::SharedEngine,
    history::History,
    layer::{BreakerPolicy, LastSuccess, Layer, Limits, PutAround, Stack},
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
///     .retry(RetryPolicy::calls().max_attempts(5))
///     .breaker(BreakerPolicy::default().failures(10))
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
    /// Options of engines, which take precedence over the configuration.
    options: Vec<EngineOptions>,
    /// User layers, outermost first.
    user: Vec<PutAround>,
    telemetry: Option<TelemetryOptions>,
    /// Settings of the program, which take precedence over the configuration.
    retry: Option<Option<RetryPolicy>>,
    breaker: Option<Option<BreakerPolicy>>,
    attempt_timeout: Option<Option<Duration>>,
    limits: Option<Limits>,
    clock: WallClock,
    history: History,
}

impl ClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            config: Config::default(),
            options: Vec::new(),
            user: Vec::new(),
            telemetry: None,
            retry: None,
            breaker: None,
            attempt_timeout: None,
            limits: None,
            clock: WallClock::default(),
            history: History::default(),
        }
    }

    /// Adds a layer, inside the layers added before.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.user.push(Box::new(|engine| layer.layer(engine)));
        self
    }

    /// Sets the configuration; see [`crate::config`]. The other setters of this builder, options of the URL, and the URL
    /// that this builder was made with take precedence over it. Default: none.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets options of the engine, which take precedence over those of the URL and of the configuration; an option that has
    /// its default leaves the choice to them. A program may give options for several engines: the URL selects.
    ///
    /// ```
    /// use floe::{Client, engine::{FluvioOptions, fluvio::Pem}};
    ///
    /// let tls = FluvioOptions::default().ca(Pem::file("ca.pem")).domain("streams.example".to_owned());
    /// let builder = Client::builder("fluvio+tls://streams.example:9003").options(tls);
    /// ```
    pub fn options(mut self, options: impl Into<EngineOptions>) -> Self {
        self.options.push(options.into());
        self
    }

    /// Sets which metrics and spans the client records, and with which providers. Default: all of them, with the global
    /// providers of OpenTelemetry.
    pub fn telemetry(mut self, options: TelemetryOptions) -> Self {
        self.telemetry = Some(options);
        self
    }

    /// Sets how failed calls are retried; `None` turns retries off. Default: [`RetryPolicy::calls`] for engines on the
    /// network, none for engines inside the process, which have no transient failures.
    ///
    /// Producers retry batches, and consumers reopen broken readers, by policies of their own: see
    /// [`ProducerBuilder::retry`](crate::producer::ProducerBuilder::retry) and
    /// [`ConsumerBuilder::retry`](crate::consumer::ConsumerBuilder::retry).
    pub fn retry(mut self, policy: impl Into<Option<RetryPolicy>>) -> Self {
        self.retry = Some(policy.into());
        self
    }

    /// Sets when calls to a failing server are refused; `None` for never. Default: [`BreakerPolicy::default`] for engines
    /// on the network, none for engines inside the process.
    pub fn breaker(mut self, policy: impl Into<Option<BreakerPolicy>>) -> Self {
        self.breaker = Some(policy.into());
        self
    }

    /// Sets the timeout of one attempt of a call, except appends and the wait for records; `None` for no limit. Default:
    /// 25 seconds for engines on the network, which have shorter limits for each request; none for engines inside the
    /// process.
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = Some(limit.into());
        self
    }

    /// Sets bounds on concurrency and rate of the calls. Default: none.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the clock that dates records and dead letters, and by which the embedded log expires records. Default: that of the
    /// system. A test of retention or of times gives one that it can move:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> floe::Result<()> {
    /// use std::time::{Duration, SystemTime};
    /// use floe::{Client, WallClock};
    ///
    /// let began = tokio::time::Instant::now();
    /// let clock = WallClock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(3600) + began.elapsed());
    /// let client = Client::builder("memory:").clock(clock).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }

    /// Records the history of all producers and consumers of the client; see [`crate::history`]. Default: none.
    #[cfg(feature = "history")]
    pub fn record(mut self, recorder: crate::history::Recorder) -> Self {
        self.history = History::new(recorder);
        self
    }

    /// Refuses a URL, options and policies with which no connection can ever succeed. Returns the URL.
    pub(crate) fn check(mut self) -> Result<EngineUrl> {
        let (url, _) = self.prepare()?;
        opening::check_compiled_in(url.scheme)?;
        Ok(url)
    }

    /// Merges the options of all sources, and returns the URL without options and the checked layers.
    fn prepare(&mut self) -> Result<(EngineUrl, Stack)> {
        let mut url: EngineUrl = self.url.parse()?;
        for options in &self.options {
            self.config.put_options(options);
        }
        self.config.take_options(&mut url)?;
        let stack = self.stack(url.scheme.as_str(), url.scheme.is_network());
        check(&stack)?;
        Ok((url, stack))
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`ErrorKind::InvalidConfig`] for invalid policies.
    pub async fn connect(mut self) -> Result<Client> {
        let (url, stack) = self.prepare()?;
        // Boxed, because it holds the options of an engine, and callers hold this future.
        let opened = Box::pin(opening::open(&url, self.config.settings(), &self.clock, |tcp| {
            stack.telemetry.dial(tcp)
        }))
        .await?;
        Ok(self.finish(stack, opened))
    }

    /// Builds a client over an engine of the caller's own, with the defaults of an engine inside the process. The URL has
    /// no effect.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for invalid policies.
    pub fn from_engine(mut self, engine: SharedEngine) -> Result<Client> {
        let stack = self.stack(engine.info().name, false);
        check(&stack)?;
        Ok(self.over(stack, engine))
    }

    /// As [`ClientBuilder::from_engine`] with default settings, which are valid.
    pub(super) fn over_defaults(engine: SharedEngine) -> Client {
        let mut builder = Self::new("");
        let stack = builder.stack(engine.info().name, false);
        builder.over(stack, engine)
    }

    fn over(mut self, stack: Stack, engine: SharedEngine) -> Client {
        self.url = format!("{}:", engine.info().name);
        self.finish(stack, OpenedEngine::new(engine))
    }

    /// Takes the layers out of the builder and the configuration.
    fn stack(&mut self, engine: &str, network: bool) -> Stack {
        let settings = self.config.settings();
        let configured = settings.retry.enabled.resolve(network).then(|| settings.call_retries());
        let options = self.telemetry.take().unwrap_or_else(|| settings.telemetry_options());
        Stack {
            telemetry: Telemetry::new(options, engine),
            last_success: LastSuccess::new(),
            user: std::mem::take(&mut self.user),
            limits: self.limits.unwrap_or_else(|| settings.call_limits()),
            retry: self.retry.take().unwrap_or(configured),
            breaker: self.breaker.unwrap_or_else(|| settings.breaker_policy(network)),
            attempt_timeout: self.attempt_timeout.unwrap_or_else(|| self.config.attempt_timeout(network)),
        }
    }

    fn finish(self, stack: Stack, opened: OpenedEngine) -> Client {
        #[cfg(feature = "fluvio")]
        let fluvio = opened.fluvio.map(|admin| match &stack.retry {
            Some(policy) => admin.retry(policy.clone()).on_retry(stack.retry_observer()),
            None => admin,
        });
        let (telemetry, last_success) = (stack.telemetry.clone(), stack.last_success.clone());
        telemetry.set_offsets(opened.engine.info().capabilities.offsets);
        let (engine, breakers) = stack.around(opened.engine);
        let observers = (telemetry, breakers, last_success);
        Client {
            core: ClientCore::new(
                engine,
                observers,
                self.history,
                self.config.into_settings(),
                (self.url, self.clock),
            ),
            shared_producers: Arc::new(SharedProducers::default()),
            #[cfg(feature = "fluvio")]
            fluvio: fluvio.map(Arc::new),
        }
    }
}

/// Refuses policies under which no call could succeed.
fn check(stack: &Stack) -> Result<()> {
    let problem = if let Some(problem) = stack.retry.as_ref().and_then(RetryPolicy::problem) {
        format!("retry: {problem}")
    } else if let Some(problem) = stack.breaker.and_then(|policy| policy.problem()) {
        format!("breaker: {problem}")
    } else if stack.attempt_timeout.is_some_and(|limit| limit.is_zero()) {
        "attempt_timeout is 0: every attempt would time out".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidConfig, problem))
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
    use super::*;
    use crate::fake_engine::FakeEngine;

    fn drawn(builder: ClientBuilder, network: bool) -> String {
        let mut builder = builder;
        let stack = builder.stack("fake", network);
        let engine: SharedEngine = Arc::new(FakeEngine::with_topic("orders", 1));
        format!("{:?}", stack.around(engine).0)
    }

    #[test]
    fn engines_on_the_network_get_retry_breaker_and_timeout() {
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
    fn setters_take_precedence_over_the_configuration() {
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
    async fn invalid_policies_are_refused() {
        let builder = || Client::builder("memory:");
        for (builder, expected) in [
            (builder().retry(RetryPolicy::calls().max_attempts(0)), "retry: "),
            (builder().breaker(BreakerPolicy::default().trials(0)), "breaker: "),
            (builder().breaker(BreakerPolicy::default().open_for(Duration::ZERO)), "breaker: open_for"),
            (builder().attempt_timeout(Duration::ZERO), "attempt_timeout"),
            (
                builder().options(crate::engine::EmbeddedOptions::default().segment_bytes(0)),
                "segment_bytes is 0B",
            ),
        ] {
            let error = builder.connect().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
