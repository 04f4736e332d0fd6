//! What is left of a log whose file was cut or damaged at any byte.

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use floe_log::{
    Durability, LogError, Store, TopicConfig,
    disk::{Disk, MemoryDisk},
};
use support::{append, append_one, batch, on, read_all};

const HEADER: usize = 64;
const SIZES: [usize; 5] = [30, 1, 200, 77, 120];

/// A store that was never closed, with five batches of three offsets; the first `durable` of them are synced.
fn written(durable: usize) -> (MemoryDisk, Vec<(i64, Bytes)>) {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let mut expected = Vec::new();
    for (number, size) in SIZES.iter().enumerate() {
        let body = vec![number as u8 + 1; *size];
        let appended = append(&partition, batch(3, 1_000, &body)).unwrap();
        expected.push((appended.base_offset, Bytes::from(body)));
        if number + 1 == durable {
            store.flush().unwrap();
        }
    }
    (disk.after_kill(), expected)
}

fn segment(disk: &MemoryDisk) -> PathBuf {
    let mut segments = disk.paths();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    assert_eq!(segments.len(), 1);
    segments.remove(0)
}

/// Where batch `number` starts.
fn start_of(number: usize) -> usize {
    HEADER + SIZES[..number].iter().map(|size| 57 + size).sum::<usize>()
}

/// Opens a damaged disk and checks that exactly `kept` batches are there, that appends continue behind them, and that
/// all of that is still so after a clean reopening. Returns (offset, bytes) of the cut.
fn expect_kept(disk: &MemoryDisk, expected: &[(i64, Bytes)], kept: usize, what: &str) -> Option<(i64, u64)> {
    let store = Store::open(on(disk)).unwrap();
    let report = store.recovery_report().clone();
    assert!(!report.was_clean && report.corrupt.is_empty(), "{what}: {report:?}");
    assert!(report.cuts.len() <= 1, "{what}: {report:?}");
    let partition = store.partition("t", 0).unwrap();
    let mut there = expected[..kept].to_vec();
    assert_eq!(read_all(&partition, 0).unwrap(), there, "{what}");
    assert_eq!(partition.bounds().end, kept as i64 * 3, "{what}");
    assert_eq!(append_one(&partition, b"next"), kept as i64 * 3, "{what}");
    there.push((kept as i64 * 3, Bytes::from_static(b"next")));
    store.close().unwrap();
    let store = Store::open(on(disk)).unwrap();
    assert!(store.recovery_report().was_clean);
    assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap(), there, "{what}");
    report.cuts.first().map(|cut| {
        assert_eq!((cut.topic.as_str(), cut.partition), ("t", 0));
        (cut.offset, cut.bytes)
    })
}

#[test]
fn cut_at_every_byte_the_whole_batches_before_it_are_kept() {
    let (disk, expected) = written(0);
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    assert_eq!(whole.len(), start_of(5));
    for len in 0..=whole.len() {
        let damaged = disk.after_kill();
        damaged.put(&path, &whole[..len]);
        let kept = (0..5).rev().find(|number| start_of(number + 1) <= len).map_or(0, |last| last + 1);
        let cut = expect_kept(&damaged, &expected, kept, &format!("{len} bytes"));
        let torn = if len < HEADER { len } else { len - start_of(kept) };
        let reported = (torn > 0).then_some((kept as i64 * 3, torn as u64));
        assert_eq!(cut, reported, "{len} bytes");
    }
}

#[test]
fn with_any_byte_of_the_last_batch_flipped_it_is_cut() {
    let (disk, expected) = written(0);
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    for at in start_of(4)..whole.len() {
        for bit in [0x01, 0x80] {
            let damaged = disk.after_kill();
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            damaged.put(&path, &bytes);
            let cut = expect_kept(&damaged, &expected, 4, &format!("byte {at} flipped"));
            assert_eq!(cut, Some((12, (whole.len() - start_of(4)) as u64)), "byte {at} flipped");
        }
    }
}

#[test]
fn holes_of_zeros_repeats_and_garbage_are_cut() {
    let (disk, expected) = written(0);
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    let torn = |change: &dyn Fn(&mut Vec<u8>)| {
        let damaged = disk.after_kill();
        let mut bytes = whole.clone();
        change(&mut bytes);
        damaged.put(&path, &bytes);
        damaged
    };
    let zeros = torn(&|bytes| bytes[start_of(3) + 60..start_of(4) + 10].fill(0));
    assert!(expect_kept(&zeros, &expected, 3, "zeros").is_some());
    let repeat = torn(&|bytes| bytes.extend_from_within(start_of(4)..));
    assert_eq!(expect_kept(&repeat, &expected, 5, "the last batch twice"), Some((15, 57 + 120)));
    let garbage = torn(&|bytes| bytes.extend((0..5_000_u32).map(|n| (n * 31) as u8)));
    assert_eq!(expect_kept(&garbage, &expected, 5, "garbage"), Some((15, 5_000)));
    let grown = torn(&|bytes| bytes.resize(bytes.len() + 1_000, 0));
    assert_eq!(expect_kept(&grown, &expected, 5, "zeros at the end"), Some((15, 1_000)));
}

/// Whether the header of a batch no longer says where the next one is: these bytes lie outside the checksum, or lead
/// to an offset that does not follow.
fn breaks_the_chain(at: usize) -> bool {
    let within = at - (0..5).map(start_of).rfind(|start| *start <= at).unwrap();
    within < 17 || (23..27).contains(&within)
}

#[test]
fn damage_before_the_durable_point_is_reported_and_nothing_is_cut() {
    let (disk, expected) = written(3);
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    let other = {
        let store = Store::open(on(&disk.after_kill())).unwrap();
        store.recovery_report().clone()
    };
    assert!(other.cuts.is_empty() && other.corrupt.is_empty());
    for at in (start_of(0)..start_of(3)).step_by(3).chain([0, 8, 20, 63]) {
        for cuts in [false, true] {
            let damaged = disk.after_kill();
            let mut bytes = whole.clone();
            if cuts {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0x40;
            }
            damaged.put(&path, &bytes);
            // The index is only a cache, and would spare recovery the look at what it covers.
            damaged.put(&path.with_extension("idx"), b"");
            let store = Store::open(on(&damaged)).unwrap();
            store.create_topic("other", TopicConfig::new()).unwrap();
            assert_eq!(append_one(&store.partition("other", 0).unwrap(), b"x"), 0);
            let report = store.recovery_report();
            if !cuts && at >= HEADER && !breaks_the_chain(at) {
                assert_eq!((report.cuts.len(), report.corrupt.len()), (0, 0), "byte {at}");
                let hit =
                    expected.iter().rposition(|(offset, _)| start_of(*offset as usize / 3) <= at).unwrap();
                assert!(
                    matches!(&*report.damaged, [LogError::Corrupt { position, .. }] if *position == start_of(hit) as u64),
                    "byte {at}: {report:?}"
                );
                expect_one_damaged(&store, &expected, hit, at);
                continue;
            }
            assert_eq!((report.cuts.len(), report.corrupt.len()), (0, 1), "byte {at}");
            let error = store.partition("t", 0).unwrap_err();
            assert!(matches!(&error, LogError::Corrupt { path: named, .. } if named == &path), "{error}");
            store.close().unwrap();
            assert_eq!(damaged.contents(&path).unwrap(), bytes, "the file is left as it is");
        }
    }
    // Behind the durable point it is the end of the log that is torn.
    let (disk, expected) = written(3);
    let mut bytes = whole.clone();
    bytes[start_of(3) + 30] ^= 1;
    disk.put(&path, &bytes);
    assert!(expect_kept(&disk, &expected, 3, "behind the durable point").is_some());
}

/// Every batch comes, only the one that was hit with a wrong checksum, and appends continue behind the last.
fn expect_one_damaged(store: &Store, expected: &[(i64, Bytes)], hit: usize, at: usize) {
    let partition = store.partition("t", 0).unwrap();
    let mut reader = partition.reader(0).unwrap();
    let batches = reader.next_chunk(1 << 20).unwrap().batches;
    assert_eq!(batches.len(), expected.len(), "byte {at}");
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch.base_offset(), expected[number].0, "byte {at}");
        assert_eq!(batch.verify_checksum().is_err(), number == hit, "byte {at}");
    }
    assert_eq!(append_one(&partition, b"next"), expected.len() as i64 * 3, "byte {at}");
}

#[test]
fn a_rotten_batch_in_a_full_segment_does_not_take_the_others_along() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk).segment_bytes(500)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for _ in 0..20 {
        append_one(&partition, &[1; 100]);
    }
    store.flush().unwrap();
    let path = Path::new("/logs/2/00000000000000000004.seg");
    let whole = disk.contents(path).unwrap();
    let last = 64 + 157;
    for (at, is_readable) in [(last + 80, true), (last + 24, false)] {
        let damaged = disk.after_kill();
        let mut bytes = whole.clone();
        bytes[at] ^= 1; // in the records of offset 5, the last of its segment; in its count of offsets
        damaged.put(path, &bytes);
        damaged.remove_file(&path.with_extension("idx")).unwrap();
        let files = damaged.paths().len();
        let store = Store::open(on(&damaged)).unwrap();
        let report = store.recovery_report();
        assert!(report.cuts.is_empty(), "{report:?}");
        assert!(damaged.paths().len() >= files, "nothing is removed");
        assert_eq!((report.damaged.len(), report.corrupt.len()), if is_readable { (1, 0) } else { (1, 1) });
        if is_readable {
            let partition = store.partition("t", 0).unwrap();
            assert_eq!(read_all(&partition, 6).unwrap().len(), 14, "what follows is there");
            assert_eq!(partition.bounds().end, 20);
        }
    }
}

#[test]
fn an_index_of_before_a_power_loss_does_no_harm() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for number in 0..4_u8 {
        append_one(&partition, &vec![number; 70_000]);
    }
    store.flush().unwrap();
    let index = segment(&disk).with_extension("idx");
    let stale = disk.contents(&index).unwrap();
    drop((partition, store));
    // The same segment again, with other batches: what the index said of the lost ones is wrong for these.
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for number in 0..9_u8 {
        append_one(&partition, &vec![number; 40_000]);
    }
    store.flush().unwrap();
    let after = disk.after_kill();
    after.put(&index, &stale);
    let store = Store::open(on(&after)).unwrap();
    let report = store.recovery_report();
    assert!(report.corrupt.is_empty() && report.cuts.is_empty(), "{report:?}");
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(read_all(&partition, 0).unwrap().len(), 9);
    assert_eq!(read_all(&partition, 7).unwrap().len(), 2);
}

#[test]
fn logs_without_a_catalog_are_not_taken_for_leftovers() {
    for contents in [None, Some(b"")] {
        let (disk, _) = written(3);
        let path = segment(&disk);
        let catalog = Path::new("/meta.redb");
        disk.remove_file(catalog).unwrap();
        if let Some(contents) = contents {
            disk.put(catalog, contents);
        }
        for _ in 0..2 {
            let error = Store::open(on(&disk)).unwrap_err();
            assert!(matches!(&error, LogError::CatalogMissing { path } if path == catalog), "{error}");
            assert!(disk.contents(&path).is_some(), "the records are left alone");
        }
    }
}

#[test]
fn damage_after_a_clean_close_is_corruption_not_a_torn_end() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    append_one(&store.partition("t", 0).unwrap(), b"hello");
    store.close().unwrap();
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    // The records: only their batch is lost.
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    disk.put(&path, &bytes);
    let store = Store::open(on(&disk)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let error = read_all(&partition, 0).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert_eq!(partition.bounds().end, 1);
    drop(partition);
    store.close().unwrap();
    // The place of the next batch: what follows cannot be told.
    for at in [8, 26] {
        let mut bytes = whole.clone();
        bytes[64 + at] ^= 1;
        disk.put(&path, &bytes);
        let store = Store::open(on(&disk)).unwrap();
        let error = store.partition("t", 0).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { position: 64, .. }), "{error}");
        drop(store);
        assert_eq!(disk.contents(&path).unwrap(), bytes, "the file is left as it is");
        disk.put(Path::new("/CLEAN"), b"closed\n");
    }
}

#[test]
fn bit_rot_in_an_old_segment_is_met_by_the_reader_that_checks() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk).segment_bytes(500)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for _ in 0..20 {
        append_one(&partition, &[1; 100]);
    }
    store.close().unwrap();
    let path = Path::new("/logs/2/00000000000000000004.seg");
    let mut bytes = disk.contents(path).unwrap();
    bytes[64 + 57 + 5] ^= 1; // in the record at offset 4
    disk.put(path, &bytes);
    let store = Store::open(on(&disk)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(partition.bounds().end, 20);
    assert!(matches!(read_all(&partition, 0), Err(LogError::Corrupt { .. })));
    assert_eq!(read_all(&partition, 6).unwrap().len(), 14, "the rest is fine");
    // Without the check the batch comes as it is, and the consumer finds the wrong checksum.
    let mut reader = partition.reader(4).unwrap();
    let batch = reader.next_chunk(1).unwrap().batches.remove(0);
    assert!(batch.verify_checksum().is_err());
}

#[test]
fn a_lost_segment_in_the_middle_is_not_skipped() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk).segment_bytes(500)).unwrap();
    store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for _ in 0..20 {
        append_one(&partition, &[1; 100]);
    }
    store.flush().unwrap();
    let damaged = disk.after_kill();
    damaged.remove_file(Path::new("/logs/2/00000000000000000006.seg")).unwrap();
    let files = damaged.paths().len();
    let store = Store::open(on(&damaged)).unwrap();
    assert!(matches!(store.partition("t", 0), Err(LogError::Corrupt { .. })));
    assert_eq!((store.recovery_report().corrupt.len(), store.recovery_report().cuts.len()), (1, 0));
    assert!(damaged.paths().len() >= files, "nothing is removed");
}

#[test]
fn segments_behind_a_cut_go_with_it() {
    let (disk, expected) = written(0);
    let path = segment(&disk);
    let second = path.with_file_name("00000000000000000015.seg");
    // A second segment by hand, as docs/formats/log.md has it.
    let mut bytes = disk.contents(&path).unwrap();
    bytes[20..28].copy_from_slice(&15_i64.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_be_bytes());
    bytes.truncate(start_of(1));
    bytes[64..72].copy_from_slice(&15_i64.to_be_bytes());
    disk.put(&second, &bytes);
    {
        let store = Store::open(on(&disk.after_kill())).unwrap();
        assert!(store.recovery_report().cuts.is_empty(), "{:?}", store.recovery_report());
        assert_eq!(store.partition("t", 0).unwrap().bounds().end, 18);
    }
    let mut torn = disk.contents(&path).unwrap();
    torn[start_of(2) + 40] ^= 1;
    disk.put(&path, &torn);
    let store = Store::open(on(&disk)).unwrap();
    let cuts: Vec<_> = store.recovery_report().cuts.iter().map(|cut| (cut.offset, cut.bytes)).collect();
    assert_eq!(cuts, [(6, (start_of(5) - start_of(2)) as u64), (6, start_of(1) as u64)]);
    assert!(disk.contents(&second).is_none());
    assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap(), expected[..2]);
}

#[test]
fn a_segment_that_was_only_begun_before_the_power_failed_is_not_a_cut() {
    let disk = MemoryDisk::with_power_loss();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append(&partition, batch(3, 1, b"body")).unwrap();
    // Everything goes, and the next segment has a name but no header on the disk.
    partition.delete_before(3).unwrap();
    let after = disk.after_power_loss(|| false);
    let store = Store::open(on(&after)).unwrap();
    assert!(store.recovery_report().cuts.is_empty(), "{:?}", store.recovery_report());
    let partition = store.partition("t", 0).unwrap();
    assert_eq!((partition.bounds().start, partition.bounds().end), (3, 3));
    assert_eq!(append_one(&partition, b"next"), 3);
}
