//! Events of a history, one JSON line each.

use std::{borrow::Cow, fmt, io};

use crate::json::{self, Value};

/// The first line of a history.
pub const HEADER: &str = "{\"history\":1}";

/// Part of a call that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The call begins.
    Invoke,
    /// It succeeded.
    Ok,
    /// It failed and has no effect.
    Fail,
    /// It may have taken effect.
    Unknown,
}

/// Call that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// A record is sent.
    Send,
    /// A reader begins to read a partition, at an offset where it is known.
    Assign,
    /// A reader got a record.
    Poll,
    /// The system told a reader that records are missing.
    Gap,
    /// The application passes over records by its own choice.
    Skip,
    /// The application has finished a record for a group.
    Handle,
    /// A group stores the offset of the next record to handle.
    Commit,
    /// An administrator sets the offset of a group.
    Reset,
}

const PHASES: [(Phase, &str); 4] =
    [(Phase::Invoke, "invoke"), (Phase::Ok, "ok"), (Phase::Fail, "fail"), (Phase::Unknown, "unknown")];

const CALLS: [(Call, &str); 8] = [
    (Call::Send, "send"),
    (Call::Assign, "assign"),
    (Call::Poll, "poll"),
    (Call::Gap, "gap"),
    (Call::Skip, "skip"),
    (Call::Handle, "handle"),
    (Call::Commit, "commit"),
    (Call::Reset, "reset"),
];

/// One event. `docs/formats/history.md` says which call has which fields.
///
/// ```
/// use floe_check::{Call, HistoryEvent, Phase};
///
/// let mut event = HistoryEvent::new(Phase::Ok, Call::Poll, "reader");
/// event.topic = Some("orders".into());
/// event.partition = Some(0);
/// event.offset = Some(7);
/// event.digest = Some(0x2a);
/// let line = event.to_line();
/// assert_eq!(
///     line,
///     r#"{"type":"ok","call":"poll","process":"reader","topic":"orders","partition":0,"offset":7,"digest":"2a"}"#
/// );
/// assert_eq!(HistoryEvent::parse(&line).unwrap(), event);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent<'a> {
    /// Part of the call.
    pub phase: Phase,
    /// The call.
    pub call: Call,
    /// The client that makes it: calls of one process begin one after the other.
    pub process: Cow<'a, str>,
    /// Number of the call in its process.
    pub id: Option<u64>,
    /// Consumer group.
    pub group: Option<Cow<'a, str>>,
    /// Topic.
    pub topic: Option<Cow<'a, str>>,
    /// Partition.
    pub partition: Option<u32>,
    /// Offset of the record, or of the next one.
    pub offset: Option<i64>,
    /// End of the range of a gap or of skipped records, exclusive; end of the partition that refused a conditional append.
    pub end: Option<i64>,
    /// The offset that a conditional append requires.
    pub expect: Option<i64>,
    /// Key of the record, or its digest.
    pub key: Option<Cow<'a, str>>,
    /// Digest of the value.
    pub digest: Option<u64>,
}

impl<'a> HistoryEvent<'a> {
    /// Creates an event without optional fields.
    #[must_use]
    pub fn new(phase: Phase, call: Call, process: impl Into<Cow<'a, str>>) -> Self {
        Self {
            phase,
            call,
            process: process.into(),
            id: None,
            group: None,
            topic: None,
            partition: None,
            offset: None,
            end: None,
            expect: None,
            key: None,
            digest: None,
        }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// The problem of the line.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        let (mut phase, mut call) = (None, None);
        let mut event = Self::new(Phase::Ok, Call::Send, "");
        json::fields(line, |name, value| {
            match (&*name, value) {
                ("type", Value::Text(text)) => phase = Some(named(&PHASES, &text, "type")?),
                ("call", Value::Text(text)) => call = Some(named(&CALLS, &text, "call")?),
                ("process", Value::Text(text)) => event.process = text,
                ("group", Value::Text(text)) => event.group = Some(text),
                ("topic", Value::Text(text)) => event.topic = Some(text),
                ("key", Value::Text(text)) => event.key = Some(text),
                ("digest", Value::Text(text)) => {
                    let digest = u64::from_str_radix(&text, 16);
                    event.digest = Some(digest.map_err(|_| format!("digest {text:?} is not hexadecimal"))?);
                }
                ("id", Value::Number(number)) => event.id = Some(unsigned("id", number)?),
                ("partition", Value::Number(number)) => {
                    event.partition = Some(unsigned("partition", number)?)
                }
                ("offset", Value::Number(number)) => event.offset = Some(offset("offset", number)?),
                ("end", Value::Number(number)) => event.end = Some(offset("end", number)?),
                ("expect", Value::Number(number)) => event.expect = Some(offset("expect", number)?),
                (
                    "type" | "call" | "process" | "group" | "topic" | "key" | "digest" | "id" | "partition"
                    | "offset" | "end" | "expect",
                    _,
                ) => return Err(format!("field {name} has a value of another kind")),
                // Fields of later versions, and notes of the recorder.
                _ => {}
            }
            Ok(())
        })?;
        event.phase = phase.ok_or("field type is missing")?;
        event.call = call.ok_or("field call is missing")?;
        Ok(event)
    }

    /// Returns the line of the event, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = String::with_capacity(160);
        let text = |line: &mut String, name: &str, value: &str| {
            line.push_str(if line.is_empty() { "{\"" } else { ",\"" });
            line.push_str(name);
            line.push_str("\":");
            json::quote(line, value);
        };
        let name_of = |found: Option<&'static str>| found.unwrap_or_default();
        text(&mut line, "type", name_of(PHASES.iter().find(|it| it.0 == self.phase).map(|it| it.1)));
        text(&mut line, "call", name_of(CALLS.iter().find(|it| it.0 == self.call).map(|it| it.1)));
        text(&mut line, "process", &self.process);
        let number = |line: &mut String, name: &str, value: Option<i128>| {
            if let Some(value) = value {
                line.push_str(&format!(",\"{name}\":{value}"));
            }
        };
        number(&mut line, "id", self.id.map(i128::from));
        for (name, value) in [("group", &self.group), ("topic", &self.topic)] {
            if let Some(value) = value {
                text(&mut line, name, value);
            }
        }
        number(&mut line, "partition", self.partition.map(i128::from));
        number(&mut line, "offset", self.offset.map(i128::from));
        number(&mut line, "end", self.end.map(i128::from));
        number(&mut line, "expect", self.expect.map(i128::from));
        if let Some(key) = &self.key {
            text(&mut line, "key", key);
        }
        if let Some(digest) = self.digest {
            text(&mut line, "digest", &format!("{digest:x}"));
        }
        line.push('}');
        line
    }
}

fn named<T: Copy>(all: &[(T, &str)], text: &str, field: &str) -> Result<T, String> {
    let found = all.iter().find(|(_, name)| *name == text);
    found.map(|(value, _)| *value).ok_or_else(|| format!("{field} {text:?} is unknown"))
}

fn unsigned<T: TryFrom<i64>>(field: &str, number: i64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{field} {number} is out of range"))
}

/// Offsets leave room for the arithmetic of the checker.
fn offset(field: &str, number: i64) -> Result<i64, String> {
    if (0..1 << 60).contains(&number) { Ok(number) } else { Err(format!("{field} {number} is out of range")) }
}

/// A history that cannot be checked.
#[derive(Debug)]
pub enum HistoryError {
    /// A line is not an event, or does not fit the lines before it.
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// The problem.
        problem: String,
    },
    /// The history, or a temporary file, cannot be read or written.
    Io(io::Error),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, problem } => write!(f, "line {line}: {problem}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HistoryError {}

impl From<io::Error> for HistoryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_back() {
        for (phase, _) in PHASES {
            for (call, _) in CALLS {
                let event = HistoryEvent {
                    id: Some(1),
                    group: Some("g\"".into()),
                    topic: Some("t".into()),
                    partition: Some(2),
                    offset: Some(3),
                    end: Some(4),
                    expect: Some(5),
                    key: Some("k\n".into()),
                    digest: Some(u64::MAX),
                    ..HistoryEvent::new(phase, call, "p")
                };
                assert_eq!(HistoryEvent::parse(&event.to_line()), Ok(event.clone()));
            }
        }
    }

    #[test]
    fn unknown_fields_are_passed_over_and_wrong_ones_refused() {
        let event = HistoryEvent::parse(r#"{"type":"ok","call":"poll","process":"c","time":1.5}"#);
        assert_eq!(event, Ok(HistoryEvent::new(Phase::Ok, Call::Poll, "c")));
        for (line, problem) in [
            (r#"{"call":"poll"}"#, "type is missing"),
            (r#"{"type":"ok"}"#, "call is missing"),
            (r#"{"type":"done"}"#, "unknown"),
            (r#"{"partition":-1}"#, "out of range"),
            (r#"{"offset":-1}"#, "out of range"),
            (r#"{"offset":9223372036854775807}"#, "out of range"),
            (r#"{"offset":"1"}"#, "another kind"),
            (r#"{"digest":"x"}"#, "not hexadecimal"),
        ] {
            let error = HistoryEvent::parse(line).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
