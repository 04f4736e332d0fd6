//! What floe tells about itself: metrics, spans and events.
//!
//! Metrics and spans go through the API of OpenTelemetry, named by its conventions for messaging; see [`names`]. Until
//! the application installs a provider, they go nowhere and cost next to nothing. Events and diagnostic spans go
//! through `tracing`. The page `docs/telemetry.md` lists everything.
//!
//! The providers are looked up when a client connects: install them before, or hand them over with
//! [`TelemetryOptions`].
//!
//! ```text
//!  Producer ── context of the caller ──► headers of the record ──► batch ──► engine ──► Consumer ──► Message
//!     │                                                              │                     │            │
//!     └─ send (one record)                                     send (batch)            receive       process
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `names` | every name, unit and description |
//! | `handled` | the record that an application handles |
//! | `w3c` | trace context and baggage as headers of records, without OpenTelemetry |
//! | `context` | the same as contexts of OpenTelemetry |
//! | `instruments` | what measurements are made with |
//! | `layer` | measures every call of the engine |
//! | `dial` | measures connections |
//! | `produce`, `consume`, `process` | what producers, consumers and applications do |
//! | `gauges` | what is looked up when somebody collects: queues, lag |
//! | `off` | stands in for all of it without the feature `telemetry` |

#[cfg(feature = "telemetry")]
mod consume;
#[cfg(feature = "telemetry")]
mod context;
#[cfg(feature = "telemetry")]
mod dial;
#[cfg(feature = "telemetry")]
mod gauges;
mod handled;
#[cfg(feature = "telemetry")]
mod instruments;
#[cfg(feature = "telemetry")]
mod layer;
pub mod names;
#[cfg(not(feature = "telemetry"))]
mod off;
mod options;
#[cfg(feature = "telemetry")]
mod process;
#[cfg(feature = "telemetry")]
mod produce;
#[cfg(all(test, feature = "telemetry"))]
mod tests;
mod w3c;

#[cfg(feature = "telemetry")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(not(feature = "telemetry"))]
pub use self::off::Telemetry;
#[cfg(not(feature = "telemetry"))]
pub(crate) use self::off::{
    BatchSpan, ConsumerTelemetry, FetchTelemetry, Lag, Origin, Origins, Queue, carrying,
};
#[cfg(feature = "telemetry")]
pub(crate) use self::{
    consume::{ConsumerTelemetry, FetchTelemetry},
    context::extract,
    gauges::{Lag, Queue},
    process::carrying,
    produce::{BatchSpan, Origin, Origins},
};
pub use self::{
    handled::HandledRecord,
    options::TelemetryOptions,
    w3c::{BAGGAGE, InvalidTraceParent, TRACEPARENT, TRACESTATE, TraceContext, baggage},
};

/// What a client measures with. Cheap to clone; from [`Client::telemetry`](crate::Client::telemetry).
#[cfg(feature = "telemetry")]
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[cfg(feature = "telemetry")]
#[derive(Debug)]
struct Inner {
    /// Value of `messaging.system`.
    system: &'static str,
    client_id: Arc<str>,
    /// `None` where metrics are off.
    instruments: Option<instruments::Instruments>,
    /// `None` where spans are off.
    tracer: Option<opentelemetry::global::BoxedTracer>,
    /// The tracer was found to go nowhere; it stays so, because a tracer never changes its provider.
    tracer_is_idle: AtomicBool,
    propagate: bool,
    create_spans: bool,
    gauges: Arc<gauges::Gauges>,
    /// Numbers the calls of the engine, to tell their events apart.
    calls: AtomicU64,
}

#[cfg(feature = "telemetry")]
impl Telemetry {
    /// For a client of the engine of this name or scheme.
    pub(crate) fn new(options: TelemetryOptions, engine: &str) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(1);
        let system = system(engine);
        let client_id = options
            .client_id
            .unwrap_or_else(|| Arc::from(format!("floe-{}", CLIENTS.fetch_add(1, Ordering::Relaxed))));
        let gauges = Arc::new(gauges::Gauges::new(system, Arc::clone(&client_id)));
        let instruments = options.metrics.then(|| {
            let meter = options.meter.unwrap_or_else(|| opentelemetry::global::meter_with_scope(scope()));
            gauges::register(&gauges, &meter);
            instruments::Instruments::new(&meter)
        });
        let tracer = options
            .spans
            .then(|| options.tracer.unwrap_or_else(|| opentelemetry::global::tracer_with_scope(scope())));
        Self {
            inner: Arc::new(Inner {
                system,
                client_id,
                instruments,
                tracer,
                tracer_is_idle: AtomicBool::new(false),
                propagate: options.propagate,
                create_spans: options.create_spans,
                gauges,
                calls: AtomicU64::new(0),
            }),
        }
    }

    /// Measures every call of the engine.
    pub(crate) fn around(&self, engine: crate::engine::SharedEngine) -> crate::engine::SharedEngine {
        use crate::layer::Layer as _;
        if self.inner.instruments.is_none() && self.inner.tracer.is_none() {
            return engine;
        }
        layer::Observe(self.clone()).layer(engine)
    }

    /// Has a queue measured for as long as it lives.
    pub(crate) fn watch_queue(&self, queue: std::sync::Weak<dyn Queue>) {
        self.inner.gauges.watch_queue(queue);
    }

    /// A call was repeated after this error.
    pub(crate) fn retried(
        &self,
        operation: &'static str,
        topic: Option<&crate::Topic>,
        cause: &crate::Error,
    ) {
        if let Some(instruments) = &self.inner.instruments {
            instruments.retried(self.inner.system, operation, topic, cause);
        }
    }

    /// A record became a dead letter, for a reason with this code.
    pub(crate) fn buried(&self, topic: &crate::Topic, code: &str) {
        if let Some(instruments) = &self.inner.instruments {
            instruments.buried(self.inner.system, topic, code);
        }
    }

    /// A circuit breaker changed its state.
    pub(crate) fn breaker_changed(&self, endpoint: &str, from: &'static str, to: &'static str) {
        if let Some(instruments) = &self.inner.instruments {
            instruments.breaker_changed(self.inner.system, endpoint, from, to);
        }
    }

    /// The tracer, unless spans are off or known to go nowhere.
    fn tracer(&self) -> Option<&opentelemetry::global::BoxedTracer> {
        let tracer = self.inner.tracer.as_ref()?;
        (!self.inner.tracer_is_idle.load(Ordering::Relaxed)).then_some(tracer)
    }

    /// Starts a span, unless spans go nowhere.
    fn start_span(
        &self,
        builder: impl FnOnce() -> opentelemetry::trace::SpanBuilder,
        parent: &opentelemetry::Context,
    ) -> Option<opentelemetry::global::BoxedSpan> {
        use opentelemetry::trace::{Span as _, Tracer as _};
        let span = self.tracer()?.build_with_context(builder(), parent);
        // Spans of a real provider have a valid context, sampled or not. A tracer without one passes the context of
        // the parent on, so only a span without parent tells.
        if !span.span_context().is_valid() {
            self.inner.tracer_is_idle.store(true, Ordering::Relaxed);
            return None;
        }
        Some(span)
    }
}

#[cfg(feature = "telemetry")]
fn scope() -> opentelemetry::InstrumentationScope {
    opentelemetry::InstrumentationScope::builder(names::SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(names::SCHEMA_URL)
        .build()
}

/// Value of `messaging.system` for an engine or a scheme of URLs.
#[cfg(feature = "telemetry")]
fn system(engine: &str) -> &'static str {
    match engine {
        "fluvio" | "fluvio+tls" => "fluvio",
        "walrus" => "walrus",
        _ => "floe",
    }
}
