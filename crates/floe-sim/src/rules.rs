//! Invariants that must hold after a run, checked against the stored records, the reported outcomes and the records read.
//! floe's own counters are not consulted.

use std::collections::{BTreeMap, BTreeSet};

use floe_wire::batch::EncodedBatch;

use crate::{
    consume::Read,
    kind::Kind,
    processors::{self, Outputs},
    produce::{Outcome, Sent, name},
    share::Times,
    store::StoredLog,
};

/// Observations of a run.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    /// Records by producer, in the order of sending.
    pub(crate) sent: Vec<Vec<Sent>>,
    pub(crate) log: StoredLog,
    pub(crate) read: Read,
    /// Records handled by the group, if there is one.
    pub(crate) grouped: Option<Read>,
    /// Records handled by the members of a shared group, and whether a member crashed.
    pub(crate) shared: Option<(Times, bool)>,
    /// Records that an outbox accepted or may have accepted, and what it delivered.
    pub(crate) posted: Option<(Vec<Sent>, StoredLog)>,
    /// Records that processors have written, by output partition.
    pub(crate) outputs: Option<Outputs>,
    /// Whether there were faults of the network and the server.
    pub(crate) had_faults: bool,
    /// Committed offsets of the group.
    pub(crate) stored: BTreeMap<u32, Option<i64>>,
    /// Records that a log which acknowledges before the sync has lost with the power.
    pub(crate) lost: BTreeSet<String>,
    /// Maximum number of batches lost by consuming reads.
    pub(crate) losses: u64,
}

/// Decodes the records of batches.
pub(crate) fn records(batches: &[EncodedBatch]) -> Result<Vec<Vec<(i64, String)>>, String> {
    let wrong = |what: &str| format!("the log holds {what}");
    batches
        .iter()
        .map(|batch| {
            let records = batch.records().map_err(|error| wrong(&error.to_string()))?;
            records
                .map(|record| {
                    let record = record.map_err(|error| wrong(&error.to_string()))?;
                    let value = String::from_utf8(record.value.to_vec())
                        .map_err(|_| wrong("a value that was not sent"))?;
                    Ok((record.offset, value))
                })
                .collect()
        })
        .collect()
}

/// Returns all violations.
pub(crate) fn violations(facts: &Facts) -> Vec<String> {
    let mut wrong = Vec::new();
    // Without offsets the producer cannot look for a batch, so it may be stored twice; readers drop the duplicate.
    let may_repeat = facts.kind == Kind::Walrus;
    stored_as_told((&facts.log, &facts.lost), facts.sent.iter().flatten(), may_repeat, &mut wrong);
    stored_in_order(&facts.log, &mut wrong);
    if let Some((posted, log)) = &facts.posted {
        let mut of_outbox = Vec::new();
        stored_as_told((log, &BTreeSet::new()), posted.iter(), false, &mut of_outbox);
        stored_in_order(log, &mut of_outbox);
        wrong.extend(of_outbox.iter().map(|wrong| format!("the outbox: {wrong}")));
    }
    match facts.kind {
        Kind::Fluvio | Kind::Leaders | Kind::Groups | Kind::Disk | Kind::ExactlyOnce | Kind::Applications => {
            read_exactly(facts, "the reader", &facts.read, &mut wrong)
        }
        Kind::Walrus => read_at_most_once(facts, &mut wrong),
    }
    if let Some(grouped) = &facts.grouped {
        read_exactly(facts, "the group", grouped, &mut wrong);
        for (partition, batches) in &facts.log {
            let end = batches.iter().flatten().last().map(|(offset, _)| offset + 1);
            let stored = facts.stored.get(partition).copied().flatten();
            if end.is_some() && stored != end {
                wrong.push(format!(
                    "the group closed with {stored:?} committed for partition {partition}, which ends at {end:?}"
                ));
            }
        }
    }
    if let Some(outputs) = &facts.outputs {
        wrong.extend(match facts.kind {
            Kind::Applications => processors::at_least_once_violations(&facts.log, outputs, facts.had_faults),
            _ => processors::exactly_once_violations(&facts.log, outputs),
        });
    }
    if let Some((handled, crashed)) = &facts.shared {
        handled_by_all(facts, handled, facts.had_faults || *crashed, &mut wrong);
    }
    wrong
}

/// The members of a shared group handled each stored record, once where nothing went wrong, and stored no offset beyond.
fn handled_by_all(facts: &Facts, handled: &Times, may_repeat: bool, wrong: &mut Vec<String>) {
    let stored = facts.log.iter().flat_map(|(partition, batches)| {
        batches.iter().flatten().map(move |(offset, value)| ((*partition, *offset), value))
    });
    let stored: BTreeMap<_, _> = stored.collect();
    for (at, value) in &stored {
        match handled.get(at) {
            None => wrong.push(format!("the members never got {at:?}")),
            Some((got, _)) if got != *value => {
                wrong.push(format!("the members got another record at {at:?}"))
            }
            Some((_, times)) if *times > 1 && !may_repeat => {
                wrong.push(format!("the members got {at:?} {times} times, and nothing had failed"));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        handled
            .keys()
            .filter(|at| !stored.contains_key(at))
            .map(|at| format!("{at:?} was handled and not stored")),
    );
    for (partition, next) in &facts.stored {
        if let Some(next) = next
            && let Some(at) = (0..*next).find(|at| !handled.contains_key(&(*partition, *at)))
        {
            wrong.push(format!("the group stored {next} for partition {partition}, and did not handle {at}"));
        }
    }
}

/// Acknowledged records are stored once, at their offset; refused ones are not stored; no record was not sent.
fn stored_as_told<'a>(
    (log, lost): (&StoredLog, &BTreeSet<String>),
    all: impl Iterator<Item = &'a Sent>,
    may_repeat: bool,
    wrong: &mut Vec<String>,
) {
    let mut places: BTreeMap<&str, Vec<(u32, i64)>> = BTreeMap::new();
    for (partition, batches) in log {
        for (offset, value) in batches.iter().flatten() {
            places.entry(value).or_default().push((*partition, *offset));
        }
    }
    for sent in all {
        let places = places.remove(sent.value.as_str()).unwrap_or_default();
        let reported = &sent.outcome;
        let complain = |what: &str| format!("{} {what}: {reported:?}, at {places:?}", name(&sent.value));
        if places.iter().any(|(partition, _)| *partition != sent.partition) {
            wrong.push(complain("is in the wrong partition"));
        }
        if places.len() > 1 && !may_repeat {
            wrong.push(complain("is stored more than once"));
        }
        match reported {
            Outcome::Acknowledged(_) if places.is_empty() && lost.contains(&sent.value) => {}
            Outcome::Acknowledged(_) if places.is_empty() => {
                wrong.push(complain("was acknowledged and is lost"))
            }
            Outcome::Acknowledged(Some(offset)) if places.iter().all(|(_, at)| at != offset) => {
                wrong.push(complain("is not at the acknowledged offset"));
            }
            Outcome::Refused(_) if !places.is_empty() => {
                wrong.push(complain("was refused and is stored"));
            }
            Outcome::Acknowledged(_) | Outcome::Refused(_) | Outcome::Unknown(_) => {}
        }
    }
    for (value, places) in places {
        wrong.push(format!("{} was never sent, and is stored at {places:?}", name(value)));
    }
}

/// Within a partition, the records of a producer are in the order in which it sent them.
fn stored_in_order(log: &StoredLog, wrong: &mut Vec<String>) {
    for (partition, batches) in log {
        let mut last: BTreeMap<&str, u32> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (offset, value) in batches.iter().flatten() {
            let Some((producer, sequence)) = name(value).split_once('.') else { continue };
            let Ok(sequence) = sequence.parse::<u32>() else { continue };
            // Duplicates are checked elsewhere.
            if !seen.insert(value) {
                continue;
            }
            if let Some(before) = last.insert(producer, sequence)
                && before > sequence
            {
                wrong.push(format!("{} at {partition}/{offset} is behind {producer}.{before}", name(value)));
            }
        }
    }
}

/// Every stored record was read once, in order.
fn read_exactly(facts: &Facts, who: &str, read: &Read, wrong: &mut Vec<String>) {
    let none = Vec::new();
    for (partition, batches) in &facts.log {
        let got = read.get(partition).unwrap_or(&none);
        let stored: Vec<_> = batches.iter().flatten().collect();
        let same = got.iter().zip(&stored).take_while(|(got, stored)| got == *stored).count();
        if same < got.len() || same < stored.len() {
            let show =
                |at: Option<&(i64, String)>| at.map(|(offset, value)| format!("{offset} {}", name(value)));
            wrong.push(format!(
                "{who} got {:?} in place of {:?} of partition {partition}",
                show(got.get(same)),
                show(stored.get(same).copied())
            ));
        }
    }
    for partition in read.keys().filter(|partition| !facts.log.contains_key(partition)) {
        wrong.push(format!("{who} read partition {partition}, which does not exist"));
    }
}

/// No record was read twice or out of order, and no more batches are missing than broken connections account for.
fn read_at_most_once(facts: &Facts, wrong: &mut Vec<String>) {
    // Duplicates included: if a crash loses the first copy, the reader gets a later one.
    let mut rest = facts.log.values().flatten().flatten().map(|(_, value)| value);
    let mut got = BTreeSet::new();
    for (_, value) in facts.read.values().flatten() {
        if !got.insert(value) {
            wrong.push(format!("the reader got {} twice", name(value)));
        } else if !rest.any(|stored| stored == value) {
            wrong.push(format!("the reader got {} out of order, or it was never stored", name(value)));
        }
    }
    let mut missing = BTreeSet::new();
    for batch in facts.log.values().flatten() {
        if batch.iter().any(|(_, value)| !got.contains(value)) {
            missing.insert(batch.iter().map(|(_, value)| name(value)).collect::<Vec<_>>());
        }
    }
    if missing.len() as u64 > facts.losses {
        wrong.push(format!(
            "the reader never got {} batches, and {} can have been lost: {missing:?}",
            missing.len(),
            facts.losses
        ));
    }
}

#[cfg(test)]
mod tests {
    use floe::ErrorKind;

    use super::*;

    fn sent(value: &str, outcome: Outcome) -> Sent {
        Sent { value: format!("{value}."), partition: 0, outcome }
    }

    fn facts(outcomes: &[(&str, Outcome)], log: &[&str], read: &[&str]) -> Facts {
        let numbered = |values: &[&str]| -> Vec<(i64, String)> {
            (0..).zip(values.iter().map(|value| format!("{value}."))).collect()
        };
        Facts {
            kind: Kind::Fluvio,
            sent: vec![outcomes.iter().map(|(value, outcome)| sent(value, outcome.clone())).collect()],
            log: BTreeMap::from([(0, vec![numbered(log)])]),
            read: BTreeMap::from([(0, numbered(read))]),
            grouped: None,
            shared: None,
            posted: None,
            outputs: None,
            had_faults: false,
            stored: BTreeMap::new(),
            lost: BTreeSet::new(),
            losses: 0,
        }
    }

    #[test]
    fn rules_of_shared_groups_detect_their_violations() {
        let two = [("0.0", Outcome::Acknowledged(Some(0))), ("0.1", Outcome::Acknowledged(Some(1)))];
        let shared = |handled: &[(i64, &str, u32)], stored: i64| {
            let handled = handled.iter().map(|(at, value, times)| ((0, *at), (format!("{value}."), *times)));
            Facts {
                shared: Some((handled.collect(), false)),
                stored: BTreeMap::from([(0, Some(stored))]),
                ..facts(&two, &["0.0", "0.1"], &["0.0", "0.1"])
            }
        };
        assert_eq!(violations(&shared(&[(0, "0.0", 1), (1, "0.1", 1)], 2)), Vec::<String>::new());
        for (facts, rule) in [
            (shared(&[(0, "0.0", 1)], 1), "never got"),
            (shared(&[(0, "0.0", 1), (1, "0.0", 1)], 2), "another record"),
            (shared(&[(0, "0.0", 2), (1, "0.1", 1)], 2), "nothing had failed"),
            (shared(&[(0, "0.0", 1)], 2), "did not handle 1"),
            (shared(&[(0, "0.0", 1), (1, "0.1", 1), (2, "0.2", 1)], 2), "not stored"),
        ] {
            let found = violations(&facts);
            assert!(found.iter().any(|violation| violation.contains(rule)), "{rule}: {found:?}");
        }
        // With a fault a record may come twice.
        let mut twice = shared(&[(0, "0.0", 2), (1, "0.1", 1)], 2);
        twice.had_faults = true;
        assert_eq!(violations(&twice), Vec::<String>::new());
    }

    #[test]
    fn each_rule_detects_its_violation() {
        let (acknowledged, refused) = (Outcome::Acknowledged, Outcome::Refused(ErrorKind::NotLeader));
        let unknown = Outcome::Unknown(ErrorKind::NetworkError);
        let two = [("0.0", acknowledged(Some(0))), ("0.1", acknowledged(Some(1)))];
        let rules: [(Facts, &str); 8] = [
            (facts(&two, &["0.0"], &["0.0"]), "is lost"),
            (facts(&two, &["0.0", "0.1", "0.0"], &["0.0", "0.1", "0.0"]), "more than once"),
            (facts(&two, &["0.1", "0.0"], &["0.1", "0.0"]), "is behind"),
            (facts(&[("0.0", acknowledged(Some(7)))], &["0.0"], &["0.0"]), "not at the acknowledged offset"),
            (facts(&[("0.0", refused)], &["0.0"], &["0.0"]), "was refused and is stored"),
            (facts(&[("0.0", unknown)], &["0.0", "0.0"], &["0.0", "0.0"]), "more than once"),
            (facts(&two, &["0.0", "0.1"], &["0.0"]), "the reader got None"),
            (facts(&[], &["0.0"], &["0.0"]), "never sent"),
        ];
        for (facts, expected) in rules {
            let wrong = violations(&facts);
            assert!(wrong.iter().any(|wrong| wrong.contains(expected)), "{expected}: {wrong:?}");
        }
        assert!(violations(&facts(&two, &["0.0", "0.1"], &["0.0", "0.1"])).is_empty());
    }

    #[test]
    fn records_of_an_outbox_are_delivered_once_and_in_order() {
        let posted = |outcome: Outcome, log: &[&str]| {
            let log = (0..).zip(log.iter().map(|value| format!("{value}."))).collect();
            let posted = ["0.0", "0.1"].map(|value| sent(value, outcome.clone()));
            let posted = Some((posted.to_vec(), BTreeMap::from([(0, vec![log])])));
            violations(&Facts { kind: Kind::Applications, posted, ..facts(&[], &[], &[]) })
        };
        let accepted = || Outcome::Acknowledged(None);
        assert_eq!(posted(accepted(), &["0.0", "0.1"]), Vec::<String>::new());
        assert_eq!(posted(Outcome::Unknown(ErrorKind::Closed), &["0.0"]), Vec::<String>::new());
        for (found, rule) in [
            (posted(accepted(), &["0.0"]), "the outbox: 0.1 was acknowledged and is lost"),
            (posted(accepted(), &["0.0", "0.1", "0.1"]), "the outbox: 0.1 is stored more than once"),
            (posted(accepted(), &["0.1", "0.0"]), "the outbox: 0.0 at 0/1 is behind"),
            (posted(accepted(), &["0.0", "0.1", "0.2"]), "the outbox: 0.2 was never sent"),
        ] {
            assert!(found.iter().any(|found| found.starts_with(rule)), "{rule}: {found:?}");
        }
    }

    #[test]
    fn consuming_reads_may_lose_but_never_duplicate() {
        let two = [("0.0", Outcome::Acknowledged(None)), ("0.1", Outcome::Acknowledged(None))];
        let taken = |log: &[&str], read: &[&str], losses| {
            violations(&Facts { kind: Kind::Walrus, losses, ..facts(&two, log, read) })
        };
        assert!(taken(&["0.0", "0.1", "0.1"], &["0.0", "0.1"], 0).is_empty());
        assert!(taken(&["0.0", "0.1"], &["0.1"], 1).is_empty());
        assert!(taken(&["0.0", "0.1", "0.0"], &["0.1", "0.0"], 1).is_empty());
        assert_eq!(taken(&["0.0", "0.1"], &["0.1"], 0).len(), 1);
        assert_eq!(taken(&["0.0", "0.1", "0.1"], &["0.0", "0.1", "0.1"], 0).len(), 1);
        assert_eq!(taken(&["0.0", "0.1"], &["0.1", "0.0"], 9).len(), 1);
    }
}
