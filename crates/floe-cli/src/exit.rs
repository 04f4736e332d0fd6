//! How a run ends: the exit codes, the failure that carries one, and how it is told.
//!
//! The codes are a contract with scripts, described in `docs/cli.md`.

use std::{error::Error as _, fmt, io, io::Write as _};

use floe::Error;
use serde_json::{Map, Value, json};

use crate::{
    exit_code::{self, CORRUPTION, FAILURE, INTERRUPTED, LOSS, NOT_FOUND, PARTIAL, SUCCESS, UNAVAILABLE, USAGE},
    format::OutputFormat,
    hint,
};

/// What the commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command did not do all that it was asked for.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    exit_code: u8,
    /// Says to programs what kind of failure it is.
    code: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    topic: Option<String>,
    partition: Option<u32>,
    /// Nothing is printed: whoever would read it has gone, or has been told.
    quiet: bool,
}

impl Failure {
    fn new(exit_code: u8, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            exit_code,
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            topic: None,
            partition: None,
            quiet: false,
        }))
    }

    /// The command line asks for something impossible.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message)
    }

    /// A check found records that are not there.
    pub(crate) fn loss(message: impl Into<String>) -> Self {
        Self::new(LOSS, "loss", message)
    }

    /// A check found records that are not as they were written.
    pub(crate) fn verification(message: impl Into<String>) -> Self {
        Self::new(CORRUPTION, "verification_failed", message)
    }

    /// The engine says that it cannot work.
    pub(crate) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(FAILURE, "not_ready", message)
    }

    /// Part of the work was done before `error`.
    pub(crate) fn partial(message: impl Into<String>, error: &Error) -> Self {
        let mut failure = Self::from(error.clone());
        failure.0.causes.insert(0, failure.0.message);
        failure.0.message = message.into();
        failure.0.exit_code = PARTIAL;
        failure
    }

    /// The command has said what it found; the exit code says it again.
    pub(crate) fn told(exit_code: u8) -> Self {
        let mut failure = Self::new(exit_code, "told", "told");
        failure.0.quiet = true;
        failure
    }

    /// Ctrl-C; the command has said how far it came.
    pub(crate) fn interrupted() -> Self {
        let mut failure = Self::new(INTERRUPTED, "interrupted", "interrupted");
        failure.0.quiet = true;
        failure
    }

    /// Something other than the engine could not be read or written.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let exit_code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { FAILURE };
        let mut failure = Self::new(exit_code, "io_error", what.to_string());
        failure.0.causes.push(error.to_string());
        failure.0.hint = hint::for_io(error).map(str::to_owned);
        failure
    }

    /// Standard output could not be written. A reader that has seen enough, such as `head`, is no failure.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure = Self::io("cannot write to standard output", error);
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.0.exit_code = SUCCESS;
            failure.0.quiet = true;
        }
        failure
    }

    /// Replaces what the engine said by what it means here; its words become the first cause.
    pub(crate) fn explained(mut self, message: impl Into<String>) -> Self {
        let before = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, before);
        self
    }

    /// Says what to do next.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Whether standard output is gone, so that nothing more needs to be written.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.quiet && self.0.exit_code == SUCCESS
    }

    /// Whether nobody answered.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.0.exit_code == UNAVAILABLE
    }

    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.exit_code
    }

    /// Says to programs what kind of failure it is.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Tells standard error: lines for people, or one JSON object for programs.
    pub(crate) fn report(&self, format: OutputFormat) {
        if self.0.quiet {
            return;
        }
        let mut text = String::new();
        if format.is_json() {
            text = self.to_json().to_string();
            text.push('\n');
        } else {
            self.write_lines(&mut text);
        }
        // When standard error is gone there is nobody left to tell.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn write_lines(&self, out: &mut String) {
        let inner = &self.0;
        out.push_str(&format!("error: {}\n", one_line(&inner.message)));
        for cause in &inner.causes {
            out.push_str(&format!("caused by: {}\n", one_line(cause)));
        }
        if let Some(hint) = &inner.hint {
            out.push_str(&format!("hint: {hint}\n"));
        }
    }

    fn to_json(&self) -> Value {
        let inner = &self.0;
        let mut error = Map::new();
        error.insert("code".into(), inner.code.into());
        error.insert("message".into(), inner.message.as_str().into());
        error.insert("topic".into(), inner.topic.as_deref().into());
        error.insert("partition".into(), inner.partition.into());
        error.insert("causes".into(), inner.causes.as_slice().into());
        error.insert("hint".into(), inner.hint.as_deref().into());
        error.insert("exit_code".into(), inner.exit_code.into());
        json!({ "error": error })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(exit_code::of(error.kind()), error.kind().as_str(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.0.causes.push(cause.to_string());
            source = cause.source();
        }
        failure.0.hint = hint::for_error(&error);
        failure.0.topic = error.topic().map(ToString::to_string);
        failure.0.partition = error.partition();
        failure
    }
}

/// Tells standard error about something that changes no exit code: a `warning`, or something to know.
pub(crate) fn tell(format: OutputFormat, what: &str, message: &str) {
    let text = if format.is_json() {
        format!("{}\n", json!({ what: message }))
    } else {
        format!("{what}: {}\n", one_line(message))
    };
    // When standard error is gone there is nobody left to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// An error is one line, so that scripts can take it apart line by line.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use floe::{ErrorKind, Topic};

    use super::*;

    fn lines(failure: &Failure) -> String {
        let mut out = String::new();
        failure.write_lines(&mut out);
        out
    }

    #[test]
    fn an_engine_error_keeps_its_code_its_causes_and_its_place() {
        let error = Error::new(ErrorKind::TopicNotFound, "no such topic")
            .with_topic(&Topic::from("orders"))
            .with_partition(2)
            .with_source(io::Error::other("two\nlines"));
        let failure = Failure::from(error);
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(
            lines(&failure),
            "error: orders/2: no such topic (topic_not_found)\ncaused by: two; lines\n\
             hint: create it with `floe topic create orders`, or see `floe topic list`\n"
        );
        let json = failure.to_json();
        assert_eq!(json["error"]["code"], "topic_not_found");
        assert_eq!(json["error"]["topic"], "orders");
        assert_eq!(json["error"]["partition"], 2);
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let gone = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert!(gone.is_broken_pipe());
        assert_eq!(gone.exit_code(), 0);
        let full = Failure::output(&io::ErrorKind::StorageFull.into());
        assert!(!full.is_broken_pipe());
        assert_eq!(full.exit_code(), FAILURE);
    }

    #[test]
    fn a_partial_success_has_its_own_code_and_names_the_cause() {
        let error = Error::new(ErrorKind::RecordTooLarge, "17 bytes, at most 16");
        let failure = Failure::partial("3 of 4 records were sent", &error);
        assert_eq!(failure.exit_code(), PARTIAL);
        assert!(
            lines(&failure).starts_with("error: 3 of 4 records were sent\ncaused by: 17 bytes, at most 16"),
            "{}",
            lines(&failure)
        );
    }
}
