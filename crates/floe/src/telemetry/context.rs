//! Conversion between record headers and OpenTelemetry contexts.

use std::{borrow::Cow, cell::RefCell, fmt::Write as _, str::FromStr as _, sync::Arc};

use bytes::Bytes;
use floe_wire::batch::BorrowedHeaders;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    baggage::{Baggage, BaggageExt as _, KeyValueMetadata},
    trace::{SpanContext, TraceContextExt as _, TraceState},
};

use super::w3c::{
    BAGGAGE, MAX_BAGGAGE, MAX_BAGGAGE_ENTRIES, MAX_TRACESTATE, TRACEPARENT, TRACESTATE, TraceContext, baggage,
};

impl TraceContext {
    /// Converts to a remote OpenTelemetry span context. Leaves out a malformed `state`.
    #[must_use]
    pub fn to_span_context(&self) -> SpanContext {
        SpanContext::new(
            TraceId::from(self.trace_id),
            SpanId::from(self.span_id),
            TraceFlags::new(self.flags),
            true,
            TraceState::from_str(&self.state).unwrap_or_default(),
        )
    }
}

/// Returns the span context and the baggage that the headers of a record carry. Malformed headers count as absent.
#[must_use]
pub(crate) fn extract(headers: BorrowedHeaders<'_>) -> Context {
    let mut context = Context::new();
    if let Some(trace) = TraceContext::from_headers(headers) {
        context = context.with_remote_span_context(trace.to_span_context());
    }
    if let Some(carried) = baggage(headers) {
        let baggage = read_baggage(carried);
        if !baggage.is_empty() {
            context = context.with_baggage(baggage);
        }
    }
    context
}

/// Whether the current context has a span or baggage for records to carry.
#[inline]
pub(super) fn has_something_to_carry() -> bool {
    Context::map_current(|context| context.has_active_span() || !context.baggage().is_empty())
}

/// Headers of the records made in one context. Encoded once and shared by all of them.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The headers that are added.
    pub(super) headers: Vec<(&'static str, Bytes)>,
    /// The span, if there is a valid one.
    pub(super) span: Option<SpanContext>,
}

thread_local! {
    /// Headers encoded last on this thread: programs send many records in few contexts.
    static LAST: RefCell<Option<Arc<Carried>>> = const { RefCell::new(None) };
}

/// The current span context and baggage as headers.
pub(super) fn carried_by_current() -> Arc<Carried> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        // Comparing baggage costs as much as encoding it.
        let can_be_kept = span.is_valid() && context.baggage().is_empty();
        LAST.with_borrow_mut(|last| match last {
            Some(last) if can_be_kept && last.span.as_ref() == Some(span) => Arc::clone(last),
            _ => {
                let carried = Arc::new(encode_context(span, context.baggage()));
                if can_be_kept {
                    *last = Some(Arc::clone(&carried));
                }
                carried
            }
        })
    })
}

fn encode_context(span: &SpanContext, baggage: &Baggage) -> Carried {
    let mut carried = Carried::default();
    if span.is_valid() {
        carried.headers.push((TRACEPARENT, traceparent(span).into()));
        let state = span.trace_state().header();
        if !state.is_empty() {
            carried.headers.push((TRACESTATE, cut_state(state).into()));
        }
        carried.span = Some(span.clone());
    }
    if !baggage.is_empty() {
        carried.headers.push((BAGGAGE, write_baggage(baggage).into()));
    }
    carried
}

/// The span context in the headers of a record that is about to be sent.
pub(super) fn carried(headers: &[(String, Bytes)]) -> Option<SpanContext> {
    let (_, value) = headers.iter().rfind(|(name, _)| name == TRACEPARENT)?;
    let context: TraceContext = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(context.to_span_context())
}

fn traceparent(span: &SpanContext) -> String {
    format!("00-{:032x}-{:016x}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags())
}

/// Shortens a `tracestate` by its oldest members, which are last.
fn cut_state(mut state: String) -> String {
    while state.len() > MAX_TRACESTATE {
        let last = state.rfind(',').unwrap_or(0);
        state.truncate(last);
    }
    state
}

/// Writes as many entries as fit into the limit.
fn write_baggage(baggage: &Baggage) -> String {
    let mut text = String::new();
    for (name, (value, metadata)) in baggage.iter().take(MAX_BAGGAGE_ENTRIES) {
        let mut entry = format!("{}={}", encode(name.as_str()), encode(value.as_str()));
        if !metadata.as_str().is_empty() {
            entry.push(';');
            entry.push_str(metadata.as_str());
        }
        if text.len() + entry.len() + 1 > MAX_BAGGAGE {
            continue;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&entry);
    }
    text
}

fn read_baggage(text: &str) -> Baggage {
    text.split(',')
        .take(MAX_BAGGAGE_ENTRIES)
        .filter_map(|entry| {
            let (pair, metadata) = entry.split_once(';').unwrap_or((entry, ""));
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (decode(name.trim())?, decode(value.trim())?);
            Some(KeyValueMetadata::new(name.into_owned(), value.into_owned(), metadata.trim()))
        })
        .collect()
}

/// Percent-encodes the characters that baggage does not allow.
fn encode(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    // `=` ends a name, and `%` starts an escape.
    let plain = |byte: u8| plain(byte) && byte != b'=' && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string is infallible.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Cow::Owned(encoded)
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;
    use proptest::prelude::*;

    use super::*;

    fn span(state: &str) -> SpanContext {
        TraceContext { trace_id: 1, span_id: 2, flags: 1, state: state.to_owned() }.to_span_context()
    }

    fn inject(context: Context) -> Vec<(String, Bytes)> {
        let _current = context.attach();
        if !has_something_to_carry() {
            return Vec::new();
        }
        let carried = carried_by_current();
        carried.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn cached_headers_belong_to_the_current_context() {
        let parent = |number: &str| format!("00-{:032x}-{number}-01", 1);
        let with_baggage = || Context::new().with_baggage([KeyValue::new("user", "ada")]);
        for (context, expected) in [
            (Context::new().with_remote_span_context(span("")), vec![parent("0000000000000002")]),
            (Context::new().with_remote_span_context(span("")), vec![parent("0000000000000002")]),
            (
                Context::new().with_remote_span_context(span("a=1")),
                vec![parent("0000000000000002"), "a=1".to_owned()],
            ),
            (
                with_baggage().with_remote_span_context(span("")),
                vec![parent("0000000000000002"), "user=ada".to_owned()],
            ),
            (with_baggage(), vec!["user=ada".to_owned()]),
            (Context::new().with_remote_span_context(span("")), vec![parent("0000000000000002")]),
        ] {
            let values: Vec<_> = inject(context).into_iter().map(|(_, value)| value).collect();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn context_is_encoded_once() {
        let _current = Context::new().with_remote_span_context(span("")).attach();
        assert!(Arc::ptr_eq(&carried_by_current(), &carried_by_current()));
    }

    #[test]
    fn no_headers_without_a_context() {
        assert_eq!(inject(Context::new()), []);
    }

    #[test]
    fn context_becomes_headers() {
        let context = Context::new()
            .with_remote_span_context(span("a=1,b=2"))
            .with_baggage([KeyValue::new("user", "ada = l, 100 %")]);
        let headers = inject(context);
        let expected: [(&str, &str); 3] = [
            (TRACEPARENT, "00-00000000000000000000000000000001-0000000000000002-01"),
            (TRACESTATE, "a=1,b=2"),
            (BAGGAGE, "user=ada%20%3D%20l%2C%20100%20%25"),
        ];
        for ((name, value), expected) in headers.iter().zip(expected) {
            assert_eq!((name.as_str(), &value[..]), (expected.0, expected.1.as_bytes()));
        }
        assert_eq!(headers.len(), 3);
        assert_eq!(carried(&headers), Some(span("")), "the state is not read again for a link");
    }

    #[test]
    fn long_state_and_baggage_are_cut_between_members() {
        let long: Vec<_> = (0..30).map(|n| format!("vendor{n}={}", "x".repeat(60))).collect();
        let cut = cut_state(long.join(","));
        assert!(cut.len() <= MAX_TRACESTATE && cut.len() > MAX_TRACESTATE - 80);
        assert!(long.join(",").starts_with(&cut), "the newest stand first and stay");
        assert!(TraceState::from_str(&cut).is_ok());

        let pairs = (0..40).map(|n| KeyValue::new(format!("name{n}"), "y".repeat(700)));
        let text = write_baggage(&Baggage::from_iter(pairs));
        assert!(text.len() <= MAX_BAGGAGE, "{}", text.len());
        assert_eq!(read_baggage(&text).len(), MAX_BAGGAGE / 710);
    }

    #[test]
    fn malformed_entries_are_skipped() {
        let baggage = read_baggage("ok=1, =, novalue, bad=%zz, cut=%4, good = a%20b ;p=1;q, utf=%ff");
        let mut found: Vec<_> =
            baggage.iter().map(|(k, (v, m))| (k.as_str(), v.as_str(), m.as_str())).collect();
        found.sort_unstable();
        assert_eq!(found, [("good", "a b", "p=1;q"), ("ok", "1", "")]);
    }

    proptest! {
        #[test]
        fn any_value_round_trips(value in "\\PC{0,50}") {
            let baggage = Baggage::from_iter([KeyValue::new("name", value.clone())]);
            let read = read_baggage(&write_baggage(&baggage));
            prop_assert_eq!(read.get("name").map(|found| found.as_str().to_owned()), Some(value));
        }

        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            read_baggage(&text);
        }
    }
}
