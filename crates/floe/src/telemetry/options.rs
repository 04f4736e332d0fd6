//! Options of the telemetry of a client.

use std::sync::Arc;

/// Selects the metrics and spans of a client, and the providers that record them. By default metrics and spans are on
/// and use the global providers of OpenTelemetry, which record nothing until the application installs its own.
#[derive(Debug)]
#[must_use]
pub struct TelemetryOptions {
    pub(super) metrics: bool,
    pub(super) spans: bool,
    pub(super) create_spans: bool,
    pub(super) propagate: bool,
    pub(super) client_id: Option<Arc<str>>,
    /// Prefix of floe's own metrics; `None` is `floe`.
    pub(super) metrics_prefix: Option<Arc<str>>,
    #[cfg(feature = "telemetry")]
    pub(super) meter: Option<opentelemetry::metrics::Meter>,
    #[cfg(feature = "telemetry")]
    pub(super) tracer: Option<opentelemetry::global::BoxedTracer>,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            metrics: true,
            spans: true,
            create_spans: false,
            propagate: true,
            client_id: None,
            metrics_prefix: None,
            #[cfg(feature = "telemetry")]
            meter: None,
            #[cfg(feature = "telemetry")]
            tracer: None,
        }
    }
}

impl TelemetryOptions {
    /// Turns metrics, spans and propagation off.
    pub fn off() -> Self {
        Self { metrics: false, spans: false, propagate: false, ..Self::default() }
    }

    /// Sets whether metrics are recorded. Default: yes.
    pub fn metrics(mut self, on: bool) -> Self {
        self.metrics = on;
        self
    }

    /// Sets whether spans are made. Default: yes.
    pub fn spans(mut self, on: bool) -> Self {
        self.spans = on;
        self
    }

    /// Sets whether each record that joins a batch inside an active span gets a span of its own, instead of carrying the
    /// context of the caller. Default: no, because a program that loads a million records inside one span would make a
    /// million spans. `Producer::send`, which sends one record, makes its span in any case.
    pub fn create_spans(mut self, on: bool) -> Self {
        self.create_spans = on;
        self
    }

    /// Sets whether records carry the context and the baggage of their sender in their headers. Default: yes. It has an
    /// effect only inside an active span or with baggage, and on engines whose records have headers.
    pub fn propagate(mut self, on: bool) -> Self {
        self.propagate = on;
        self
    }

    /// Sets the id that tells the clients of a process apart in the metrics that are sums over one client. Default: `floe-1`, `floe-2`
    /// and so on.
    pub fn client_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Sets the prefix of the names of floe's own metrics, in place of `floe`: `acme` makes `acme.queue.usage`. Names of the
    /// conventions, such as `messaging.client.sent.messages`, stay as they are.
    pub fn metrics_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.metrics_prefix = Some(prefix.into());
        self
    }

    /// Sets the provider of metrics. Default: the global provider at the time of connecting.
    #[cfg(feature = "telemetry")]
    pub fn meter_provider(mut self, provider: &impl opentelemetry::metrics::MeterProvider) -> Self {
        self.meter = Some(provider.meter_with_scope(super::scope()));
        self
    }

    /// Sets the provider of spans. Default: the global provider at the time of connecting.
    #[cfg(feature = "telemetry")]
    pub fn tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: opentelemetry::trace::TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
    {
        let tracer = provider.tracer_with_scope(super::scope());
        self.tracer = Some(opentelemetry::global::BoxedTracer::new(Box::new(tracer)));
        self
    }
}
