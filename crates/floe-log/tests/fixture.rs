//! Compatibility with older formats: a stored directory opens in every later release.

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use floe_log::{Bounds, Durability, LogError, Store, StoreConfig, TopicConfig};
use redb::ReadableDatabase;
use support::{append, append_one, batch, producer_batch, read_all};
use tempfile::TempDir;

const FORMATS: [&str; 2] = ["format-1", "format-2"];

fn fixture(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

/// Writes a fixture of the present format. `FLOE_WRITE_FIXTURE=format-3` stores it; only for a new format version.
fn write(directory: &Path) {
    let store = Store::open(StoreConfig::at(directory).segment_bytes(500)).unwrap();
    let topic = TopicConfig::new()
        .partitions(2)
        .durability(Durability::Always)
        .retention_age(Some(Duration::from_secs(86_400 * 365_000)))
        .metadata(BTreeMap::from([("kind".to_owned(), "fixture".to_owned())]));
    store.create_topic("orders", topic).unwrap();
    let partition = store.partition("orders", 0).unwrap();
    for number in 0..12_i64 {
        append(&partition, batch(3, 1_000 + number, format!("batch {number}").repeat(9).as_bytes())).unwrap();
    }
    partition.delete_before(10).unwrap();
    let other = store.partition("orders", 1).unwrap();
    append(&other, producer_batch(2, 5, b"from a producer", (77, 1, 40))).unwrap();
    store.commit_offset("billing", "orders", 0, 21, Some("note")).unwrap();
    store.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn check(directory: &Path, is_clean: bool) {
    let store = Store::open(StoreConfig::at(directory)).unwrap();
    assert_eq!(store.recovery_report().was_clean, is_clean);
    assert!(store.recovery_report().cuts.is_empty() && store.recovery_report().corrupt.is_empty());
    let topic = store.topic("orders").unwrap();
    assert_eq!((topic.partitions, topic.config.durability), (2, Durability::Always));
    assert_eq!(topic.config.metadata["kind"], "fixture");
    assert_eq!(topic.config.retention_age, Some(Duration::from_secs(86_400 * 365_000)));
    let partition = store.partition("orders", 0).unwrap();
    assert_eq!(partition.bounds(), Bounds { start: 10, end: 36, durable_end: 36 });
    let all = read_all(&partition, 10).unwrap();
    let expected: Vec<_> =
        (3..12_i64).map(|n| (n * 3, bytes::Bytes::from(format!("batch {n}").repeat(9)))).collect();
    assert_eq!(all, expected);
    assert_eq!(partition.offset_for_time(1_007).unwrap(), Some(21));
    let committed = store.committed("billing", "orders", 0).unwrap();
    assert_eq!((committed.offset, committed.metadata.as_str()), (21, "note"));
    let other = store.partition("orders", 1).unwrap();
    let retried = append(&other, producer_batch(2, 5, b"from a producer", (77, 1, 40))).unwrap();
    assert_eq!(retried.base_offset, 0);
    assert_eq!(append_one(&other, b"continues"), 2);
    store.close().unwrap();
}

fn format_of(directory: &Path) -> u64 {
    let database = redb::Database::open(directory.join("meta.redb")).unwrap();
    let table =
        database.begin_read().unwrap().open_table(redb::TableDefinition::<&str, u64>::new("system")).unwrap();
    table.get("format_version").unwrap().unwrap().value()
}

#[test]
fn stored_formats_open_and_are_upgraded() {
    if let Ok(format) = std::env::var("FLOE_WRITE_FIXTURE") {
        assert!(!fixture(&format).exists(), "a stored format never changes");
        write(&fixture(&format));
    }
    for format in FORMATS {
        let directory = TempDir::new().unwrap();
        copy(&fixture(format), directory.path());
        check(directory.path(), true);
        assert_eq!(format_of(directory.path()), 2, "{format}");
        for log in ["2", "3"] {
            assert!(directory.path().join("logs").join(log).join("log.info").exists(), "{format}, log {log}");
        }
    }
}

#[test]
fn stored_formats_are_checked_and_read_without_an_upgrade() {
    for (format, number) in FORMATS.into_iter().zip(1..) {
        let directory = TempDir::new().unwrap();
        copy(&fixture(format), directory.path());
        let report = floe_log::check(&StoreConfig::at(directory.path())).unwrap();
        assert!(report.is_whole(), "{format}: {:?}", report.problems);
        let store = Store::open(StoreConfig::at(directory.path()).read_only(true)).unwrap();
        assert_eq!(read_all(&store.partition("orders", 0).unwrap(), 10).unwrap().len(), 9);
        store.close().unwrap();
        assert_eq!(format_of(directory.path()), number);
    }
}

#[test]
fn format_2_is_rebuilt_from_its_logs() {
    let directory = TempDir::new().unwrap();
    copy(&fixture("format-2"), directory.path());
    std::fs::remove_file(directory.path().join("meta.redb")).unwrap();
    assert_eq!(Store::rebuild(&StoreConfig::at(directory.path())).unwrap().topics, ["orders"]);
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    assert_eq!(store.topic("orders").unwrap().config.metadata["kind"], "fixture");
    assert_eq!(read_all(&store.partition("orders", 0).unwrap(), 10).unwrap().len(), 9);
}

#[test]
fn stored_formats_recover_without_their_indexes() {
    for format in FORMATS {
        let directory = TempDir::new().unwrap();
        copy(&fixture(format), directory.path());
        std::fs::remove_file(directory.path().join("CLEAN")).unwrap();
        let mut removed = 0;
        for log in std::fs::read_dir(directory.path().join("logs")).unwrap() {
            for file in std::fs::read_dir(log.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "idx") {
                    std::fs::remove_file(path).unwrap();
                    removed += 1;
                }
            }
        }
        assert!(removed >= 3, "the fixture has several segments with an index");
        check(directory.path(), false);
    }
}

#[test]
fn this_release_writes_the_segments_of_format_1() {
    let directory = TempDir::new().unwrap();
    write(directory.path());
    let log = |root: &Path, name: &str| std::fs::read(root.join("logs/2").join(name)).unwrap();
    for name in ["00000000000000000009.seg", "00000000000000000027.seg"] {
        let (now, then) = (log(directory.path(), name), log(&fixture("format-1"), name));
        // Excludes the creation time and the header checksum that covers it.
        assert_eq!(now[..28], then[..28]);
        // Format 1 left these bytes zero: topic id, partition, store.
        assert_eq!((&now[36..48], &now[52..60]), (&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], &then[52..60]));
        assert_eq!(now[64..], then[64..]);
    }
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let directory = TempDir::new().unwrap();
    copy(&fixture("format-2"), directory.path());
    let database = redb::Database::open(directory.path().join("meta.redb")).unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("system");
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert("format_version", 9).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(StoreConfig::at(directory.path())).unwrap_err();
    assert!(matches!(error, LogError::Format { found: 9, supported: 2 }), "{error}");
}
