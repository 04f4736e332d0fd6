//! Checks, repairs and read-only stores.

mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use floe_log::{
    Durability, LogError, RepairAction, Store, StoreConfig, TopicConfig, check,
    disk::{Disk, Fault, FaultyDisk, MemoryDisk},
    repair,
};
use support::{append, append_one, batch, on, read_all};

const FIRST: &str = "/logs/2/00000000000000000000.seg";

fn files(disk: &MemoryDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.contents(&path).unwrap())).collect()
}

/// Returns a store with one partition of 30 records in several segments.
fn store(closes: bool) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk).segment_bytes(1_000)).unwrap();
    store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for number in 0..30_u8 {
        append_one(&partition, &[number; 80]);
    }
    store.commit_offset("g", "t", 0, 7, None).unwrap();
    if closes {
        store.close().unwrap();
    }
    disk.after_kill()
}

fn flip(disk: &MemoryDisk, path: &str, at: usize) {
    let mut bytes = disk.contents(Path::new(path)).unwrap();
    bytes[at] ^= 1;
    disk.put(Path::new(path), &bytes);
}

#[test]
fn whole_stores_are_whole_and_stay_byte_for_byte() {
    for closes in [true, false] {
        let disk = store(closes);
        let before = files(&disk);
        let report = check(&on(&disk)).unwrap();
        assert!(report.is_whole(), "{:?}", report.problems);
        assert_eq!(report.was_clean, closes);
        let [partition] = &report.partitions[..] else { panic!("{report:?}") };
        assert_eq!(
            (partition.topic.as_str(), partition.partition, partition.start, partition.end),
            ("t", 0, 0, 30)
        );
        assert!(partition.segments.len() > 3 && partition.segments.iter().all(|segment| segment.is_whole));
        let repaired = repair(&on(&disk)).unwrap();
        assert!(repaired.before.is_whole() && repaired.kept.is_empty());
        let mut after = files(&disk);
        // A repair takes the lock for writing.
        after.remove(Path::new("/LOCK"));
        assert!(after == before.into_iter().filter(|(path, _)| path != Path::new("/LOCK")).collect());
    }
}

#[test]
fn rot_in_a_closed_segment_is_found_repaired_and_not_found_again() {
    let disk = store(true);
    // In the payload of the third record: opening trusts the index and does not see it.
    flip(&disk, FIRST, 64 + 2 * 137 + 100);
    let before = files(&disk);
    assert!(!Store::open(on(&disk.after_kill())).unwrap().examine().unwrap().has_damage());
    let report = check(&on(&disk)).unwrap();
    assert!(files(&disk) == before, "a check changes nothing");
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((problem.repair, problem.lost), (RepairAction::RemoveDamage, Some((2, 3))));
    assert_eq!((problem.path.as_path(), problem.position), (Path::new(FIRST), 64 + 2 * 137));
    assert_eq!(problem.partition, Some(("t".to_owned(), 0)));
    assert_eq!(report.lost_offsets(), 1);
    assert!(!report.partitions[0].segments[0].is_whole);
    assert_eq!(report.partitions[0].segments[0].damaged_bytes, 137);

    let repaired = repair(&on(&disk)).unwrap();
    assert_eq!(repaired.before.problems, report.problems);
    assert!(repaired.after.is_whole(), "{:?}", repaired.after.problems);
    let kept: Vec<_> = repaired.kept.iter().map(|path| disk.contents(path).unwrap()).collect();
    assert_eq!(kept, [before[Path::new(FIRST)].clone()], "the damaged file is kept as it was");
    assert_eq!(repaired.after.partitions[0].known_gaps, [(2, 3)]);

    let store = Store::open(on(&disk)).unwrap();
    assert!(store.recovery_report().was_clean);
    let partition = store.partition("t", 0).unwrap();
    let mut reader = partition.reader(0).unwrap().verify(true);
    let mut offsets = Vec::new();
    let mut gaps = Vec::new();
    while reader.position() < 30 {
        let chunk = reader.next_chunk(1 << 20).unwrap();
        gaps.extend(chunk.gaps.iter().map(|gap| (gap.from, gap.to)));
        offsets.extend(chunk.batches.iter().map(|batch| batch.base_offset()));
    }
    assert_eq!(gaps, [(2, 3)], "readers still get the gap");
    assert_eq!(offsets, (0..30).filter(|offset| *offset != 2).collect::<Vec<_>>());
    assert!(!store.examine().unwrap().has_damage(), "known gaps are no damage");
    assert_eq!(append_one(&partition, b"next"), 30);
    assert_eq!(store.committed("g", "t", 0).unwrap().offset, 7);
}

#[test]
fn every_kind_of_damage_is_listed_with_its_repair() {
    let disk = store(false);
    let segments: Vec<_> =
        disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    // The header of one segment, the length of a batch in another, a missing one, and one of another log.
    flip(&disk, segments[0].to_str().unwrap(), 20);
    flip(&disk, segments[1].to_str().unwrap(), 64 + 137 + 10);
    disk.remove_file(&segments[2]).unwrap();
    let mut foreign = disk.contents(&segments[3]).unwrap();
    foreign[64..].fill(0xEE);
    disk.put(&segments[3], &foreign);
    disk.put(Path::new("/logs/99/00000000000000000000.seg"), b"unknown");
    let report = check(&on(&disk)).unwrap();
    let actions: Vec<_> = report.problems.iter().map(|problem| problem.repair).collect();
    for expected in [RepairAction::RemoveDamage, RepairAction::NoteLoss, RepairAction::SetAside] {
        assert!(actions.contains(&expected), "{expected:?} in {:#?}", report.problems);
    }
    let readable = readable(&disk.after_kill());
    let repaired = repair(&on(&disk)).unwrap();
    assert!(repaired.after.is_whole(), "{:?}", repaired.after.problems);
    assert_eq!(self::readable(&disk), readable);
    assert!(!repaired.kept.is_empty());
}

fn readable(disk: &MemoryDisk) -> Vec<i64> {
    let store = Store::open(on(disk)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let mut reader = partition.reader(partition.bounds().start).unwrap();
    let mut offsets = Vec::new();
    while reader.position() < partition.readable_end() {
        let chunk = reader.next_chunk(1 << 20).unwrap();
        offsets.extend(
            chunk
                .batches
                .iter()
                .filter(|batch| batch.verify_checksum().is_ok())
                .map(|batch| batch.base_offset()),
        );
    }
    store.close().unwrap();
    offsets
}

#[test]
fn damaged_or_missing_catalog_is_told_and_rebuilt() {
    for contents in [None, Some(&b"garbage"[..])] {
        let disk = store(true);
        match contents {
            Some(contents) => disk.put(Path::new("/meta.redb"), contents),
            None => disk.remove_file(Path::new("/meta.redb")).unwrap(),
        }
        let before = files(&disk);
        let report = check(&on(&disk)).unwrap();
        assert!(files(&disk) == before);
        assert_eq!(report.problems[0].repair, RepairAction::RebuildCatalog);
        assert_eq!(report.partitions[0].end, 30, "the partitions that a new catalog would have");
        assert!(repair(&on(&disk)).unwrap().after.is_whole());
        assert_eq!(readable(&disk).len(), 30);
    }
}

#[test]
fn torn_end_is_cut_by_a_repair_and_kept() {
    let disk = store(false);
    let last = disk.paths().into_iter().rfind(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
    let mut bytes = disk.contents(&last).unwrap();
    bytes.extend_from_slice(&30_i64.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 1]);
    disk.put(&last, &bytes);
    let report = check(&on(&disk)).unwrap();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((problem.repair, problem.lost), (RepairAction::CutEnd, None));
    assert_eq!(problem.position, bytes.len() as u64 - 11);
    assert_eq!(disk.contents(&last).unwrap(), bytes);
    let repaired = repair(&on(&disk)).unwrap();
    assert!(repaired.after.is_whole(), "{:?}", repaired.after.problems);
    let kept: Vec<_> = repaired.kept.iter().map(|path| disk.contents(path).unwrap()).collect();
    assert_eq!(kept, [bytes[bytes.len() - 11..].to_vec()]);
}

#[test]
fn missing_last_segment_is_told_whether_the_store_was_closed_or_not() {
    for closes in [true, false] {
        let disk = store(closes);
        let last =
            disk.paths().into_iter().rfind(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
        disk.remove_file(&last).unwrap();
        let report = check(&on(&disk)).unwrap();
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        let (from, to) = problem.lost.unwrap();
        assert!(from < 30 && to == 30, "{problem:?}");
        let store = Store::open(on(&disk.after_kill())).unwrap();
        let found = store.examine().unwrap();
        assert_eq!(found.gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>(), [(from, to)]);
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(append_one(&partition, b"next"), 30, "no lost offset is assigned anew");
        assert!(repair(&on(&disk)).unwrap().after.is_whole());
    }
}

#[test]
fn stores_in_use_are_neither_checked_nor_repaired() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    assert!(matches!(check(&on(&disk)), Err(LogError::Locked { .. })));
    assert!(matches!(repair(&on(&disk)), Err(LogError::Locked { .. })));
    assert!(matches!(Store::open(on(&disk).read_only(true)), Err(LogError::Locked { .. })));
    store.close().unwrap();
    let readers: Vec<_> = (0..3).map(|_| Store::open(on(&disk).read_only(true)).unwrap()).collect();
    assert!(matches!(Store::open(on(&disk)), Err(LogError::Locked { .. })));
    check(&on(&disk)).unwrap();
    for reader in readers {
        reader.close().unwrap();
    }
    Store::open(on(&disk)).unwrap();
}

#[test]
fn missing_stores_are_not_created_by_looking() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none");
    let config = || StoreConfig::at(&path);
    assert!(matches!(check(&config()), Err(LogError::Io { .. })));
    assert!(matches!(repair(&config()), Err(LogError::Io { .. })));
    assert!(matches!(Store::open(config().read_only(true)), Err(LogError::Io { .. })));
    assert!(!path.exists());
}

#[test]
fn read_only_stores_read_everything_and_write_nothing() {
    for closes in [true, false] {
        let memory = store(closes);
        let before = files(&memory);
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        for fault in [
            Fault::Write(std::io::ErrorKind::ReadOnlyFilesystem),
            Fault::Create(std::io::ErrorKind::ReadOnlyFilesystem),
            Fault::SetLen,
            Fault::Remove,
            Fault::Sync,
        ] {
            disk.plan(fault, "", 0, u64::MAX);
        }
        let store = Store::open(on(&memory).disk(Arc::new(disk)).read_only(true)).unwrap();
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(read_all(&partition, 0).unwrap().len(), 30);
        assert_eq!(partition.offset_for_time(1).unwrap(), Some(0));
        assert_eq!(store.committed("g", "t", 0).unwrap().offset, 7);
        store.check().unwrap();
        let refused: [Result<(), LogError>; 8] = [
            append(&partition, batch(1, 1, b"x")).map(drop),
            store.create_topic("new", TopicConfig::new()),
            store.delete_topic("t"),
            store.add_partitions("t", 5),
            store.commit_offset("g", "t", 0, 9, None),
            store.forget_offset("g", "t", 0),
            partition.delete_before(5),
            store.enforce_retention(i64::MAX),
        ];
        for result in refused {
            assert!(matches!(result, Err(LogError::ReadOnly { .. })), "{result:?}");
        }
        store.close().unwrap();
        assert!(files(&memory) == before);
    }
}

#[cfg(unix)]
#[test]
fn directories_that_cannot_be_written_are_read() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let config = || StoreConfig::at(directory.path());
    let store = Store::open(config()).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    append_one(&store.partition("t", 0).unwrap(), b"x");
    // Not closed: recovery runs in memory.
    drop(store);
    let set = |mode| {
        for path in ["", "logs", "logs/2", "LOCK", "meta.redb", "logs/2/00000000000000000000.seg"] {
            let path = directory.path().join(path);
            let file_mode = if path.is_dir() { mode } else { mode & 0o666 };
            std::fs::set_permissions(path, PermissionsExt::from_mode(file_mode)).unwrap();
        }
    };
    set(0o555);
    assert!(check(&config()).unwrap().is_whole());
    let store = Store::open(config().read_only(true)).unwrap();
    assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap().len(), 1);
    store.close().unwrap();
    set(0o755);
}
