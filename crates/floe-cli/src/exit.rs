//! How a command ends: the failure with its exit code, and how it is reported.

use std::{error::Error as _, fmt, io, io::Write as _};

use floe::Error;
use serde_json::{Map, Value, json};

use crate::{
    command_code::{self, CommandCode},
    escape,
    exit_code::{self, NOT_FOUND, PARTIAL, SUCCESS, UNAVAILABLE},
    format::OutputFormat,
    hint,
};

/// Result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Reason why a command failed, with its exit code.
#[derive(Debug)]
pub(crate) struct Failure(Box<FailureDetails>);

#[derive(Debug)]
struct FailureDetails {
    exit_code: u8,
    /// Machine-readable kind of the failure.
    code: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    topic: Option<String>,
    partition: Option<u32>,
    /// Suppresses the report: the reader is gone, or the command has printed the outcome.
    quiet: bool,
}

impl Failure {
    fn new(exit_code: u8, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(FailureDetails {
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

    /// A failure that the command line found itself.
    fn of(code: &CommandCode, message: impl Into<String>) -> Self {
        Self::new(code.exit_code, code.code, message)
    }

    /// Rejects an invalid command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::of(&command_code::USAGE, message)
    }

    /// Reports records that a check did not find.
    pub(crate) fn loss(message: impl Into<String>) -> Self {
        Self::of(&command_code::LOSS, message)
    }

    /// Reports a consumer group without the stored offsets that a command is about.
    pub(crate) fn no_offsets(message: impl Into<String>) -> Self {
        Self::of(&command_code::NO_OFFSETS, message)
    }

    /// Reports records that differ from the records written.
    pub(crate) fn verification(message: impl Into<String>) -> Self {
        Self::of(&command_code::VERIFICATION_FAILED, message)
    }

    /// Reports a store that a check found damaged.
    pub(crate) fn anomalies(message: impl Into<String>) -> Self {
        Self::of(&command_code::ANOMALIES, message)
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(exit_code::CORRUPTION, "corrupt_data", message)
    }

    /// Reports a program of the user that failed.
    pub(crate) fn failed_program(message: impl Into<String>) -> Self {
        Self::of(&command_code::IO_ERROR, message)
    }

    /// Reports topics that do not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(NOT_FOUND, "topic_not_found", message)
    }

    /// Reports an engine that is not ready.
    pub(crate) fn not_ready(message: impl Into<String>) -> Self {
        Self::of(&command_code::NOT_READY, message)
    }

    /// Reports work that `error` cut short.
    pub(crate) fn partial(message: impl Into<String>, error: &Error) -> Self {
        let mut failure = Self::from(error.clone());
        failure.0.causes.insert(0, failure.0.message);
        failure.0.message = message.into();
        failure.0.exit_code = PARTIAL;
        failure
    }

    /// Ends with an exit code and no message: the command has printed its findings.
    pub(crate) fn silent(exit_code: u8) -> Self {
        let mut failure = Self::new(exit_code, "reported", "reported");
        failure.0.quiet = true;
        failure
    }

    /// Ends after Ctrl-C; the command has printed its progress.
    pub(crate) fn interrupted() -> Self {
        let mut failure = Self::of(&command_code::INTERRUPTED, "interrupted");
        failure.0.quiet = true;
        failure
    }

    /// Reports an I/O error outside the engine.
    pub(crate) fn io(message: impl fmt::Display, error: &io::Error) -> Self {
        let mut failure = Self::of(&command_code::IO_ERROR, message.to_string());
        if error.kind() == io::ErrorKind::NotFound {
            failure.0.exit_code = NOT_FOUND;
        }
        failure.0.causes.push(error.to_string());
        failure.0.hint = hint::for_file(error).map(str::to_owned);
        failure
    }

    /// Reports a write error on standard output. A closed pipe, as after `head`, counts as success.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure = Self::io("cannot write to standard output", error);
        failure.0.hint = hint::for_output(error).map(str::to_owned);
        if error.kind() == io::ErrorKind::BrokenPipe {
            failure.0.exit_code = SUCCESS;
            failure.0.quiet = true;
        }
        failure
    }

    /// Replaces the message by one in terms of the command; the engine's message becomes the first cause.
    pub(crate) fn explained(mut self, message: impl Into<String>) -> Self {
        let before = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, before);
        self
    }

    /// Adds the error of the operating system behind the failure.
    pub(crate) fn explained_by(mut self, error: &io::Error) -> Self {
        self.0.causes.push(error.to_string());
        self
    }

    /// Adds advice on what to do next.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds advice unless the cause has some of its own.
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Whether the reader of standard output closed the pipe.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.quiet && self.0.exit_code == SUCCESS
    }

    /// Whether the server is unreachable or timed out.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.0.exit_code == UNAVAILABLE
    }

    /// Whether a file does not exist.
    pub(crate) fn is_missing_file(&self) -> bool {
        self.0.exit_code == NOT_FOUND && self.0.code == command_code::IO_ERROR.code
    }

    /// Exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.exit_code
    }

    /// Machine-readable kind of the failure.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// Writes the failure to standard error: lines of text, or one JSON object.
    pub(crate) fn report(&self, format: OutputFormat) {
        if self.0.quiet {
            return;
        }
        let mut text = String::new();
        if format.is_json() {
            text = json_line(&self.to_json());
        } else {
            self.write_lines(&mut text);
        }
        // A closed standard error leaves no channel for the report.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn write_lines(&self, out: &mut String) {
        let details = &self.0;
        out.push_str(&format!("error: {}\n", one_line(&details.message)));
        for cause in &details.causes {
            out.push_str(&format!("caused by: {}\n", one_line(cause)));
        }
        if let Some(hint) = &details.hint {
            out.push_str(&format!("hint: {}\n", one_line(hint)));
        }
    }

    fn to_json(&self) -> Value {
        let details = &self.0;
        let mut error = Map::new();
        error.insert("code".into(), details.code.into());
        error.insert("message".into(), details.message.as_str().into());
        error.insert("topic".into(), details.topic.as_deref().into());
        error.insert("partition".into(), details.partition.into());
        error.insert("causes".into(), details.causes.as_slice().into());
        error.insert("hint".into(), details.hint.as_deref().into());
        error.insert("exit_code".into(), details.exit_code.into());
        json!({ "error": error })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(exit_code::of(error.kind()), error.kind().as_str(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some messages hold their cause already.
            let last = failure.0.causes.last().unwrap_or(&failure.0.message);
            if !last.contains(&text) {
                failure.0.causes.push(text);
            }
            source = cause.source();
        }
        failure.0.hint = hint::for_error(&error);
        failure.0.topic = error.topic().map(ToString::to_string);
        failure.0.partition = error.partition();
        failure
    }
}

/// Writes a message that changes no exit code to standard error, under a label such as `warning`.
pub(crate) fn notify(format: OutputFormat, label: &str, message: &str) {
    let text = if format.is_json() {
        json_line(&json!({ label: message }))
    } else {
        format!("{label}: {}\n", one_line(message))
    };
    // A closed standard error leaves no channel for the message.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Joins the lines of a message, so that scripts can parse errors line by line, and escapes what acts on a terminal.
fn one_line(text: &str) -> String {
    escape::line(&text.trim_end().replace('\n', "; ")).into_owned()
}

/// A JSON document as one line for standard error, which mostly is a terminal or a log.
fn json_line(document: &Value) -> String {
    let mut text = escape::json(&document.to_string()).into_owned();
    text.push('\n');
    text
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
    fn engine_error_keeps_its_code_causes_and_topic() {
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
    fn broken_pipe_is_success() {
        let gone = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert!(gone.is_broken_pipe());
        assert_eq!(gone.exit_code(), 0);
        let full = Failure::output(&io::ErrorKind::StorageFull.into());
        assert!(!full.is_broken_pipe());
        assert_eq!(full.exit_code(), exit_code::FAILURE);
    }

    #[test]
    fn partial_success_has_its_own_code_and_names_the_cause() {
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
