//! Stores whose files are removed by another program while they are open.
#![cfg(unix)]

mod support;

use std::sync::Arc;

use floe_log::{Durability, LogError, Partition, Store, StoreConfig, TopicConfig};
use support::{append, append_one, batch};
use tempfile::TempDir;

fn open(directory: &TempDir, durability: Durability) -> (Arc<Store>, Arc<Partition>) {
    let store = Store::open(StoreConfig::at(directory.path().join("s"))).unwrap();
    store.create_topic("t", TopicConfig::new().durability(durability)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append_one(&partition, b"stored");
    (store, partition)
}

#[test]
fn store_without_its_lock_file_is_still_locked() {
    let directory = TempDir::new().unwrap();
    let (store, partition) = open(&directory, Durability::Os);
    let path = directory.path().join("s");
    std::fs::remove_file(path.join("LOCK")).unwrap();
    for _ in 0..2 {
        let error = Store::open(StoreConfig::at(&path)).unwrap_err();
        assert!(matches!(error, LogError::Locked { .. }), "{error}");
    }
    assert_eq!(append_one(&partition, b"next"), 1);
    store.close().unwrap();
    let store = Store::open(StoreConfig::at(&path)).unwrap();
    assert_eq!(store.partition("t", 0).unwrap().bounds().end, 2);
}

#[test]
fn removed_directory_stops_the_store() {
    for durability in [Durability::Os, Durability::Always] {
        let directory = TempDir::new().unwrap();
        let (store, partition) = open(&directory, durability);
        store.check().unwrap();
        std::fs::remove_dir_all(directory.path().join("s")).unwrap();
        assert!(matches!(store.check(), Err(LogError::Removed { .. })));
        for _ in 0..2 {
            let error = append(&partition, batch(1, 1, b"lost")).unwrap_err();
            assert!(matches!(error, LogError::Removed { .. }), "{error}");
        }
        assert!(store.create_topic("new", TopicConfig::new()).is_err());
        assert!(matches!(store.close(), Err(LogError::Removed { .. })));
        assert!(!directory.path().join("s").exists(), "no empty store takes its place");
    }
}

#[test]
fn removed_segment_file_is_noticed_by_appends_and_syncs() {
    for by_sync in [false, true] {
        let directory = TempDir::new().unwrap();
        let (store, partition) = open(&directory, Durability::Os);
        std::fs::remove_file(directory.path().join("s/logs/2/00000000000000000000.seg")).unwrap();
        if by_sync {
            assert!(matches!(store.flush(), Err(LogError::Removed { .. })));
        } else {
            // Ends once an append looks at the file, which happens ten times a second.
            while append(&partition, batch(1, 1, b"x")).is_ok() {}
        }
        let error = append(&partition, batch(1, 1, b"lost")).unwrap_err();
        assert!(matches!(error, LogError::Removed { .. }), "{error}");
        assert!(matches!(store.check(), Err(LogError::Removed { .. })));
    }
}

#[test]
fn removed_catalog_takes_no_change() {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(&directory, Durability::Os);
    std::fs::remove_file(directory.path().join("s/meta.redb")).unwrap();
    for _ in 0..2 {
        let error = store.commit_offset("g", "t", 0, 1, None).unwrap_err();
        assert!(matches!(error, LogError::Removed { .. }), "{error}");
    }
}
