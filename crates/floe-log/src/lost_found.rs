//! Directory `lost+found` of a store: everything that opening takes out of use is kept there.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    disk::{Disk, DiskFile, Open, read_full_at, write_all_at},
    log_info::{LogInfo, ReadInfo},
    recovery_report::SetAsideLog,
    segment::base_of,
};

/// Name of the directory.
pub(crate) const LOST_FOUND: &str = "lost+found";

/// Bytes copied at a time.
const COPY: usize = 1 << 20;

/// Returns the directory that holds set-aside logs.
pub(crate) fn logs_directory(store: &Path) -> PathBuf {
    store.join(LOST_FOUND).join("logs")
}

/// Moves a file or directory into `into`, under its own name or that name with a number, and syncs both directories.
/// Returns the new path.
pub(crate) fn set_aside(disk: &dyn Disk, path: &Path, into: &Path) -> io::Result<PathBuf> {
    disk.create_dir_all(into)?;
    let target = free_name(disk, into, &path.file_name().unwrap_or_default().to_string_lossy())?;
    disk.rename(path, &target)?;
    disk.sync_dir(into)?;
    if let Some(parent) = path.parent() {
        disk.sync_dir(parent)?;
    }
    Ok(target)
}

/// Copies bytes of a file into a new one in `into`, and syncs it. Returns its path.
pub(crate) fn copy_aside(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    range: (u64, u64),
    into: &Path,
    name: &str,
) -> io::Result<PathBuf> {
    disk.create_dir_all(into)?;
    let path = free_name(disk, into, name)?;
    let kept = disk.open(&path, Open::Create)?;
    if let Err(error) = copy(file, range, &*kept, 0).and_then(|()| kept.sync()) {
        disk.remove_file(&path)?;
        return Err(error);
    }
    disk.sync_dir(into)?;
    Ok(path)
}

/// Copies the bytes `from..to` of a file, or up to its end, to a position of another one.
pub(crate) fn copy(
    file: &dyn DiskFile,
    (from, to): (u64, u64),
    target: &dyn DiskFile,
    position: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; COPY];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(COPY).min(COPY);
        let filled = read_full_at(file, buffer.get_mut(..len).unwrap_or_default(), at)?;
        if filled == 0 {
            break;
        }
        write_all_at(target, buffer.get(..filled).unwrap_or_default(), position + (at - from))?;
        at += filled as u64;
    }
    Ok(())
}

/// Returns `name` in the directory, or the first of `name.1`, `name.2`, … that does not exist.
pub(crate) fn free_name(disk: &dyn Disk, directory: &Path, name: &str) -> io::Result<PathBuf> {
    let present = disk.list(directory)?;
    let is_free = |name: &String| !present.contains(name);
    let mut names = std::iter::once(name.to_owned()).chain((1_u64..).map(|n| format!("{name}.{n}")));
    // One more name than are present, so one of them is free.
    let free = names.by_ref().take(present.len() + 1).find(is_free);
    Ok(directory.join(free.unwrap_or_else(|| name.to_owned())))
}

/// Returns the log id in a directory name such as `12` or `12.3`.
fn log_id_of(name: &str) -> Option<u64> {
    name.split_once('.').map_or(name, |(id, _)| id).parse().ok()
}

/// Lists the logs that are set aside, ordered by id.
pub(crate) fn set_aside_logs(disk: &dyn Disk, store: &Path) -> io::Result<Vec<SetAsideLog>> {
    let directory = logs_directory(store);
    let mut logs = Vec::new();
    for name in disk.list(&directory)? {
        let Some(log_id) = log_id_of(&name) else { continue };
        let path = directory.join(name);
        let topic = match LogInfo::read(disk, &path)? {
            ReadInfo::Found(info) => Some((info.topic_id, info.topic, info.partition)),
            ReadInfo::Missing | ReadInfo::Damaged(_) => None,
        };
        logs.push(SetAsideLog { path, log_id, topic });
    }
    logs.sort_by(|a, b| (a.log_id, &a.path).cmp(&(b.log_id, &b.path)));
    Ok(logs)
}

/// Returns the first offset in a log's directory; 0 if it holds no segment.
pub(crate) fn first_offset(disk: &dyn Disk, log: &Path) -> io::Result<i64> {
    Ok(disk.list(log)?.iter().filter_map(|name| base_of(name)).min().unwrap_or(0))
}

/// Returns the largest log id that a directory of the store uses; 0 if there is none.
pub(crate) fn largest_log_id(disk: &dyn Disk, store: &Path) -> io::Result<u64> {
    let mut names = disk.list(&store.join("logs"))?;
    names.extend(disk.list(&logs_directory(store))?);
    // The directories of cut bytes are named after log ids too.
    names.extend(disk.list(&store.join(LOST_FOUND))?);
    Ok(names.iter().filter_map(|name| log_id_of(name)).max().unwrap_or(0))
}

/// Returns whether the file exists and is not empty.
pub(crate) fn has_contents(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path, Open::Read).and_then(|file| file.size()) {
        Ok(size) => Ok(size > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn set_aside_names_never_collide() {
        let disk = MemoryDisk::new();
        let into = Path::new("/lost+found/logs");
        for expected in ["4", "4.1", "4.2"] {
            disk.put(Path::new("/logs/4/a.seg"), expected.as_bytes());
            let target = set_aside(&disk, Path::new("/logs/4"), into).unwrap();
            assert_eq!(target, into.join(expected));
            assert_eq!(disk.contents(&target.join("a.seg")).unwrap(), expected.as_bytes());
        }
        assert!(disk.list(Path::new("/logs")).unwrap().is_empty());
        assert_eq!(largest_log_id(&disk, Path::new("/")).unwrap(), 4);
    }
}
