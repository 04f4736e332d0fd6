//! Damage of a store in words: for the log at opening, for health, and for the description of a topic.

use std::fmt;

use floe_core::{
    engine::NodeHealth,
    gap::{Gap, GapReason},
    topic::Topic,
};
use floe_log::{Committed, Cut, LogError, RecoveryReport, SetAsideLog};

/// Findings of one kind that are told one by one; the rest is counted.
const TOLD_SINGLY: usize = 20;

/// Finding of a store: where it is, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Finding {
    /// Topic and partition, or a part of the store.
    place: String,
    /// Description, with the path, the number of records or bytes, and what to do.
    state: String,
    /// Whether the partition can be neither read nor written.
    pub(crate) is_failure: bool,
}

impl Finding {
    fn new(place: impl Into<String>, state: String) -> Self {
        Self { place: place.into(), state, is_failure: false }
    }

    fn corrupt(error: &LogError) -> Self {
        let state = format!("cannot be read or written: {error}; restore it, or run `floe check --repair`");
        Self { is_failure: true, ..Self::new(place_of(error), state) }
    }

    fn damaged(error: &LogError) -> Self {
        Self::new(place_of(error), format!("{error}; readers skip the batch, a backup may have it"))
    }

    fn lost(gap: &floe_log::Gap) -> Self {
        let (from, last, problem, position) =
            (gap.from, gap.to.saturating_sub(1), &gap.problem, gap.position);
        let state = format!(
            "offsets {from} to {last} are lost: {problem} in {} at byte {position}; readers skip them, a backup may have them",
            gap.path.display(),
        );
        Self::new(format!("{}/{}", gap.topic, gap.partition), state)
    }

    fn cut(cut: &Cut) -> Self {
        let kept = cut.kept.as_ref().map_or_else(
            || "they were not copied, because the disk is full".to_owned(),
            |kept| format!("they are kept in {}", kept.display()),
        );
        let (bytes, offset, path) = (cut.bytes, cut.offset, cut.path.display());
        let state =
            format!("{bytes} bytes behind offset {offset} were cut off {path}: {}; {kept}", cut.problem);
        Self::new(format!("{}/{}", cut.topic, cut.partition), state)
    }

    fn set_aside(log: &SetAsideLog) -> Self {
        let of = log.topic.as_ref().map_or_else(
            || "of an unknown topic".to_owned(),
            |(_, topic, partition)| format!("of {topic}/{partition}"),
        );
        let path = log.path.display();
        let state = format!(
            "the log {of} is not in the catalog and was moved to {path}; `floe check --adopt` takes it back"
        );
        Self::new("lost+found", state)
    }

    fn catalog(problem: &str) -> Self {
        Self::new("meta.redb", problem.to_owned())
    }

    fn rewound(moved: &Committed) -> Self {
        let (offset, group) = (moved.offset, &moved.group);
        let state =
            format!("the stored offset {offset} of group {group:?} was behind the end and was moved to it");
        Self::new(format!("{}/{}", moved.topic, moved.partition), state)
    }

    /// Writes the finding to the log.
    pub(crate) fn tell(&self, store: &str) {
        let Self { place, state, .. } = self;
        if self.is_failure {
            tracing::error!(store, place, "{state}");
        } else {
            tracing::warn!(store, place, "{state}");
        }
    }

    pub(crate) fn into_node(self) -> NodeHealth {
        NodeHealth::new(self.place, false, self.state)
    }
}

fn place_of(error: &LogError) -> String {
    match error {
        LogError::Corrupt { topic, partition, .. } => format!("{topic}/{partition}"),
        _ => "store".to_owned(),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.state)
    }
}

/// Returns the findings of a report, the gravest first: at most [`TOLD_SINGLY`] of each kind, and one that counts the
/// others.
pub(crate) fn findings(report: &RecoveryReport) -> Vec<Finding> {
    let mut all = bounded(report.corrupt.iter().map(Finding::corrupt));
    all.extend(bounded(report.catalog.iter().map(|problem| Finding::catalog(problem))));
    all.extend(bounded(report.set_aside.iter().map(Finding::set_aside)));
    all.extend(bounded(report.gaps.iter().map(Finding::lost)));
    all.extend(bounded(report.damaged.iter().map(Finding::damaged)));
    all.extend(bounded(report.cuts.iter().map(Finding::cut)));
    all
}

/// Returns the offsets that opening moved back. They follow from a loss that is told elsewhere, and need no attention of
/// their own.
pub(crate) fn rewound(report: &RecoveryReport) -> Vec<Finding> {
    bounded(report.rewound.iter().map(Finding::rewound))
}

fn bounded(mut kind: impl Iterator<Item = Finding>) -> Vec<Finding> {
    let mut all: Vec<_> = kind.by_ref().take(TOLD_SINGLY).collect();
    let is_failure = all.last().is_some_and(|last| last.is_failure);
    let others = kind.count();
    if others > 0 {
        let state = format!("{others} further findings of the same kind; `floe check` lists them");
        all.push(Finding { is_failure, ..Finding::new("store", state) });
    }
    all
}

/// Converts a gap of the log to that of the contract.
pub(crate) fn gap(lost: &floe_log::Gap) -> Gap {
    let at = Topic::from(lost.topic.as_str()).partition(lost.partition);
    Gap::new(at, lost.from..lost.to, GapReason::Corrupt)
}
