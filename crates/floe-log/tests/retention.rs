//! Retention: removal of old segments, and its effect on readers.

mod support;

use std::{sync::Arc, time::Duration};

use floe_log::{LogError, Partition, Store, StoreConfig, TopicConfig};
use support::{append_one, read_all};
use tempfile::TempDir;

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Creates a store with ten records per segment.
fn store(config: TopicConfig) -> (TempDir, Arc<Store>, Arc<Partition>) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(StoreConfig::at(directory.path()).segment_bytes(64 + 10 * 157)).unwrap();
    store.create_topic("t", config).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for number in 0..95 {
        append_one(&partition, &[number; 100]);
    }
    (directory, store, partition)
}

fn segment_files(directory: &TempDir) -> usize {
    let logs = std::fs::read_dir(directory.path().join("logs")).unwrap();
    logs.flat_map(|log| std::fs::read_dir(log.unwrap().path()).unwrap())
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "seg"))
        .count()
}

#[test]
fn retention_by_size_removes_the_oldest_whole_segments() {
    let (directory, store, partition) = store(TopicConfig::new().retention_bytes(Some(5_000)));
    assert_eq!((segment_files(&directory), partition.bounds().start), (10, 0));
    store.enforce_retention(now_ms()).unwrap();
    assert_eq!(partition.bounds().start, 60);
    assert_eq!(segment_files(&directory), 4);
    assert!(partition.size_bytes() >= 5_000 && partition.size_bytes() < 5_000 + 64 + 10 * 157);
    assert!(matches!(partition.reader(59), Err(LogError::OutOfRange { start: 60, end: 95, .. })));
    assert_eq!(read_all(&partition, 60).unwrap().len(), 35);
    store.enforce_retention(now_ms()).unwrap();
    assert_eq!(partition.bounds().start, 60, "a second pass changes nothing");
    drop((partition, store));
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    let partition = store.partition("t", 0).unwrap();
    assert_eq!((partition.bounds().start, partition.bounds().end), (60, 95));
}

#[test]
fn retention_by_age_removes_an_idle_log_completely() {
    let (directory, store, partition) =
        store(TopicConfig::new().retention_age(Some(Duration::from_secs(3_600))));
    store.enforce_retention(now_ms() + HOUR_MS / 2).unwrap();
    assert_eq!(partition.bounds().start, 0, "still within the age");
    store.enforce_retention(now_ms() + 2 * HOUR_MS).unwrap();
    store.enforce_retention(now_ms() + 4 * HOUR_MS).unwrap();
    assert_eq!(partition.bounds().start, 95, "all records have expired");
    assert!(read_all(&partition, 95).unwrap().is_empty());
    assert_eq!(append_one(&partition, b"new"), 95);
    store.close().unwrap();
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(read_all(&partition, 95).unwrap(), [(95, "new".into())]);
}

#[test]
fn without_retention_all_records_stay() {
    let (_directory, store, partition) = store(TopicConfig::new());
    store.enforce_retention(now_ms() + 10_000 * HOUR_MS).unwrap();
    assert_eq!(read_all(&partition, 0).unwrap().len(), 95);
}

#[test]
fn slow_reader_behind_the_start_gets_out_of_range() {
    let (_directory, store, partition) = store(TopicConfig::new().retention_bytes(Some(5_000)));
    let mut slow = partition.reader(5).unwrap();
    assert_eq!(slow.next_chunk(1).unwrap().batches[0].base_offset(), 5);
    let mut fast = partition.reader(0).unwrap();
    while !fast.next_chunk(1 << 20).unwrap().batches.is_empty() {}
    store.enforce_retention(now_ms()).unwrap();
    let error = slow.next_chunk(1).unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { offset: 6, start: 60, end: 95 }), "{error}");
    slow.seek(60).unwrap();
    assert_eq!(slow.next_chunk(1).unwrap().batches[0].base_offset(), 60);
    append_one(&partition, b"more");
    assert_eq!(fast.next_chunk(1 << 20).unwrap().batches[0].base_offset(), 95);
}

#[test]
fn concurrent_retention_never_exposes_a_gap() {
    let (_directory, store, partition) = store(TopicConfig::new().retention_bytes(Some(20_000)));
    std::thread::scope(|scope| {
        let writer = Arc::clone(&partition);
        scope.spawn(move || {
            for number in 0..2_000_u32 {
                append_one(&writer, &[number as u8; 100]);
            }
        });
        scope.spawn(|| {
            while partition.bounds().end < 2_095 {
                store.enforce_retention(now_ms()).unwrap();
            }
        });
        let mut reader = partition.reader(0).unwrap().verify(true);
        let mut next = 0;
        while next < 2_095 {
            match reader.next_chunk(1_000) {
                Ok(chunk) => {
                    for batch in chunk.batches {
                        assert_eq!(batch.base_offset(), next);
                        next += 1;
                    }
                }
                Err(LogError::OutOfRange { offset, start, .. }) => {
                    assert!(offset == next && start > next);
                    // The start may have moved in the meantime.
                    while reader.seek(partition.bounds().start).is_err() {}
                    next = reader.position();
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn records_before_an_offset_can_be_deleted() {
    let (directory, store, partition) = store(TopicConfig::new());
    partition.delete_before(33).unwrap();
    assert_eq!(partition.bounds().start, 33);
    assert_eq!(segment_files(&directory), 7);
    assert_eq!(read_all(&partition, 33).unwrap().len(), 62);
    assert!(matches!(partition.delete_before(32), Err(LogError::OutOfRange { .. })));
    assert!(matches!(partition.delete_before(96), Err(LogError::OutOfRange { .. })));
    partition.delete_before(95).unwrap();
    assert_eq!((partition.bounds().start, partition.bounds().end), (95, 95));
    assert_eq!(segment_files(&directory), 1);
    drop((partition, store));
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    let partition = store.partition("t", 0).unwrap();
    assert_eq!((partition.bounds().start, partition.bounds().end), (95, 95));
    assert_eq!(append_one(&partition, b"x"), 95);
    assert_eq!(partition.offset_for_time(0).unwrap(), Some(95));
}

#[test]
fn background_thread_enforces_retention() {
    let directory = TempDir::new().unwrap();
    let config = StoreConfig::at(directory.path()).segment_bytes(1_000);
    let store = Store::open(config.retention_interval(Duration::from_millis(1))).unwrap();
    store.create_topic("t", TopicConfig::new().retention_bytes(Some(1))).unwrap();
    let partition = store.partition("t", 0).unwrap();
    // Ends once the thread has run, however long that takes.
    while partition.bounds().start == 0 {
        append_one(&partition, &[0; 100]);
    }
}

#[test]
fn short_lived_stores_enforce_retention_when_they_close() {
    let directory = TempDir::new().unwrap();
    let config = || StoreConfig::at(directory.path()).segment_bytes(2_000);
    let store = Store::open(config()).unwrap();
    store.create_topic("t", TopicConfig::new().retention_bytes(Some(5_000))).unwrap();
    store.close().unwrap();
    for round in 0..10 {
        let store = Store::open(config()).unwrap();
        let partition = store.partition("t", 0).unwrap();
        for _ in 0..20 {
            append_one(&partition, &[round; 100]);
        }
        store.close().unwrap();
        let kept: u64 = std::fs::read_dir(directory.path().join("logs/2"))
            .unwrap()
            .map(|file| file.unwrap())
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "seg"))
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(kept < 5_000 + 2 * 2_000, "{kept} bytes after round {round}");
    }
    let store = Store::open(config()).unwrap();
    assert_eq!(store.partition("t", 0).unwrap().bounds().end, 200);
}
