//! Copies a store that another process has open, without its help.
//!
//! A store can be opened after a kill at any moment, so the copy has to be one of the states in which a kill would have left the
//! files. A single pass over files that change gives none of them; this order does:
//!
//! ```text
//! segments that no longer grow   linked first: retention may remove them from the store afterwards
//! acked, then the catalog        what they say of the logs is true of the logs after them
//! names and sizes of all logs    taken at once, within milliseconds: the copy ends here
//! the rest of the logs           up to these sizes
//! ```
//!
//! A topic that was created or deleted meanwhile, and a segment that was removed, begin the order anew. A batch that was being written is cut off at the end: it
//! was not acknowledged when the sizes were taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use floe::store::{CheckReport, RepairAction};

use super::{CopiedStore, cannot, copy_file, list, sync_directory};
use crate::exit::{Failure, Outcome};

/// Attempts at the order.
const ROUNDS: u32 = 50;

/// Attempts to read the catalog while it is not changed, and the pause between them.
const READS: u32 = 500;
const BETWEEN_READS: Duration = Duration::from_millis(5);

/// Length of the header of a segment: a shorter file was created this moment.
const SEGMENT_HEADER: u64 = 64;

const LOGS: &str = "logs";
const CATALOG: &str = "meta.redb";
const ACKED: &str = "acked";

/// Names and sizes of the segments of each log, ordered.
type Logs = BTreeMap<OsString, Vec<(OsString, u64)>>;

/// A copy on its way.
#[derive(Debug)]
pub(super) struct LiveCopy {
    from: PathBuf,
    to: PathBuf,
    links: bool,
    copied: CopiedStore,
    /// Copies of segments that grew when they were made.
    growing: BTreeSet<PathBuf>,
}

impl LiveCopy {
    pub(super) fn new(from: &Path, to: &Path, links: bool) -> Self {
        let (copied, growing) = (CopiedStore::default(), BTreeSet::new());
        Self { from: from.to_owned(), to: to.to_owned(), links, copied, growing }
    }

    /// Copies the store.
    ///
    /// # Errors
    /// Those of the file system; a store whose topics or catalog change all the time.
    pub(super) fn run(&mut self) -> Outcome<CopiedStore> {
        let logs = self.to.join(LOGS);
        fs::create_dir_all(&logs).map_err(|error| cannot("create", &logs, &error))?;
        for _ in 0..ROUNDS {
            let before = self.logs()?;
            self.forget(&before)?;
            for (log, segments) in &before {
                self.share_sealed(log, segments)?;
            }
            self.copy_small(ACKED)?;
            self.copy_catalog()?;
            let now = self.logs()?;
            // A catalog that is older than a retention would miss the segments that this removed.
            if heads(&now).eq(heads(&before)) && self.fill(&now)? {
                sync_directory(&logs)?;
                sync_directory(&self.to)?;
                return Ok(std::mem::take(&mut self.copied));
            }
        }
        Err(Failure::not_ready("topics and segments are removed all the time: nothing was copied")
            .with_hint("run the command again, or stop the process that has the store open"))
    }

    /// Repairs of a check that belong to the moment of the copy: cuts batches that were being written off copied segments, and
    /// removes indexes that were being written. Returns whether there were any.
    pub(super) fn finish(&self, report: &CheckReport) -> Outcome<bool> {
        let mut has_changed = false;
        for problem in &report.problems {
            let path = &problem.path;
            if problem.repair == RepairAction::CutEnd && self.growing.contains(path) {
                let cut = File::options().write(true).open(path).and_then(|file| {
                    file.set_len(problem.position)?;
                    file.sync_all()
                });
                cut.map_err(|error| cannot("cut", path, &error))?;
                has_changed = true;
            } else if problem.repair == RepairAction::Rewrite && path.extension() == Some(OsStr::new("idx")) {
                fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
                has_changed = true;
            }
        }
        Ok(has_changed)
    }

    /// Lists the logs of the store with their segments.
    fn logs(&self) -> Outcome<Logs> {
        let mut logs = Logs::new();
        let Some(found) = there(list(&self.from.join(LOGS)))? else { return Ok(logs) };
        for directory in found {
            let Some(files) = there(list(&directory))? else { continue };
            let mut segments = Vec::new();
            for file in files.iter().filter(|file| file.extension() == Some(OsStr::new("seg"))) {
                let size = there(fs::metadata(file).map_err(|error| cannot("look at", file, &error)))?;
                let size = size.map_or(0, |found| found.len());
                if size >= SEGMENT_HEADER {
                    segments.push((name_of(file), size));
                }
            }
            logs.insert(name_of(&directory), segments);
        }
        Ok(logs)
    }

    /// Shares or copies the segments of a log that no longer grow.
    fn share_sealed(&mut self, log: &OsStr, segments: &[(OsString, u64)]) -> Outcome {
        let to = self.to.join(LOGS).join(log);
        fs::create_dir_all(&to).map_err(|error| cannot("create", &to, &error))?;
        for (segment, _) in segments.iter().take(segments.len().saturating_sub(1)) {
            // One that retention has removed is missing in the next list as well.
            self.share(log, segment)?;
        }
        Ok(())
    }

    /// Shares or copies a segment that no longer grows. Returns whether it is there.
    fn share(&mut self, log: &OsStr, segment: &OsStr) -> Outcome<bool> {
        let place = Path::new(LOGS).join(log).join(segment);
        let (from, to) = (self.from.join(&place), self.to.join(&place));
        if self.growing.remove(&to) {
            remove(&to)?;
        }
        if to.exists() {
            return Ok(true);
        }
        if self.links && fs::hard_link(&from, &to).is_ok() {
            (self.copied.files, self.copied.linked) = (self.copied.files + 1, self.copied.linked + 1);
            return Ok(true);
        }
        Ok(there(copy_file(&from, &to, &mut self.copied))?.is_some())
    }

    /// Completes the logs up to these sizes. Returns whether they are complete.
    fn fill(&mut self, logs: &Logs) -> Outcome<bool> {
        for (log, segments) in logs {
            let place = Path::new(LOGS).join(log);
            for (number, (segment, size)) in segments.iter().enumerate() {
                let (from, to) = (self.from.join(&place).join(segment), self.to.join(&place).join(segment));
                if number + 1 == segments.len() {
                    remove(&to)?;
                    self.growing.insert(to.clone());
                    if there(self.copy_up_to(&from, &to, *size))?.is_none() {
                        return Ok(false);
                    }
                    continue;
                }
                if !self.share(log, segment)? {
                    return Ok(false);
                }
                let index = Path::new("idx");
                there(copy_file(&from.with_extension(index), &to.with_extension(index), &mut self.copied))?;
            }
            for name in ["log.info", "log.gaps"] {
                self.copy_small(place.join(name))?;
            }
            sync_directory(&self.to.join(&place))?;
        }
        Ok(true)
    }

    fn copy_up_to(&mut self, from: &Path, to: &Path, size: u64) -> Outcome {
        let copy = || {
            // Never a file that is shared with the store.
            let mut target = File::create_new(to)?;
            let copied = io::copy(&mut File::open(from)?.take(size), &mut target)?;
            target.sync_all()?;
            Ok(copied)
        };
        self.copied.bytes += copy().map_err(|error| cannot("copy", from, &error))?;
        self.copied.files += 1;
        Ok(())
    }

    /// Copies a file that is replaced as a whole or has checksums, if it exists.
    fn copy_small(&mut self, place: impl AsRef<Path>) -> Outcome {
        let (from, to) = (self.from.join(&place), self.to.join(place));
        there(copy_file(&from, &to, &mut self.copied)).map(drop)
    }

    /// Copies the catalog as it was at one moment: it had these bytes at a time between two reads that are equal.
    fn copy_catalog(&mut self) -> Outcome {
        let (from, to) = (self.from.join(CATALOG), self.to.join(CATALOG));
        let read = || fs::read(&from).map_err(|error| cannot("read", &from, &error));
        for _ in 0..READS {
            let bytes = read()?;
            if read()? != bytes {
                thread::sleep(BETWEEN_READS);
                continue;
            }
            let write = || {
                let mut file = File::create(&to)?;
                file.write_all(&bytes)?;
                file.sync_all()
            };
            write().map_err(|error| cannot("write", &to, &error))?;
            self.copied.files += 1;
            self.copied.bytes += bytes.len() as u64;
            return Ok(());
        }
        Err(Failure::not_ready(format!("{} changes all the time: nothing was copied", from.display()))
            .with_hint("run the command again, or stop the process that has the store open"))
    }

    /// Removes logs and segments that the store no longer has.
    fn forget(&mut self, logs: &Logs) -> Outcome {
        for copied in list(&self.to.join(LOGS))? {
            let Some(segments) = logs.get(&name_of(&copied)) else {
                fs::remove_dir_all(&copied).map_err(|error| cannot("remove", &copied, &error))?;
                self.growing.retain(|path| !path.starts_with(&copied));
                continue;
            };
            for file in list(&copied)? {
                let is_kept = segments.first().is_some_and(|(first, _)| name_of(&file) >= *first);
                if !is_kept && file.extension().is_some_and(|ending| ending == "seg" || ending == "idx") {
                    remove(&file)?;
                }
            }
        }
        Ok(())
    }
}

/// The logs, each with its first segment.
fn heads(logs: &Logs) -> impl Iterator<Item = (&OsString, Option<&OsString>)> {
    logs.iter().map(|(log, segments)| (log, segments.first().map(|(name, _)| name)))
}

fn name_of(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

/// Returns `None` for what does not exist any more.
fn there<T>(outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_missing_file() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn remove(path: &Path) -> Outcome {
    there(fs::remove_file(path).map_err(|error| cannot("remove", path, &error))).map(drop)
}
