//! Check of a damaged store against what it held.

use std::collections::BTreeSet;

use floe_log::{LogError, RecoveryReport, Store, disk::MemoryDisk};

use crate::{
    fixture::{Contents, Fixture, config},
    mutation::Mutation,
    support::{batch, body},
};

/// Allowed outcome of opening and reading a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Right,
    Told,
    Refused,
}

/// Opens and reads the store; the error describes a wrong or silently missing record.
pub fn check(disk: &MemoryDisk, fixture: &Fixture, mutation: &Mutation) -> Result<Outcome, String> {
    let store = match Store::open(config(disk)) {
        Ok(store) => store,
        Err(error) => return refused(&error),
    };
    let report = match store.examine() {
        Ok(report) => report,
        Err(error) => return refused(&error),
    };
    let mut outcome = if report.has_damage() { Outcome::Told } else { Outcome::Right };
    for ((topic, number), contents) in &fixture.contents {
        let found = check_partition(&store, &report, (topic, *number), contents, mutation)
            .map_err(|problem| format!("{topic}-{number}: {problem}"))?;
        outcome = outcome.max(found);
    }
    if !mutation.replaces_catalog() {
        for (topic, number, offset) in &fixture.committed {
            let found = store.committed("group", topic, *number).map(|committed| committed.offset);
            if found != Some(*offset) && report.rewound.is_empty() && report.catalog.is_empty() {
                return Err(format!("committed {found:?} instead of {offset}"));
            }
        }
    }
    Ok(outcome)
}

fn refused(error: &LogError) -> Result<Outcome, String> {
    let is_told = matches!(
        error,
        LogError::Corrupt { .. }
            | LogError::CatalogDamaged { .. }
            | LogError::CatalogMissing { .. }
            | LogError::Format { .. }
    );
    if is_told { Ok(Outcome::Refused) } else { Err(format!("refused for another reason: {error:?}")) }
}

/// Returns whether the report names the partition.
fn is_told(report: &RecoveryReport, (topic, number): (&str, u32)) -> bool {
    let of_error = |error: &LogError| matches!(error, LogError::Corrupt { topic: t, partition: p, .. } if (t.as_str(), *p) == (topic, number));
    report.cuts.iter().any(|cut| (cut.topic.as_str(), cut.partition) == (topic, number))
        || report.gaps.iter().any(|gap| (gap.topic.as_str(), gap.partition) == (topic, number))
        || report.damaged.iter().any(of_error)
        || report.corrupt.iter().any(of_error)
}

fn check_partition(
    store: &Store,
    report: &RecoveryReport,
    at: (&str, u32),
    contents: &Contents,
    mutation: &Mutation,
) -> Result<Outcome, String> {
    let partition = match store.partition(at.0, at.1) {
        Ok(partition) => partition,
        Err(LogError::TopicNotFound { .. }) if !report.set_aside.is_empty() || !report.catalog.is_empty() => {
            return Ok(Outcome::Told);
        }
        Err(LogError::Corrupt { .. }) if is_told(report, at) => return Ok(Outcome::Refused),
        Err(error) => return Err(format!("not opened: {error}")),
    };
    let start = partition.bounds().start;
    let mut reader = partition.reader(start).map_err(|error| error.to_string())?;
    let (mut seen, mut told) = (BTreeSet::new(), is_told(report, at));
    // Every chunk moves the reader, so this ends.
    loop {
        let before = reader.position();
        let chunk = reader.next_chunk(4_000).map_err(|error| format!("read failed: {error}"))?;
        told |= !chunk.gaps.is_empty();
        for found in &chunk.batches {
            if found.verify_checksum().is_err() {
                told = true;
                continue;
            }
            let expected = contents.batches.iter().find(|stored| stored.base == found.base_offset());
            if expected.is_none_or(|stored| stored.body != body(found)) {
                return Err(format!("a wrong record at offset {}", found.base_offset()));
            }
            seen.insert(found.base_offset());
        }
        if chunk.batches.is_empty() && reader.position() == before {
            break;
        }
    }
    let missing: Vec<_> = contents
        .batches
        .iter()
        .filter(|stored| stored.base + stored.count > contents.start && !seen.contains(&stored.base))
        .collect();
    let told = told || is_told(&store.findings(), at);
    // Behind the last sync of a log that does not wait for syncs, the end may be missing.
    let is_unsynced_end = missing.iter().all(|stored| stored.base >= contents.safe_end)
        && missing.len()
            == contents.batches.iter().rev().take_while(|stored| !seen.contains(&stored.base)).count();
    if let Some(first) = missing.first()
        && !told
        && !is_unsynced_end
    {
        return Err(format!("{} batches from offset {} are missing silently", missing.len(), first.base));
    }
    let appended = crate::support::append(&partition, batch(1, 1, b"more"))
        .map_err(|error| format!("append failed: {error}"))?;
    let is_known = !(told && mutation.leaves_no_witness_of_the_end());
    if appended.base_offset < contents.safe_end && is_known {
        return Err(format!("offset {} is assigned again", appended.base_offset));
    }
    Ok(if told { Outcome::Told } else { Outcome::Right })
}
