//! The log of the library on standard error.
//!
//! A small subscriber of its own: it has no spans, writes one line for each message, escapes whatever comes from elsewhere,
//! and limits how often one place in the code may write.

mod filter;
mod line;

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use tracing::{
    Event, Level, Metadata, Subscriber, callsite,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

use self::{filter::Filter, line::Message};
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
};

/// Messages that one place in the code may write in a [`WINDOW`]. Debugging is not limited.
const BURST: u32 = 30;

/// Time after which a place may write as much once more.
const WINDOW: Duration = Duration::from_secs(10);

/// Variable with a filter.
const VARIABLE: &str = "FLOE_LOG";

/// Options of the log.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// Log more on standard error: -v what happens, -vv how. Warnings are always logged. FLOE_LOG selects by origin, as in
    /// FLOE_LOG=warn,floe_fluvio=debug
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Format of the log [default: text, or json where --output is json or jsonl]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines of text
    Text,
    /// One JSON object a line
    Json,
}

impl LogArgs {
    /// Turns the log on for the whole process. A long-running command also logs what an operator needs, with the time.
    pub(crate) fn install(&self, output: OutputFormat, runs_long: bool) -> Outcome {
        let default = if output.is_json() { LogFormat::Json } else { LogFormat::Text };
        let log = StderrLog {
            filter: self.filter(std::env::var(VARIABLE).ok().as_deref(), runs_long)?,
            format: self.log_format.unwrap_or(default),
            has_time: runs_long,
            written: Mutex::default(),
        };
        // Another subscriber exists in tests only, which share the process.
        let _ = tracing::subscriber::set_global_default(log);
        Ok(())
    }

    /// Flags come before the variable.
    fn filter(&self, variable: Option<&str>, runs_long: bool) -> Outcome<Filter> {
        match (self.verbose, variable.map(str::trim).filter(|text| !text.is_empty())) {
            (0, None) if runs_long => Ok(Filter::all(LevelFilter::INFO)),
            (0, None) => Ok(Filter::of_command()),
            (0, Some(text)) => {
                Filter::parse(text).map_err(|problem| Failure::usage(format!("{VARIABLE}: {problem}")))
            }
            (1, _) => Ok(Filter::all(LevelFilter::INFO)),
            (2, _) => Ok(Filter::all(LevelFilter::DEBUG)),
            (_, _) => Ok(Filter::all(LevelFilter::TRACE)),
        }
    }
}

/// The subscriber.
struct StderrLog {
    filter: Filter,
    format: LogFormat,
    /// Whether lines of text begin with the time.
    has_time: bool,
    written: Mutex<HashMap<callsite::Identifier, CallsiteWindow>>,
}

/// Messages of one place in the code.
#[derive(Debug)]
struct CallsiteWindow {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl CallsiteWindow {
    fn new(since: Instant) -> Self {
        Self { since, written: 0, left_out: 0 }
    }

    /// Returns how many messages were left out before this one; `None` if it is left out too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let left_out = self.left_out;
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        } else if self.written >= BURST {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        self.left_out = 0;
        Some(left_out)
    }
}

impl StderrLog {
    fn admit(&self, metadata: &'static Metadata<'static>) -> Option<u64> {
        if *metadata.level() > Level::INFO {
            return Some(0);
        }
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.entry(metadata.callsite()).or_insert_with(|| CallsiteWindow::new(now)).admit(now)
    }
}

impl Subscriber for StderrLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && self.filter.allows(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.filter.allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.most())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let Some(left_out) = self.admit(metadata) else { return };
        let mut message = Message::of(event);
        if left_out > 0 {
            message = message.with("left_out", left_out);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let line = match self.format {
            LogFormat::Text => message.to_text(metadata, self.has_time.then_some(time_ms)),
            LogFormat::Json => message.to_json(metadata, time_ms),
        };
        // A closed standard error leaves no channel for the log.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    // Spans are not shown.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(verbose: u8) -> LogArgs {
        LogArgs { verbose, log_format: None }
    }

    #[test]
    fn flags_come_before_the_variable() {
        assert_eq!(args(0).filter(None, false).unwrap(), Filter::of_command());
        assert_eq!(args(0).filter(Some(" "), false).unwrap(), Filter::of_command(), "empty is unset");
        assert_eq!(args(0).filter(None, true).unwrap(), Filter::all(LevelFilter::INFO));
        assert_eq!(args(0).filter(Some("off"), true).unwrap(), Filter::parse("off").unwrap());
        assert_eq!(args(2).filter(Some("off"), false).unwrap(), Filter::all(LevelFilter::DEBUG));
        assert_eq!(args(0).filter(Some("nonsense"), false).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn one_place_writes_so_much_and_then_counts() {
        let began = Instant::now();
        let mut window = CallsiteWindow::new(began);
        let admitted = (0..BURST + 7).filter_map(|_| window.admit(began)).count();
        assert_eq!(admitted, BURST as usize);
        assert_eq!(window.admit(began + WINDOW), Some(7));
        assert_eq!(window.admit(began + WINDOW), Some(0));
    }
}
