//! Rules for a log that comes back after a crash, checked against what it was at that moment.

use std::{collections::BTreeMap, time::Duration};

use floe_log::{Committed, RecoveryReport, Store};
use tokio::time::Instant;

use super::Loss;
use crate::{backing::Acknowledged, produce::name, rules};

/// Records of a log by partition: offsets and values.
pub(crate) type Contents = BTreeMap<u32, Vec<(i64, String)>>;

/// State of a log at the moment of a crash.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) loss: Loss,
    /// Whether the crash came between changes of the disk, and not within one.
    pub(crate) is_whole: bool,
    /// Whether the log was closed, with room for the mark that says so.
    pub(crate) is_closed: bool,
    pub(crate) contents: Contents,
    /// Ends before which everything was synced, by the log's own account.
    pub(crate) synced: BTreeMap<u32, i64>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) committed: Vec<Committed>,
    /// Whether a sync failed before.
    pub(crate) has_failed_syncs: bool,
    /// Time until which syncs could succeed.
    pub(crate) at: Instant,
}

/// State of a log after it was opened again.
#[derive(Debug)]
pub(crate) struct After<'a> {
    pub(crate) contents: &'a Contents,
    pub(crate) report: &'a RecoveryReport,
    pub(crate) committed: Vec<Committed>,
    /// Bytes of the segment files that opening took away.
    pub(crate) removed_bytes: u64,
}

/// Returns the records of all partitions of a topic.
pub(crate) fn contents(store: &Store, topic: &str) -> Result<Contents, String> {
    let wrong = |error: floe_log::LogError| format!("the log cannot be read: {error}");
    let partitions = store.topic(topic).map_or(0, |topic| topic.partitions);
    let mut contents = Contents::new();
    for number in 0..partitions {
        let partition = store.partition(topic, number).map_err(wrong)?;
        let mut reader = partition.reader(partition.bounds().start).map_err(wrong)?.verify(true);
        let mut records = Vec::new();
        loop {
            let chunk = reader.next_chunk(1 << 20).map_err(wrong)?;
            if let Some(gap) = chunk.gaps.first() {
                return Err(format!("the log has lost {gap:?}"));
            }
            if chunk.batches.is_empty() {
                break;
            }
            records.extend(rules::records(&chunk.batches)?.into_iter().flatten());
        }
        contents.insert(number, records);
    }
    Ok(contents)
}

/// Returns the violations. `within` is the time within which a record is synced, for logs that acknowledge it earlier.
pub(crate) fn violations(before: &Before, after: &After<'_>, within: Option<Duration>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (partition, had) in &before.contents {
        let has = after.contents.get(partition).map_or(&[][..], Vec::as_slice);
        if let Some(differs) = had.iter().zip(has).find(|(had, has)| had != has) {
            wrong.push(format!("partition {partition} came back with {}", show(differs)));
        }
        if has.len() > had.len() {
            wrong.push(format!("partition {partition} came back with more than it had"));
        }
        let end = has.last().map_or(0, |(offset, _)| offset + 1);
        let had_end = had.last().map_or(0, |(offset, _)| offset + 1);
        let synced = before.synced.get(partition).copied().unwrap_or(0);
        let must_have = match before.loss {
            Loss::Kill => had_end,
            Loss::Power => synced,
        };
        if end < must_have {
            wrong.push(format!(
                "partition {partition} ends at {end} after a crash, and must reach {must_have}"
            ));
        }
        let Some(within) = within else { continue };
        let acknowledged = before.acknowledged.get(partition).into_iter().flatten();
        for (offset, at) in acknowledged {
            if *offset >= end && *at + within < before.at {
                wrong.push(format!("{partition}/{offset} was to be synced after {within:?}, and is lost"));
            }
        }
    }
    wrong.extend(commits(before, after));
    wrong.extend(report(before, after));
    wrong
}

fn show((had, has): (&(i64, String), &(i64, String))) -> String {
    format!("{} {} in place of {} {}", has.0, name(&has.1), had.0, name(&had.1))
}

/// Commits are durable when they are acknowledged. Those beyond the end of a log move back to it.
fn commits(before: &Before, after: &After<'_>) -> Vec<String> {
    let end_of = |at: &Committed| {
        after.contents.get(&at.partition).and_then(|records| records.last()).map_or(0, |last| last.0 + 1)
    };
    let mut wrong = Vec::new();
    for had in &before.committed {
        let same = |has: &&Committed| (&has.group, has.partition) == (&had.group, had.partition);
        let has = after.committed.iter().find(same).map(|has| has.offset);
        if has.is_none_or(|has| has < had.offset.min(end_of(had))) {
            wrong.push(format!("the commit {had:?} came back as {has:?}"));
        }
    }
    let beyond = after.committed.iter().find(|has| has.offset > end_of(has));
    wrong.extend(beyond.map(|has| format!("the commit {has:?} is beyond the end")));
    wrong
}

/// The report has everything that opening took away, and names no damage: a crash does none.
fn report(before: &Before, after: &After<'_>) -> Vec<String> {
    let RecoveryReport { cuts, damaged, gaps, corrupt, set_aside, catalog, .. } = after.report;
    let mut wrong = Vec::new();
    if after.removed_bytes > 0 && cuts.is_empty() {
        wrong.push(format!("{} bytes were cut and are not in the report", after.removed_bytes));
    }
    if before.is_closed && !after.report.was_clean {
        wrong.push("the log was closed, and was opened as after a crash".to_owned());
    }
    if before.loss == Loss::Kill && before.is_whole && !cuts.is_empty() {
        wrong.push(format!("a kill between writes left a torn end: {cuts:?}"));
    }
    if !damaged.is_empty() || !gaps.is_empty() || !corrupt.is_empty() || !set_aside.is_empty() {
        wrong.push(format!("a crash left damage: {:?}", after.report));
    }
    // In the middle of a change the catalog goes back to the change before, which was the last one that was acknowledged.
    if before.loss == Loss::Kill && before.is_whole && !before.has_failed_syncs && !catalog.is_empty() {
        wrong.push(format!("a kill left a damaged catalog: {catalog:?}"));
    }
    wrong
}
