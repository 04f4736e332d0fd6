//! `floe check-history`: judges a recorded history.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::PathBuf,
};

use clap::Args;
use floe_check::{Anomaly, CheckOptions, Checker, HistoryError, HistoryVerdict};
use serde_json::{Value, json};

use crate::{
    escape,
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    output::{amount, print_document, table},
};

/// Bytes of the history that are read at once.
const READ_AHEAD: usize = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct CheckHistoryArgs {
    /// The history, JSON lines as docs/formats/history.md describes them; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The readers had read everything: an acknowledged record that none of them got is an anomaly
    #[arg(long)]
    drained: bool,
}

pub(crate) fn run(global: &Global, args: &CheckHistoryArgs) -> Outcome {
    let failed = |error: &io::Error| {
        Failure::io(format!("the history {} cannot be judged", args.file.display()), error)
    };
    let history: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).map_err(|error| failed(&error))?)
    };
    let verdict = judge(history, args.drained).map_err(|error| match error {
        HistoryError::Io(error) => failed(&error),
        line @ HistoryError::Line { .. } => {
            failed(&io::Error::new(io::ErrorKind::InvalidData, line.to_string()))
        }
    })?;
    print_document(global.output, &document(&verdict), &text(&verdict, global.output))?;
    if verdict.is_clean() {
        return Ok(());
    }
    let found = Anomaly::ALL.iter().map(|anomaly| (anomaly, verdict.count(*anomaly)));
    let found = found.filter(|(_, count)| *count > 0).map(|(anomaly, count)| format!("{count} {anomaly}"));
    Err(Failure::anomalies(format!("the history shows anomalies: {}", found.collect::<Vec<_>>().join(", "))))
}

fn judge(history: Box<dyn Read>, drained: bool) -> Result<HistoryVerdict, HistoryError> {
    let mut checker = Checker::new(CheckOptions { drained, ..CheckOptions::default() });
    checker.read(BufReader::with_capacity(READ_AHEAD, history))?;
    checker.finish()
}

fn document(verdict: &HistoryVerdict) -> Value {
    let counts = Anomaly::ALL.iter().map(|anomaly| (anomaly, verdict.count(*anomaly)));
    let counts =
        counts.filter(|(_, count)| *count > 0).map(|(anomaly, count)| (anomaly.to_string(), count.into()));
    let findings = verdict.findings().iter().map(|found| {
        json!({
            "anomaly": found.anomaly.as_str(), "topic": found.topic, "partition": found.partition,
            "offset": found.offset, "line": found.line, "detail": found.detail,
        })
    });
    json!({
        "clean": verdict.is_clean(),
        "anomalies": counts.collect::<serde_json::Map<_, _>>(),
        "findings": findings.collect::<Vec<_>>(),
        "events": verdict.events, "partitions": verdict.partitions,
        "sent": verdict.sent, "acknowledged": verdict.acknowledged, "failed": verdict.failed,
        "unknown": verdict.unknown, "stored": verdict.stored, "read": verdict.polled, "unseen": verdict.unseen,
        "reported_missing": verdict.reported_missing, "handled": verdict.handled, "commits": verdict.commits,
        "cut": verdict.cut,
    })
}

fn text(verdict: &HistoryVerdict, format: OutputFormat) -> String {
    let mut out = String::new();
    if format == OutputFormat::Table && !verdict.is_clean() {
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let rows: Vec<_> = verdict
            .findings()
            .iter()
            .map(|found| {
                vec![
                    found.anomaly.to_string(),
                    cell(&found.topic),
                    number(found.partition.map(i64::from)),
                    number(found.offset),
                    found.line.to_string(),
                    cell(&found.detail),
                ]
            })
            .collect();
        out.push_str(&table(&["anomaly", "topic", "partition", "offset", "line", "facts"], &rows));
    } else {
        out.extend(verdict.findings().iter().map(|found| cell(&found.to_string()) + "\n"));
    }
    let HistoryVerdict { sent, acknowledged, failed, unknown, polled, handled, commits, partitions, .. } =
        verdict;
    out.push_str(&format!(
        "{}: {}, {} sent ({acknowledged} acknowledged, {failed} failed, {unknown} unknown), {polled} read, {handled} \
         handled, {}\n",
        if verdict.is_clean() { "clean" } else { "not clean" },
        amount::count(*partitions, "partition"),
        amount::count(*sent, "record"),
        amount::count(*commits, "commit"),
    ));
    for (count, what) in [
        (verdict.unseen, "acknowledged beyond the end of reading"),
        (verdict.reported_missing, "reported as missing by the log"),
    ] {
        if count > 0 {
            out.push_str(&format!("{} {what}\n", amount::count(count, "record")));
        }
    }
    if verdict.cut {
        out.push_str("the last line is cut and was left out\n");
    }
    out
}

fn cell(text: &str) -> String {
    escape::on_one_line(text).into_owned()
}
