//! Logs that the catalog does not know: set aside, never removed, and taken back.

mod support;

use std::{path::Path, sync::Arc};

use floe_log::{
    Durability, LogError, Store, TopicConfig,
    disk::{Disk, Fault, FaultyDisk, MemoryDisk},
};
use support::{append_one, on, read_all};

const CATALOG: &str = "/meta.redb";

fn catalog(disk: &MemoryDisk) -> Vec<u8> {
    disk.contents(Path::new(CATALOG)).unwrap()
}

/// Returns a closed store with topic `old` (3 records) and `new` (2 partitions, 4 records each), and its catalog from
/// before `new` was created.
fn with_older_catalog() -> (MemoryDisk, Vec<u8>) {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("old", TopicConfig::new()).unwrap();
    let partition = store.partition("old", 0).unwrap();
    for n in 0..3_u8 {
        append_one(&partition, &[n]);
    }
    store.close().unwrap();
    let older = catalog(&disk);
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("new", TopicConfig::new().partitions(2).durability(Durability::Always)).unwrap();
    for number in 0..2 {
        let partition = store.partition("new", number).unwrap();
        for n in 0..4_u8 {
            append_one(&partition, &[number as u8, n]);
        }
    }
    store.commit_offset("g", "new", 1, 2, None).unwrap();
    store.close().unwrap();
    (disk, older)
}

fn segment_bytes(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let mut paths = disk.paths();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let mut contents: Vec<_> = paths.iter().map(|path| disk.contents(path).unwrap()).collect();
    contents.sort();
    contents
}

#[test]
fn logs_that_an_older_catalog_does_not_know_are_set_aside_and_adopted() {
    let (disk, older) = with_older_catalog();
    let segments = segment_bytes(&disk);
    disk.put(Path::new(CATALOG), &older);
    let store = Store::open(on(&disk)).unwrap();
    let set_aside = store.recovery_report().set_aside.clone();
    assert_eq!(set_aside.len(), 2, "{set_aside:?}");
    assert!(set_aside.iter().all(|log| log.topic.as_ref().is_some_and(|(_, name, _)| name == "new")));
    assert_eq!(segment_bytes(&disk), segments, "every byte of the records is kept");
    assert_eq!(read_all(&store.partition("old", 0).unwrap(), 0).unwrap().len(), 3);

    // New logs never take the ids of the ones in lost+found.
    store.create_topic("another", TopicConfig::new()).unwrap();
    append_one(&store.partition("another", 0).unwrap(), b"x");
    store.close().unwrap();

    let store = Store::open(on(&disk)).unwrap();
    assert!(store.recovery_report().set_aside.is_empty(), "reported once");
    assert_eq!(store.set_aside_logs().unwrap(), set_aside);
    assert!(matches!(store.adopt("old", &set_aside), Err(LogError::TopicExists { .. })));
    assert!(matches!(store.adopt("new", &[]), Err(LogError::InvalidConfig { .. })));
    store.adopt("new", &set_aside).unwrap();
    for reopened in [false, true] {
        let store = if reopened {
            store.close().unwrap();
            Store::open(on(&disk)).unwrap()
        } else {
            Arc::clone(&store)
        };
        let topic = store.topic("new").unwrap();
        assert_eq!((topic.partitions, topic.config.durability), (2, Durability::Always));
        for number in 0..2 {
            let records = read_all(&store.partition("new", number).unwrap(), 0).unwrap();
            let expected: Vec<_> = (0..4_u8).map(|n| (i64::from(n), vec![number as u8, n].into())).collect();
            assert_eq!(records, expected);
        }
        assert!(store.set_aside_logs().unwrap().is_empty());
    }
}

#[test]
fn catalog_is_rebuilt_from_the_log_directories() {
    for previous in [None, Some(&b""[..]), Some(&b"not a database"[..])] {
        let (disk, _) = with_older_catalog();
        disk.remove_file(Path::new(CATALOG)).unwrap();
        if let Some(previous) = previous {
            disk.put(Path::new(CATALOG), previous);
        }
        assert!(Store::open(on(&disk)).is_err());
        let rebuilt = Store::rebuild(&on(&disk)).unwrap();
        assert_eq!(rebuilt.topics, ["new", "old"]);
        assert!(rebuilt.unknown.is_empty());
        let kept = rebuilt.previous.map(|path| disk.contents(&path).unwrap());
        assert_eq!(kept.as_deref(), previous.filter(|bytes| !bytes.is_empty()));
        let store = Store::open(on(&disk)).unwrap();
        let report = store.recovery_report();
        assert!(!report.was_clean && report.set_aside.is_empty() && report.corrupt.is_empty(), "{report:?}");
        assert_eq!(read_all(&store.partition("old", 0).unwrap(), 0).unwrap().len(), 3);
        assert_eq!(store.topic("new").unwrap().config.durability, Durability::Always);
        assert_eq!(read_all(&store.partition("new", 1).unwrap(), 0).unwrap().len(), 4);
        store.create_topic("later", TopicConfig::new()).unwrap();
        append_one(&store.partition("later", 0).unwrap(), b"x");
        assert_eq!(append_one(&store.partition("new", 1).unwrap(), b"next"), 4);
    }
}

#[test]
fn catalog_of_another_store_never_takes_its_logs() {
    let (disk, _) = with_older_catalog();
    let (other, _) = with_older_catalog();
    let segments = segment_bytes(&disk);
    disk.put(Path::new(CATALOG), &catalog(&other));
    let store = Store::open(on(&disk)).unwrap();
    // The ids match by chance, but the directories name their own store.
    for (topic, number) in [("old", 0), ("new", 0), ("new", 1)] {
        let error = store.partition(topic, number).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    }
    store.delete_topic("new").unwrap();
    assert_eq!(store.set_aside_logs().unwrap().len(), 2, "deletion sets the logs of the other store aside");
    assert_eq!(segment_bytes(&disk), segments);
}

#[test]
fn files_of_a_deleted_topic_are_removed_at_the_next_opening() {
    let (memory, _) = with_older_catalog();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let store = Store::open(on(&memory).disk(Arc::new(disk.clone()))).unwrap();
    disk.plan(Fault::Remove, "", 0, u64::MAX);
    assert!(matches!(store.delete_topic("new"), Err(LogError::Io { .. })));
    drop(store);
    assert!(!memory.list(Path::new("/logs/4")).unwrap().is_empty());
    let store = Store::open(on(&memory)).unwrap();
    assert!(store.recovery_report().set_aside.is_empty(), "{:?}", store.recovery_report());
    assert_eq!(memory.list(Path::new("/logs")).unwrap(), ["2"]);
    assert!(store.topic("new").is_none());
}

#[test]
fn log_directories_without_a_description_get_one() {
    let (disk, _) = with_older_catalog();
    let infos: Vec<_> = disk.paths().into_iter().filter(|path| path.ends_with("log.info")).collect();
    assert_eq!(infos.len(), 3);
    let good: Vec<_> = infos.iter().map(|path| disk.contents(path).unwrap()).collect();
    disk.remove_file(&infos[0]).unwrap();
    disk.put(&infos[1], b"damaged");
    let store = Store::open(on(&disk)).unwrap();
    store.partition("old", 0).unwrap();
    (0..2).for_each(|number| drop(store.partition("new", number).unwrap()));
    let again: Vec<_> = infos.iter().map(|path| disk.contents(path).unwrap()).collect();
    assert_eq!(again, good);
    // More partitions change the description of all logs of the topic.
    store.add_partitions("new", 5).unwrap();
    let changed = infos.iter().zip(&good).filter(|(path, good)| disk.contents(path).as_ref() != Some(*good));
    assert_eq!(changed.count(), 2);
    store.close().unwrap();
    disk.remove_file(Path::new(CATALOG)).unwrap();
    Store::rebuild(&on(&disk)).unwrap();
    assert_eq!(Store::open(on(&disk)).unwrap().topic("new").unwrap().partitions, 5);
}
