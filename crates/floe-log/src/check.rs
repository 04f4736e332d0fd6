//! Check of a store without a change to it.
//!
//! The check opens the store on a view of its disk whose changes stay in memory, and lets recovery scan every segment from
//! its start. What that finds and does is what opening or [`repair()`](crate::repair()) would find and do.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use crate::{
    LogError, RecoveryReport, Store, StoreConfig,
    catalog::CATALOG_FILE,
    config::OpenMode,
    disk::OverlayDisk,
    opening,
    segment_scan::{ScanState, SegmentScan},
};

/// Result of a check.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Directory of the store.
    pub path: PathBuf,
    /// Whether the store was closed; otherwise the next opening recovers all partitions.
    pub was_clean: bool,
    /// Partitions, ordered by topic and number. If the catalog is damaged or missing, those that a new one would have.
    pub partitions: Vec<CheckedPartition>,
    /// Everything that is not as it should be; empty if the store is whole.
    pub problems: Vec<StoreProblem>,
}

/// Partition of a checked store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedPartition {
    /// Topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: u32,
    /// Directory of its log.
    pub path: PathBuf,
    /// First readable offset.
    pub start: i64,
    /// Offset that the next record receives.
    pub end: i64,
    /// Segment files, ordered by their first offset.
    pub segments: Vec<CheckedSegment>,
    /// Lost offsets that an earlier repair reported: first one, and the one after the last. They are no problem any more.
    pub known_gaps: Vec<(i64, i64)>,
}

/// Segment file of a checked partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedSegment {
    /// The file.
    pub path: PathBuf,
    /// First offset, by its name.
    pub base: i64,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether the header and all batches are intact and belong to this log.
    pub is_whole: bool,
    /// Bytes that are neither the header nor part of an intact batch.
    pub damaged_bytes: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreProblem {
    /// Topic and partition, if the problem is one of a partition.
    pub partition: Option<(String, u32)>,
    /// File or directory.
    pub path: PathBuf,
    /// Position in the file, in bytes.
    pub position: u64,
    /// Description.
    pub problem: String,
    /// Result of a repair.
    pub repair: RepairAction,
    /// Offsets that are lost, with a repair and without one: the first, and the one after the last.
    pub lost: Option<(i64, i64)>,
}

/// Change that a repair makes because of a problem. A repair keeps all bytes that it takes out of use in `lost+found`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairAction {
    /// Moves the torn end to `lost+found`; opening the store does so too.
    CutEnd,
    /// Moves the damaged bytes to `lost+found`, and keeps the batches before and behind them.
    RemoveDamage,
    /// Notes that the offsets are lost, so that they are not reported any more.
    NoteLoss,
    /// Moves the file or directory to `lost+found`; opening the store does so too if the catalog does not know it.
    SetAside,
    /// Makes the catalog anew from the log directories. Committed offsets, and a start within a segment, are lost.
    RebuildCatalog,
    /// Uses the catalog as it is. Opening the store does so too, unless bytes of the catalog changed after it was closed.
    AcceptCatalog,
    /// Moves committed offsets back to the end of their partition; opening the store does so too.
    MoveOffset,
    /// Writes the file anew; nothing is lost.
    Rewrite,
    /// Changes nothing: the file has too many damaged places.
    Nothing,
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutEnd => "moves the torn end to lost+found",
            Self::RemoveDamage => "moves the damaged bytes to lost+found",
            Self::NoteLoss => "notes the loss",
            Self::SetAside => "moves it to lost+found",
            Self::RebuildCatalog => "makes the catalog anew from the logs; committed offsets are lost",
            Self::AcceptCatalog => "uses the catalog as it is",
            Self::MoveOffset => "moves the committed offset to the end",
            Self::Rewrite => "writes it anew",
            Self::Nothing => "changes nothing; the file has too many damaged places",
        })
    }
}

impl CheckReport {
    /// Returns whether nothing is damaged, missing or out of place.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the number of offsets that are lost, apart from those that an earlier repair reported.
    #[must_use]
    pub fn lost_offsets(&self) -> u64 {
        let mut ranges: BTreeMap<_, crate::known_gaps::KnownGaps> = BTreeMap::new();
        for problem in &self.problems {
            if let (Some(partition), Some((from, to))) = (&problem.partition, problem.lost) {
                ranges.entry(partition).or_default().add(from, to);
            }
        }
        ranges.values().flat_map(|gaps| gaps.ranges()).map(|(from, to)| from.abs_diff(*to)).sum()
    }
}

/// Checks the store of a directory: reads the catalog and every byte of every segment, and writes nothing. Works on a
/// directory that cannot be written, of another user, or on a full disk. Other settings than the directory, namespace and
/// disk do not matter.
///
/// Takes the lock together with other readers, so no process can open the store for writing meanwhile.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let config = floe_log::StoreConfig::at(directory.path());
/// floe_log::Store::open(config.clone())?.close()?;
/// let report = floe_log::check(&config)?;
/// assert!(report.is_whole(), "{:?}", report.problems);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`LogError::Locked`] if a process has the store open: its health tells what it found. [`LogError::Format`];
/// [`LogError::Io`], also if there is no store; [`LogError::InvalidConfig`].
pub fn check(config: &StoreConfig) -> Result<CheckReport, LogError> {
    config.check()?;
    let _lock = opening::lock_shared(&*config.disk, &config.directory())?;
    check_locked(config)
}

/// Checks a store that is locked.
pub(crate) fn check_locked(config: &StoreConfig) -> Result<CheckReport, LogError> {
    let mut view = config.clone();
    view.disk = Arc::new(OverlayDisk::new(Arc::clone(&config.disk)));
    view.mode = OpenMode::ReadOnly;
    view.scans_all = true;
    let mut report = CheckReport { path: config.directory(), ..CheckReport::default() };
    let store = match Store::open_locked(view.clone(), None) {
        Err(error @ (LogError::CatalogMissing { .. } | LogError::CatalogDamaged { .. })) => {
            report.problems.push(catalog_problem(&report.path, &error));
            Store::rebuild_locked(&view)?;
            Store::open_locked(view, None)?
        }
        opened => opened?,
    };
    let found = store.findings();
    report.was_clean = found.was_clean;
    let scans = store.take_scans();
    report.partitions = partitions(&store, &scans);
    add_problems(&mut report, &found, &scans);
    for (path, problem) in store.take_rewritten() {
        report.problems.push(StoreProblem::new(path, 0, problem, RepairAction::Rewrite));
    }
    store.close()?;
    Ok(report)
}

impl StoreProblem {
    fn new(path: PathBuf, position: u64, problem: String, repair: RepairAction) -> Self {
        Self { partition: None, path, position, problem, repair, lost: None }
    }

    fn of(mut self, topic: &str, partition: u32) -> Self {
        self.partition = Some((topic.to_owned(), partition));
        self
    }
}

fn catalog_problem(directory: &std::path::Path, error: &LogError) -> StoreProblem {
    let problem = match error {
        LogError::CatalogDamaged { problem, .. } => format!("the catalog is damaged: {problem}"),
        _ => "the catalog is missing".to_owned(),
    };
    StoreProblem::new(directory.join(CATALOG_FILE), 0, problem, RepairAction::RebuildCatalog)
}

pub(crate) fn partitions(store: &Store, scans: &[SegmentScan]) -> Vec<CheckedPartition> {
    let mut checked = Vec::new();
    for topic in store.topics() {
        for number in 0..topic.partitions {
            // A corrupt one has no bounds; its problem is listed.
            let Ok(partition) = store.partition(&topic.name, number) else { continue };
            let bounds = partition.bounds();
            let mut segments: Vec<_> = scans
                .iter()
                .filter(|scan| (&*scan.topic, scan.partition) == (topic.name.as_str(), number))
                .map(checked_segment)
                .collect();
            segments.sort_by(|a, b| (a.base, &a.path).cmp(&(b.base, &b.path)));
            checked.push(CheckedPartition {
                topic: topic.name.clone(),
                partition: number,
                path: partition.directory().to_path_buf(),
                start: bounds.start,
                end: bounds.end,
                segments,
                known_gaps: partition.known_gaps().ranges().to_vec(),
            });
        }
    }
    checked
}

fn checked_segment(scan: &SegmentScan) -> CheckedSegment {
    let intact: u64 = scan.runs.runs.iter().map(|run| run.to - run.from).sum();
    let header = if scan.has_header { crate::segment::SEGMENT_HEADER_LEN } else { 0 };
    CheckedSegment {
        path: scan.path.clone(),
        base: scan.header.base,
        bytes: scan.size,
        is_whole: scan.is_whole(),
        damaged_bytes: scan.size.saturating_sub(intact + header),
    }
}

fn add_problems(report: &mut CheckReport, found: &RecoveryReport, scans: &[SegmentScan]) {
    let by_path: BTreeMap<_, _> = scans.iter().map(|scan| (&scan.path, scan)).collect();
    let problems = &mut report.problems;
    for cut in &found.cuts {
        let problem =
            StoreProblem::new(cut.path.clone(), cut.position, cut.problem.clone(), RepairAction::CutEnd);
        problems.push(problem.of(&cut.topic, cut.partition));
    }
    for error in &found.damaged {
        let LogError::Corrupt { topic, partition, path, position, problem } = error else { continue };
        let scan = by_path.get(path);
        let repair = match scan {
            Some(scan) if scan.runs.overflows => RepairAction::Nothing,
            Some(scan) if scan.state == ScanState::Foreign => RepairAction::SetAside,
            _ => RepairAction::RemoveDamage,
        };
        let end =
            next_base(scans, scan.copied()).unwrap_or_else(|| end_of(&report.partitions, topic, *partition));
        let lost = scan.filter(|scan| scan.state == ScanState::Segment && *position > 0);
        let lost = lost.and_then(|scan| scan.lost_at(*position, end));
        let problem = StoreProblem::new(path.clone(), *position, problem.clone(), repair);
        problems.push(StoreProblem { lost, ..problem.of(topic, *partition) });
    }
    for gap in &found.gaps {
        let repair = match by_path.get(&gap.path) {
            Some(scan) if scan.runs.overflows => RepairAction::Nothing,
            Some(scan) if !scan.is_whole() => RepairAction::RemoveDamage,
            _ => RepairAction::NoteLoss,
        };
        let problem = StoreProblem::new(gap.path.clone(), gap.position, gap.problem.clone(), repair);
        problems
            .push(StoreProblem { lost: Some((gap.from, gap.to)), ..problem.of(&gap.topic, gap.partition) });
    }
    for error in &found.corrupt {
        let LogError::Corrupt { topic, partition, path, position, problem } = error else { continue };
        let problem = StoreProblem::new(path.clone(), *position, problem.clone(), RepairAction::SetAside);
        problems.push(problem.of(topic, *partition));
    }
    for log in &found.set_aside {
        let problem = match &log.topic {
            Some((_, topic, partition)) => {
                format!("the catalog does not know this log of {topic:?} partition {partition}")
            }
            None => "the catalog does not know this log".to_owned(),
        };
        let path = report.path.join("logs").join(log.log_id.to_string());
        problems.push(StoreProblem::new(path, 0, problem, RepairAction::SetAside));
    }
    for problem in &found.catalog {
        let path = report.path.join(CATALOG_FILE);
        problems.push(StoreProblem::new(path, 0, problem.clone(), RepairAction::AcceptCatalog));
    }
    for committed in &found.rewound {
        let problem = format!(
            "group {:?} has committed offset {}, which lies behind the end of the partition",
            committed.group, committed.offset
        );
        let problem = StoreProblem::new(report.path.join(CATALOG_FILE), 0, problem, RepairAction::MoveOffset);
        problems.push(problem.of(&committed.topic, committed.partition));
    }
}

fn end_of(partitions: &[CheckedPartition], topic: &str, number: u32) -> i64 {
    let found =
        partitions.iter().find(|checked| (checked.topic.as_str(), checked.partition) == (topic, number));
    found.map_or(i64::MIN, |checked| checked.end)
}

/// Returns the base of the next segment of the same log.
fn next_base(scans: &[SegmentScan], scan: Option<&SegmentScan>) -> Option<i64> {
    let scan = scan?;
    let later = scans.iter().filter(|other| {
        other.log_id == scan.log_id
            && other.state != ScanState::Foreign
            && other.header.base > scan.header.base
    });
    later.map(|other| other.header.base).min()
}
