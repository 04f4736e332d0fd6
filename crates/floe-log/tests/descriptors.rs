//! Lack of file descriptors: told by its own error, and over once there are some. Nothing stops for ever.

mod support;

use std::sync::mpsc;

use floe_log::{
    Durability, LogError, Store, StoreConfig, TopicConfig,
    disk::{Fault, MemoryDisk},
};
use support::{append, append_one, batch, faulty, on, read_all};

#[test]
fn append_without_a_descriptor_fails_alone() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config.segment_bytes(300)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append_one(&partition, &[1; 200]);
    disk.plan(Fault::OutOfFiles, ".seg", 0, u64::MAX);
    for _ in 0..3 {
        let error = append(&partition, batch(1, 1, &[2; 200])).unwrap_err();
        assert!(matches!(error, LogError::TooManyOpenFiles { .. }), "{error}");
        assert!(error.to_string().contains("ulimit -n"), "{error}");
    }
    disk.heal();
    assert_eq!(append_one(&partition, &[3; 200]), 1);
    assert_eq!(read_all(&partition, 0).unwrap().len(), 2);
    store.close().unwrap();
}

#[test]
fn sync_without_a_descriptor_is_retried_and_a_failed_one_is_final() {
    for fault in [Fault::OutOfFiles, Fault::Sync] {
        let memory = MemoryDisk::with_power_loss();
        let (disk, config) = faulty(&memory);
        let store = Store::open(config).unwrap();
        store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        let partition = store.partition("t", 0).unwrap();
        // The first sync of a log syncs its directory too, which takes a descriptor.
        let suffix = if fault == Fault::Sync { ".seg" } else { "logs/2" };
        disk.plan(fault, suffix, 0, 20);
        let (answer, answered) = mpsc::channel();
        partition.submit(batch(1, 1, b"x"), move |result| answer.send(result).unwrap());
        let result = answered.recv().unwrap();
        if fault == Fault::Sync {
            assert!(matches!(result, Err(LogError::Poisoned { .. })), "{result:?}");
            assert!(append(&partition, batch(1, 1, b"y")).is_err());
            continue;
        }
        assert_eq!(result.unwrap().base_offset, 0, "acknowledged once there is a descriptor");
        assert_eq!(append_one(&partition, b"y"), 1);
        let after = Store::open(on(&memory.after_power_loss(|| false))).unwrap();
        assert_eq!(read_all(&after.partition("t", 0).unwrap(), 0).unwrap().len(), 2);
    }
}

#[test]
fn appends_that_wait_for_a_descriptor_are_completed_when_the_store_ends() {
    for closes in [true, false] {
        let memory = MemoryDisk::new();
        let (disk, config) = faulty(&memory);
        let store = Store::open(config).unwrap();
        store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        let partition = store.partition("t", 0).unwrap();
        disk.plan(Fault::OutOfFiles, "logs/2", 0, u64::MAX);
        let (answer, answered) = mpsc::channel();
        partition.submit(batch(1, 1, b"x"), move |result| answer.send(result).unwrap());
        assert!(matches!(store.flush(), Err(LogError::TooManyOpenFiles { .. })));
        if closes {
            assert!(matches!(store.close(), Err(LogError::TooManyOpenFiles { .. })));
        } else {
            drop(partition);
            drop(store);
        }
        assert!(answered.recv().unwrap().is_err());
    }
}

/// Counts the open files of this process below a directory.
#[cfg(target_os = "linux")]
fn open_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(directory)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn deleted_topics_keep_no_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::at(directory.path()).segment_bytes(1_000).tail_bytes(0)).unwrap();
    let mut held = Vec::new();
    for number in 0..20 {
        let name = format!("t-{number}");
        store.create_topic(&name, TopicConfig::new()).unwrap();
        let partition = store.partition(&name, 0).unwrap();
        for _ in 0..20 {
            append_one(&partition, &[1; 300]);
        }
        // A reader in the middle that never reads on.
        let mut reader = partition.reader(0).unwrap();
        reader.next_chunk(500).unwrap();
        held.push((partition, reader));
    }
    let segments = |files: &[std::path::PathBuf]| {
        files.iter().filter(|f| f.to_string_lossy().contains("/logs/")).count()
    };
    assert!(segments(&open_below(directory.path())) >= 20);
    for number in 0..20 {
        store.delete_topic(&format!("t-{number}")).unwrap();
    }
    let open = open_below(directory.path());
    assert_eq!(segments(&open), 0, "{open:?}");
    for (_, reader) in &mut held {
        assert!(matches!(reader.next_chunk(500), Err(LogError::TopicNotFound { .. })));
    }
}
