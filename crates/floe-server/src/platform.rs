//! Operating-system differences. No other file of the crate depends on the platform.

use std::{fs, io, path::Path};

/// Memory of a machine that does not tell, in bytes.
const ASSUMED_MEMORY: u64 = 4 << 30;

/// Makes the names in a directory survive a power loss, which a renamed file needs after it was synced itself.
///
/// Only Unix opens a directory as a file; elsewhere the file system's own journal has to do.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// Creates or empties a file that only its owner may read and write. On Windows it inherits the access list of its
/// directory.
pub(crate) fn create_private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Creates a directory that only its owner may enter, with its parents; one that exists stays as it is.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Returns how many files and sockets the process may have open; `None` where the system does not limit them.
pub(crate) fn descriptor_limit() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

/// Lowers the priority of the calling thread for good. Where the system has no priorities of threads, nothing changes.
pub(crate) fn lower_priority() {
    /// A tenth of the processor time of a thread of normal priority, where both want it: `sched(7)`.
    #[cfg(target_os = "linux")]
    const NICE: i32 = 10;
    // Linux takes the process 0 for the calling thread. A priority that cannot be lowered stays.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Returns the memory of the machine in bytes, or of the container if it has less.
///
/// Linux shows both in files. Elsewhere they do not exist, and the answer is [`ASSUMED_MEMORY`].
pub(crate) fn machine_memory() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    let memory = machine.unwrap_or(ASSUMED_MEMORY).min(group.unwrap_or(u64::MAX));
    usize::try_from(memory).unwrap_or(usize::MAX)
}

/// Returns the size in the line `MemTotal:  1234 kB`.
fn total_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_machine_is_read() {
        assert_eq!(total_of("MemTotal:       16318480 kB\nMemFree: 1 kB\n"), Some(16_318_480 * 1024));
        for text in ["", "MemTotal: x kB", "MemTotal: 5", "MemFree: 1 kB"] {
            assert_eq!(total_of(text), None, "{text}");
        }
        assert!(machine_memory() > 0);
    }
}
