//! W3C trace context and baggage in the headers of records.

use std::{fmt, str};

use floe_wire::batch::BorrowedHeaders;

/// Header with the trace and the span that a record belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// Header with vendor-specific trace state.
pub const TRACESTATE: &str = "tracestate";
/// Header with name-value pairs that travel with the trace.
pub const BAGGAGE: &str = "baggage";

/// Longest `tracestate` that is read or written, in bytes. The W3C recommendation asks for at least 512.
pub(super) const MAX_TRACESTATE: usize = 512;
/// Longest `baggage` that is read or written, in bytes: the limit of the W3C draft.
pub(super) const MAX_BAGGAGE: usize = 8192;
/// Most entries of a `baggage`.
#[cfg(feature = "telemetry")]
pub(super) const MAX_BAGGAGE_ENTRIES: usize = 64;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Trace and span in which a record was made, from its headers.
///
/// ```
/// use floe::telemetry::TraceContext;
///
/// let context: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
/// assert!(format!("{context:?}").contains("trace_id: 0af7651916cd43dd8448eb211c80319c, span_id: b7ad6b7169203331"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TraceContext {
    /// Id of the trace; not zero.
    pub trace_id: u128,
    /// Id of the span; not zero.
    pub span_id: u64,
    /// Bit 0: the trace is sampled. Bit 1: the id of the trace is random.
    pub flags: u8,
    /// The `tracestate` header as received; empty without one, or for one longer than 512 bytes.
    pub state: String,
}

impl TraceContext {
    /// Reads the headers of a record. A malformed header counts as absent, as the W3C recommendation asks.
    #[must_use]
    pub fn from_headers(headers: BorrowedHeaders<'_>) -> Option<Self> {
        if headers.is_empty() {
            return None;
        }
        let mut context: Self = text(headers, TRACEPARENT)?.parse().ok()?;
        if let Some(state) = text(headers, TRACESTATE).filter(|state| state.len() <= MAX_TRACESTATE) {
            state.clone_into(&mut context.state);
        }
        Some(context)
    }

    /// Returns whether the trace is sampled.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Returns the `baggage` header of a record; `None` without one, or for one longer than 8,192 bytes.
#[must_use]
pub fn baggage(headers: BorrowedHeaders<'_>) -> Option<&str> {
    text(headers, BAGGAGE).filter(|baggage| baggage.len() <= MAX_BAGGAGE)
}

fn text<'a>(headers: BorrowedHeaders<'a>, name: &str) -> Option<&'a str> {
    str::from_utf8(headers.get(name)?).ok()
}

/// Error of a malformed `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceParent;

impl fmt::Display for InvalidTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a traceparent is 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case, not all zero",
        )
    }
}

impl std::error::Error for InvalidTraceParent {}

impl str::FromStr for TraceContext {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let version = digits(bytes, 0, 2).ok_or(InvalidTraceParent)?;
        // Later versions may be longer but begin with the same four fields.
        let ends_well = match version {
            0 => bytes.len() == LENGTH,
            0xff => false,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !ends_well || !dashes {
            return Err(InvalidTraceParent);
        }
        let field = |from, to| digits(bytes, from, to).ok_or(InvalidTraceParent);
        let trace_id = field(3, 35)?;
        let span_id = u64::try_from(field(36, 52)?).map_err(|_| InvalidTraceParent)?;
        let flags = u8::try_from(field(53, 55)?).map_err(|_| InvalidTraceParent)?;
        if trace_id == 0 || span_id == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace_id, span_id, flags, state: String::new() })
    }
}

/// Shows the identifiers as the headers and tracing systems do.
impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceContext")
            .field("trace_id", &format_args!("{:032x}", self.trace_id))
            .field("span_id", &format_args!("{:016x}", self.span_id))
            .field("flags", &format_args!("{:02x}", self.flags))
            .field("state", &self.state)
            .finish()
    }
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// A number in lower case hexadecimal digits; upper case is not allowed here.
fn digits(bytes: &[u8], from: usize, to: usize) -> Option<u128> {
    bytes.get(from..to)?.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_is_read_and_written() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(context.span_id, 0xb7ad_6b71_6920_3331);
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), GOOD);
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTraceParent), "{bad:?}");
        }
    }

    #[test]
    fn known_fields_of_later_versions_are_read() {
        for later in [GOOD.replacen("00", "01", 1), format!("{}-what-ever", GOOD.replacen("00", "cc", 1))] {
            let context: TraceContext = later.parse().unwrap();
            assert_eq!(context.to_string(), GOOD, "written as version 00");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
            if let Ok(context) = text.parse::<TraceContext>() {
                prop_assert_eq!(context.to_string().parse::<TraceContext>().unwrap(), context);
            }
        }

        #[test]
        fn every_context_round_trips(trace_id in 1u128.., span_id in 1u64.., flags: u8) {
            let context = TraceContext { trace_id, span_id, flags, state: String::new() };
            prop_assert_eq!(context.to_string().parse::<TraceContext>().unwrap(), context);
        }
    }
}
