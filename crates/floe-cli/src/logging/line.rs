//! One log message as one line.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};

use crate::{escape, output::amount};

/// Message and fields of an event, in their order.
#[derive(Debug, Default)]
pub(super) struct Message {
    text: String,
    fields: Vec<(&'static str, Value)>,
}

impl Message {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut message = Self::default();
        event.record(&mut message);
        message
    }

    /// Adds a field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Writes `label: text name=value …`. The time is for programs that run long, the origin for programmers.
    pub(super) fn to_text(&self, metadata: &Metadata<'_>, time_ms: Option<i64>) -> String {
        let mut line = String::new();
        if let Some(time) = time_ms {
            line.push_str(&amount::time(Some(time)));
            line.push(' ');
        }
        line.push_str(label(*metadata.level()));
        line.push_str(": ");
        if *metadata.level() > Level::INFO {
            line.push_str(metadata.target());
            line.push_str(": ");
        }
        line.push_str(&escape::on_one_line(&self.text));
        for (name, value) in &self.fields {
            let value = match value {
                Value::String(text) if is_plain(text) => text.clone(),
                Value::String(text) => format!("\"{}\"", escape::on_one_line(&text.replace('"', "'"))),
                other => other.to_string(),
            };
            line.push_str(&format!(" {name}={value}"));
        }
        line.push('\n');
        line
    }

    /// Writes a JSON object with `time`, `level`, `target`, `message` and the fields.
    pub(super) fn to_json(&self, metadata: &Metadata<'_>, time_ms: i64) -> String {
        let mut object = Map::new();
        object.insert("time".into(), amount::time(Some(time_ms)).into());
        object.insert("level".into(), label(*metadata.level()).into());
        object.insert("target".into(), metadata.target().into());
        object.insert("message".into(), self.text.as_str().into());
        object.insert(
            "fields".into(),
            self.fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect::<Map<_, _>>()
                .into(),
        );
        format!("{}\n", escape::json(&Value::Object(object).to_string()))
    }
}

fn label(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Whether a value needs no quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\'))
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.text = text;
        } else {
            self.fields.push((field.name(), text.into()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.text);
        } else {
            self.fields.push((field.name(), value.into()));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.fields.push((field.name(), text.into()));
    }
}
