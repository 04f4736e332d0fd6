//! Stores on a full disk: they open, list, read, delete and trim, and free the space for the next appends.

mod support;

use std::{sync::Arc, time::Duration};

use floe_log::{LogError, Partition, Store, StoreConfig, TopicConfig, check, disk::MemoryDisk};
use support::{append, append_one, batch, on, read_all};

const CAPACITY: usize = 4 << 20;

fn config(disk: &MemoryDisk) -> StoreConfig {
    on(disk).segment_bytes(200_000)
}

/// Appends until the disk is full; returns the number of stored records.
fn fill(partition: &Arc<Partition>) -> i64 {
    for size in [20_000, 1_000, 10] {
        // Ends: the disk is small.
        while let Ok(appended) = append(partition, batch(1, 1, &vec![7; size])) {
            assert!(appended.base_offset < 100_000);
        }
    }
    let error = append(partition, batch(1, 1, &[7; 5_000])).unwrap_err();
    assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    partition.bounds().end
}

/// Returns a full disk with a store of two topics, and the number of records in the second one.
fn full(closes: bool) -> (MemoryDisk, i64) {
    let disk = MemoryDisk::with_capacity(CAPACITY);
    let store = Store::open(config(&disk)).unwrap();
    store.create_topic("kept", TopicConfig::new()).unwrap();
    store.create_topic("large", TopicConfig::new()).unwrap();
    append_one(&store.partition("kept", 0).unwrap(), b"kept");
    let count = fill(&store.partition("large", 0).unwrap());
    assert!(count > 100);
    if closes {
        store.close().unwrap();
    }
    drop(store);
    (disk, count)
}

#[test]
fn full_disk_takes_reads_and_deletions_and_then_appends() {
    for closes in [true, false] {
        let (disk, count) = full(closes);
        for round in 0..2 {
            // The second round runs without a reserve to open with.
            let store = Store::open(config(&disk)).unwrap();
            assert_eq!(store.topics().len(), 2, "round {round}");
            assert_eq!(read_all(&store.partition("large", 0).unwrap(), 0).unwrap().len() as i64, count);
            assert_eq!(read_all(&store.partition("kept", 0).unwrap(), 0).unwrap().len(), 1);
            assert!(!store.findings().has_damage());
            store.close().unwrap();
        }
        let reader = Store::open(config(&disk).read_only(true)).unwrap();
        assert_eq!(read_all(&reader.partition("large", 0).unwrap(), 0).unwrap().len() as i64, count);
        reader.close().unwrap();
        assert!(check(&config(&disk)).unwrap().is_whole());

        let store = Store::open(config(&disk)).unwrap();
        store.delete_topic("large").unwrap();
        let partition = store.partition("kept", 0).unwrap();
        for number in 1..100 {
            assert_eq!(append_one(&partition, &[1; 20_000]), number);
        }
        store.close().unwrap();
        assert_eq!(Store::open(config(&disk)).unwrap().topics().len(), 1);
    }
}

#[test]
fn full_disk_can_be_filled_and_emptied_again_and_again() {
    let disk = MemoryDisk::with_capacity(CAPACITY);
    let store = Store::open(config(&disk)).unwrap();
    for round in 0..5 {
        store.create_topic("t", TopicConfig::new()).unwrap();
        assert!(fill(&store.partition("t", 0).unwrap()) > 100, "round {round}");
        store.delete_topic("t").unwrap();
    }
    store.close().unwrap();
}

#[test]
fn records_of_a_full_disk_can_be_trimmed_up_to_the_end() {
    // With one segment only, too: the space for the next one comes from the reserve.
    for segment_bytes in [200_000, 100 << 20] {
        let disk = MemoryDisk::with_capacity(CAPACITY);
        let store = Store::open(on(&disk).segment_bytes(segment_bytes)).unwrap();
        store.create_topic("t", TopicConfig::new()).unwrap();
        let partition = store.partition("t", 0).unwrap();
        for _ in 0..3 {
            let end = fill(&partition);
            partition.delete_before(end).unwrap();
            assert_eq!(append_one(&partition, &[1; 50_000]), end);
        }
        store.close().unwrap();
    }
}

#[test]
fn retention_works_on_a_full_disk() {
    let disk = MemoryDisk::with_capacity(CAPACITY);
    let store = Store::open(config(&disk).retention_interval(Duration::from_secs(3_600))).unwrap();
    store.create_topic("t", TopicConfig::new().retention_bytes(Some(300_000))).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for _ in 0..3 {
        let end = fill(&partition);
        store.enforce_retention(0).unwrap();
        assert!(partition.size_bytes() < 600_000);
        assert_eq!(append_one(&partition, &[1; 50_000]), end);
    }
}
