//! Observability: metrics, spans and events of a client.
//!
//! Metrics and spans use the OpenTelemetry API and its semantic conventions for messaging; see [`names`]. Until the
//! application installs a provider, nothing records them and they cost next to nothing. Events and diagnostic spans go
//! through `tracing`. [The page on telemetry](https://github.com/floe-rs/floe/blob/main/docs/telemetry.md) lists
//! all of them.
//!
//! A client looks up the global providers when it connects: install them before, or pass them in
//! [`TelemetryOptions`]. A provider of another version of OpenTelemetry receives nothing, since each version has globals of its
//! own: the module [`opentelemetry`] is the version that floe uses, 0.33.
//!
//! ```text
//!  Producer ── context of the caller ──► headers of the record ──► batch ──► engine ──► Consumer ──► Message
//!     │                                                              │                     │            │
//!     └─ send (one record)                                     send (batch)            receive       process
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `names` | names, units and descriptions |
//! | `w3c` | trace context and baggage in record headers, without OpenTelemetry |
//! | `context` | conversion between record headers and OpenTelemetry contexts |
//! | `instruments` | the instruments of all metrics |
//! | `calls` | duration, size and span of every engine call |
//! | `dial` | measures connections |
//! | `produce`, `consume`, `processing` | measurements of producers, consumers and applications |
//! | `gauges` | values that are looked up on collection: queues, lag |
//! | `noop` | the same names in a build without the feature `telemetry` |

#[cfg(feature = "telemetry")]
mod calls;
#[cfg(feature = "telemetry")]
mod consume;
#[cfg(feature = "telemetry")]
mod context;
#[cfg(feature = "telemetry")]
mod dial;
#[cfg(feature = "telemetry")]
mod gauges;
#[cfg(feature = "telemetry")]
mod group;
#[cfg(feature = "telemetry")]
mod instruments;
pub mod names;
#[cfg(not(feature = "telemetry"))]
mod noop;
mod options;
#[cfg(feature = "telemetry")]
mod processing;
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
pub use self::noop::Telemetry;
#[cfg(not(feature = "telemetry"))]
pub(crate) use self::noop::{
    BatchSpan, ConsumerTelemetry, FetchTelemetry, GroupTelemetry, Lag, Origin, Origins, Queue, carrying,
    error_type,
};
#[cfg(feature = "telemetry")]
pub(crate) use self::{
    consume::{ConsumerTelemetry, FetchTelemetry},
    context::extract,
    gauges::{Lag, Queue},
    group::GroupTelemetry,
    processing::{carrying, error_type},
    produce::{BatchSpan, Origin, Origins},
};
/// The version of OpenTelemetry that floe uses, for providers and contexts of the application.
#[cfg(feature = "telemetry")]
pub use opentelemetry;

pub use self::{
    options::TelemetryOptions,
    w3c::{BAGGAGE, InvalidTraceParent, TRACEPARENT, TRACESTATE, TraceContext, baggage},
};

/// Topic, partition and offset of a record.
type RecordPosition<'a> = (&'a crate::Topic, u32, i64);

/// Metrics and spans of a client. Cheap to clone; from [`Client::telemetry`](crate::Client::telemetry).
#[cfg(feature = "telemetry")]
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<TelemetryParts>,
}

/// A batch that an application receives, as telemetry sees it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "telemetry"), expect(dead_code, reason = "only measured with the feature"))]
pub(crate) struct ReceivedBatch {
    /// Index of the partition among those of the consumer.
    pub(crate) index: usize,
    pub(crate) first_offset: i64,
    pub(crate) records: usize,
    /// Time of the first record, milliseconds since the Unix epoch.
    pub(crate) time: Option<i64>,
}

#[cfg(feature = "telemetry")]
#[derive(Debug)]
struct TelemetryParts {
    /// Value of `messaging.system`.
    system: &'static str,
    client_id: Arc<str>,
    /// `None` where metrics are off.
    instruments: Option<instruments::Instruments>,
    /// `None` where spans are off.
    tracer: Option<opentelemetry::global::BoxedTracer>,
    /// Set once the tracer is known to record nothing. It stays set, because a tracer never changes its provider.
    tracer_is_idle: AtomicBool,
    propagate: bool,
    create_spans: bool,
    gauges: Arc<gauges::Gauges>,
    /// Whether records of the engine have offsets.
    has_offsets: AtomicBool,
    /// Number of the next engine call, which tells the events of calls apart.
    calls: AtomicU64,
}

#[cfg(feature = "telemetry")]
impl Telemetry {
    /// Creates the telemetry of a client; `engine` is the name of the engine or its URL scheme.
    pub(crate) fn new(options: TelemetryOptions, engine: &str) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(1);
        let system = system(engine);
        let client_id = options
            .client_id
            .unwrap_or_else(|| Arc::from(format!("floe-{}", CLIENTS.fetch_add(1, Ordering::Relaxed))));
        let gauges = Arc::new(gauges::Gauges::new(system, Arc::clone(&client_id)));
        let instruments = options.metrics.then(|| {
            let meter = options.meter.unwrap_or_else(|| opentelemetry::global::meter_with_scope(scope()));
            let prefix = options.metrics_prefix.as_deref().unwrap_or("floe");
            gauges::register(&gauges, &meter, prefix);
            instruments::Instruments::new(&meter, prefix)
        });
        let tracer = options
            .spans
            .then(|| options.tracer.unwrap_or_else(|| opentelemetry::global::tracer_with_scope(scope())));
        Self {
            inner: Arc::new(TelemetryParts {
                system,
                client_id,
                instruments,
                tracer,
                tracer_is_idle: AtomicBool::new(false),
                propagate: options.propagate,
                create_spans: options.create_spans,
                gauges,
                has_offsets: AtomicBool::new(true),
                calls: AtomicU64::new(0),
            }),
        }
    }

    /// Sets whether records of the engine have offsets. Without, a consumer counts records, and spans carry no offset.
    pub(crate) fn set_offsets(&self, has_offsets: bool) {
        self.inner.has_offsets.store(has_offsets, Ordering::Relaxed);
    }

    /// Returns the attribute for the offset of a record.
    fn offset(&self, offset: i64) -> Option<opentelemetry::KeyValue> {
        let has_offsets = self.inner.has_offsets.load(Ordering::Relaxed);
        has_offsets.then(|| opentelemetry::KeyValue::new(names::attribute::offset(self.inner.system), offset))
    }

    /// Measures a queue for as long as it lives. `owner`: `producer` or `consumer`.
    pub(crate) fn watch_queue(
        &self,
        owner: &'static str,
        topic: &crate::Topic,
        queue: std::sync::Weak<dyn Queue>,
    ) {
        self.inner.gauges.watch_queue(owner, topic, queue);
    }

    /// Counts a retry after `cause`.
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

    /// Counts a dead letter by the code of its reason.
    pub(crate) fn buried(&self, topic: &crate::Topic, code: &str) {
        if let Some(instruments) = &self.inner.instruments {
            instruments.buried(self.inner.system, topic, code);
        }
    }

    /// Counts a state change of a circuit breaker.
    pub(crate) fn breaker_changed(&self, endpoint: &str, from: &'static str, to: &'static str) {
        if let Some(instruments) = &self.inner.instruments {
            instruments.breaker_changed(self.inner.system, endpoint, from, to);
        }
    }

    /// The tracer, unless spans are off or known to be recorded nowhere.
    fn tracer(&self) -> Option<&opentelemetry::global::BoxedTracer> {
        let tracer = self.inner.tracer.as_ref()?;
        (!self.inner.tracer_is_idle.load(Ordering::Relaxed)).then_some(tracer)
    }

    /// Starts a span, unless nothing records spans.
    fn start_span(
        &self,
        builder: impl FnOnce() -> opentelemetry::trace::SpanBuilder,
        parent: &opentelemetry::Context,
    ) -> Option<opentelemetry::global::BoxedSpan> {
        use opentelemetry::trace::{Span as _, Tracer as _};
        let span = self.tracer()?.build_with_context(builder(), parent);
        // Spans of a real provider have a valid context, sampled or not. A tracer without a provider passes the context
        // of the parent on, so only a span without a parent is conclusive.
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

/// Value of `messaging.system` for the name of an engine or a URL scheme.
#[cfg(feature = "telemetry")]
fn system(engine: &str) -> &'static str {
    match engine {
        "fluvio" | "fluvio+tls" => "fluvio",
        "walrus" => "walrus",
        _ => "floe",
    }
}
