//! Progress, totals and the verdict of a copy.

use std::{sync::Arc, time::Duration};

use floe::url::shown;
use indicatif::ProgressBar;
use serde_json::json;

use super::{lane::LaneReport, plan::CopyPlan, position::LanePosition, verify::verify};
use crate::{
    commands::gaps::GapTally,
    exit::{Failure, Outcome},
    format::OutputFormat,
    output::{amount, progress, stdout::note},
};

/// The two ends of a copy as the command line names them.
#[derive(Debug)]
pub(super) struct CopyNames<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// Counts of all topics of a copy.
#[derive(Debug, Default)]
pub(super) struct CopyTotals {
    records: u64,
    bytes: u64,
    gaps: GapTally,
    topics: u64,
    verified: Option<u64>,
    pub(super) interrupted: bool,
    failure: Option<Failure>,
    lanes: Vec<Vec<LaneReport>>,
}

impl CopyTotals {
    pub(super) fn add(&mut self, plan: &CopyPlan, lanes: Vec<LaneReport>) {
        self.topics += 1;
        let mut lanes = lanes;
        for lane in &mut lanes {
            self.records += lane.records;
            self.bytes += lane.bytes;
            self.gaps.add(&lane.gaps);
            let place =
                format!("{}/{} was copied up to offset {}", plan.source.name, lane.partition, lane.reached);
            let failure = lane.failure.take().map(|failure| failure.explained(place));
            self.failure = self.failure.take().or(failure);
        }
        self.lanes.push(lanes);
    }

    /// Whether both sides can be compared.
    pub(super) fn is_complete(&self) -> bool {
        !self.interrupted && self.failure.is_none()
    }

    pub(super) async fn verify(&mut self, plans: &[(Arc<CopyPlan>, Vec<LanePosition>)]) -> Outcome {
        let mut records = 0;
        for ((plan, _), lanes) in plans.iter().zip(&self.lanes) {
            match verify(plan, lanes).await {
                Ok(compared) => records += compared,
                Err(failure) => {
                    self.failure = Some(failure);
                    return Ok(());
                }
            }
        }
        self.verified = Some(records);
        Ok(())
    }

    /// Ends with the first failure, then with missing records, then with Ctrl-C.
    pub(super) fn verdict(self) -> Outcome {
        if let Some(failure) = self.failure {
            return Err(failure.or_hint("run the command again: it goes on where it stopped"));
        }
        self.gaps.verdict(" of the source")?;
        if self.interrupted { Err(Failure::interrupted()) } else { Ok(()) }
    }
}

/// Returns the progress bar of a topic whose end is known.
pub(super) fn progress_bar(total: Option<u64>) -> ProgressBar {
    progress::bar(total, "{human_pos}/{human_len} records {per_sec}")
}

/// Prints a summary of the acknowledged records to standard error.
pub(super) fn summarise(output: OutputFormat, names: &CopyNames<'_>, totals: &CopyTotals, time: Duration) {
    let (from, to) = (without_options(names.from), without_options(names.to));
    if output.is_json() {
        let summary = json!({
            "from": from,
            "to": to,
            "topics": totals.topics,
            "records": totals.records,
            "bytes": totals.bytes,
            "seconds": time.as_secs_f64(),
            "records_per_second": amount::per_second(totals.records, time),
            "bytes_per_second": amount::per_second(totals.bytes, time),
            "missing": totals.gaps.missing(),
            "verified_records": totals.verified,
            "interrupted": totals.interrupted,
        });
        return note(&summary.to_string());
    }
    let topics = if totals.topics == 1 {
        String::new()
    } else {
        format!(" of {}", amount::count(totals.topics, "topic"))
    };
    note(&format!(
        "{}copied {}{topics} ({}) from {from} to {to} in {:.2} s: {} records/s, {}/s",
        if totals.interrupted { "interrupted: " } else { "" },
        amount::count(totals.records, "record"),
        amount::bytes(totals.bytes),
        time.as_secs_f64(),
        amount::thousands(amount::rate(totals.records, time)),
        amount::bytes(amount::rate(totals.bytes, time)),
    ));
    if let Some(records) = totals.verified {
        note(&format!("verified {}: both sides are the same", amount::count(records, "record")));
    }
}

/// Options of a URL may hold secrets.
fn without_options(end: &str) -> String {
    match end.rsplit_once('#') {
        Some((url, topic)) => format!("{}#{topic}", shown(url)),
        None => shown(end),
    }
}
