//! Repair of a store that no process has open.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use crate::{
    CheckReport, Gap, LogError, RecoveryReport, RepairAction, Store, StoreConfig,
    check::{self, CheckedPartition, check_locked},
    clean_marker,
    config::OpenMode,
    disk::{Disk, Open, write_all_at},
    known_gaps::KnownGaps,
    lost_found::{self, LOST_FOUND},
    opening,
    segment::{SEGMENT_HEADER_LEN, SegmentHeader, file_name},
    segment_scan::{ScanState, SegmentScan},
};

/// Result of a repair.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Repaired {
    /// State before the repair.
    pub before: CheckReport,
    /// State after it; whole, unless a file has too many damaged places.
    pub after: CheckReport,
    /// Files and directories that the repair added to `lost+found`.
    pub kept: BTreeSet<PathBuf>,
}

/// Repairs the store of a directory: does what [`check()`](crate::check()) lists, and keeps all bytes that it takes out of use
/// in `lost+found`. Changes nothing if the store is whole. Records that are readable before stay readable; lost offsets
/// stay lost, readers still get them as gaps, and they are no longer reported as damage.
///
/// A repair that is interrupted, by a full disk too, loses nothing; another one completes it.
///
/// # Errors
/// [`LogError::Locked`] if a process has the store open; [`LogError::Format`]; [`LogError::DiskFull`]: a damaged segment
/// needs room for two copies of it; [`LogError::Io`]; [`LogError::Catalog`]; [`LogError::InvalidConfig`].
pub fn repair(config: &StoreConfig) -> Result<Repaired, LogError> {
    config.check()?;
    let directory = config.directory();
    let disk = &*config.disk;
    // A missing directory holds nothing to repair, and locking must not create one.
    if disk.list(&directory).map_err(|e| LogError::io(&directory, "list", e))?.is_empty() {
        return Err(LogError::io(&directory, "open", std::io::ErrorKind::NotFound.into()));
    }
    let _lock = opening::lock(disk, &directory, config.time.wall_ms())?;
    let before = check_locked(config)?;
    if before.is_whole() {
        return Ok(Repaired { after: before.clone(), before, kept: BTreeSet::new() });
    }
    let kept_before = kept_files(disk, &directory)?;
    let mut opened = config.clone();
    opened.mode = OpenMode::Repair;
    opened.scans_all = true;
    let (found, _, mut scans) = match open_and_close(&opened) {
        Err(LogError::CatalogMissing { .. } | LogError::CatalogDamaged { .. }) => {
            Store::rebuild_locked(config)?;
            open_and_close(&opened)?
        }
        other => other?,
    };
    // The next opening recovers everything if this is interrupted.
    clean_marker::take(disk, &directory).map_err(|e| LogError::io(&directory, "sync", e))?;
    for error in &found.corrupt {
        if let LogError::Corrupt { path, .. } = error
            && let Some(log) = path.parent()
        {
            let target = lost_found::logs_directory(&directory);
            lost_found::set_aside(disk, log, &target).map_err(|e| LogError::io(log, "set aside", e))?;
        }
    }
    // An index holds nothing that the segment does not tell. Opening writes it anew only where the segment has grown.
    for problem in before.problems.iter().filter(|problem| problem.repair == RepairAction::Rewrite) {
        if problem.path.extension().is_some_and(|extension| extension == "idx") {
            disk.remove_file(&problem.path).map_err(|e| LogError::io(&problem.path, "remove", e))?;
        }
    }
    // Files that are in the way of others go first.
    scans.sort_by_key(|scan| scan.state != ScanState::Foreign);
    for scan in &scans {
        mend_segment(disk, &directory, scan).map_err(|e| LogError::io(&scan.path, "repair", e))?;
    }
    opened.scans_all = false;
    // Where segments were taken out, this opening finds gaps.
    let (found, partitions, _) = open_and_close(&opened)?;
    note_losses(disk, &found, &partitions, &scans)?;
    let after = check_locked(config)?;
    let mut kept = kept_files(disk, &directory)?;
    kept.retain(|path| !kept_before.contains(path));
    Ok(Repaired { before, after, kept })
}

/// Opens the store, which repairs what opening repairs, and closes it.
fn open_and_close(
    config: &StoreConfig,
) -> Result<(RecoveryReport, Vec<CheckedPartition>, Vec<SegmentScan>), LogError> {
    let store = Store::open_locked(config.clone(), None)?;
    let found = store.examine()?;
    let scans = store.take_scans();
    let partitions = check::partitions(&store, &scans);
    store.close()?;
    Ok((found, partitions, scans))
}

/// Takes the damaged bytes out of a segment: each run of whole batches becomes a segment of its own.
fn mend_segment(disk: &dyn Disk, directory: &Path, scan: &SegmentScan) -> io::Result<()> {
    if scan.is_whole() || scan.state == ScanState::Cut || scan.runs.overflows {
        return Ok(());
    }
    let Some(log) = scan.path.parent() else { return Ok(()) };
    let aside = directory.join(LOST_FOUND).join(scan.log_id.to_string());
    let file = match disk.open(&scan.path, Open::Read) {
        Ok(file) => file,
        // Recovery has set it aside.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let index = scan.path.with_extension("idx");
    let runs = &scan.runs.runs;
    if runs.is_empty() {
        disk.remove_file(&index)?;
        return lost_found::set_aside(disk, &scan.path, &aside).map(drop);
    }
    let size = file.size()?;
    let name = file_name(scan.header.base);
    lost_found::copy_aside(disk, &*file, (0, size), &aside, &name)?;
    // The file under the old name is replaced last: until then it holds everything.
    for run in runs.iter().rev() {
        let temporary = log.join(format!("{}.new", file_name(run.base)));
        let new = disk.open(&temporary, Open::Create)?;
        write_all_at(&*new, &SegmentHeader { base: run.base, ..scan.header }.encode(), 0)?;
        lost_found::copy(&*file, (run.from, run.to), &*new, SEGMENT_HEADER_LEN)?;
        new.sync()?;
        let path = log.join(file_name(run.base));
        disk.remove_file(&path.with_extension("idx"))?;
        disk.rename(&temporary, &path)?;
    }
    disk.remove_file(&index)?;
    if runs.first().is_some_and(|first| first.base != scan.header.base) {
        disk.remove_file(&scan.path)?;
    }
    disk.sync_dir(log)
}

/// Notes the gaps of all partitions, except those in files that were not repaired.
fn note_losses(
    disk: &dyn Disk,
    found: &RecoveryReport,
    partitions: &[CheckedPartition],
    scans: &[SegmentScan],
) -> Result<(), LogError> {
    let skipped = |path: &Path| scans.iter().any(|scan| scan.runs.overflows && scan.path == path);
    for partition in partitions {
        let of_partition =
            |gap: &&Gap| (&gap.topic, gap.partition) == (&partition.topic, partition.partition);
        let mut gaps = found.gaps.iter().filter(of_partition).filter(|gap| !skipped(&gap.path)).peekable();
        if gaps.peek().is_none() {
            continue;
        }
        let io = |operation| move |error| LogError::io(&partition.path, operation, error);
        disk.create_dir_all(&partition.path).map_err(io("create"))?;
        let mut known = KnownGaps::read(disk, &partition.path).map_err(io("read"))?;
        gaps.for_each(|gap| known.add(gap.from, gap.to));
        known.write(disk, &partition.path).map_err(io("write"))?;
    }
    Ok(())
}

/// Lists the files and directories in `lost+found`, down to the second level.
fn kept_files(disk: &dyn Disk, directory: &Path) -> Result<BTreeSet<PathBuf>, LogError> {
    let root = directory.join(LOST_FOUND);
    let list = |path: &Path| -> Result<Vec<PathBuf>, LogError> {
        let names = disk.list(path).map_err(|e| LogError::io(path, "list", e))?;
        Ok(names.into_iter().map(|name| path.join(name)).collect())
    };
    let mut kept = BTreeSet::new();
    for path in list(&root)? {
        // Catalogs are files here; everything else is a directory.
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("meta.redb")) {
            kept.insert(path);
        } else {
            kept.extend(list(&path)?);
        }
    }
    Ok(kept)
}
