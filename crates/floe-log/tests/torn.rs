//! Recovery of a log whose file was truncated or damaged at any byte.

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

/// Writes a store that is never closed, with five batches of three offsets; the first `durable` of them are synced.
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

/// Returns the position of batch `number`.
fn start_of(number: usize) -> usize {
    HEADER + SIZES[..number].iter().map(|size| 57 + size).sum::<usize>()
}

/// Opens a damaged disk and checks that exactly `kept` batches remain, that appends continue behind them, and that both
/// hold after a clean reopening. Returns (offset, bytes) of the truncation.
fn expect_kept(
    disk: &MemoryDisk,
    expected: &[(i64, Bytes)],
    kept: usize,
    damage: &str,
) -> Option<(i64, u64)> {
    let store = Store::open(on(disk)).unwrap();
    let report = store.recovery_report().clone();
    assert!(!report.was_clean && report.corrupt.is_empty(), "{damage}: {report:?}");
    assert!(report.cuts.len() <= 1, "{damage}: {report:?}");
    let partition = store.partition("t", 0).unwrap();
    let mut present = expected[..kept].to_vec();
    assert_eq!(read_all(&partition, 0).unwrap(), present, "{damage}");
    assert_eq!(partition.bounds().end, kept as i64 * 3, "{damage}");
    assert_eq!(append_one(&partition, b"next"), kept as i64 * 3, "{damage}");
    present.push((kept as i64 * 3, Bytes::from_static(b"next")));
    store.close().unwrap();
    let store = Store::open(on(disk)).unwrap();
    assert!(store.recovery_report().was_clean);
    assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap(), present, "{damage}");
    report.cuts.first().map(|cut| {
        assert_eq!((cut.topic.as_str(), cut.partition), ("t", 0));
        (cut.offset, cut.bytes)
    })
}

#[test]
fn truncation_at_any_byte_keeps_the_whole_batches_before_it() {
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
fn last_batch_is_truncated_if_any_byte_is_flipped() {
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
fn zeros_duplicates_and_garbage_at_the_end_are_truncated() {
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
    let duplicate = torn(&|bytes| bytes.extend_from_within(start_of(4)..));
    assert_eq!(expect_kept(&duplicate, &expected, 5, "the last batch twice"), Some((15, 57 + 120)));
    let garbage = torn(&|bytes| bytes.extend((0..5_000_u32).map(|n| (n * 31) as u8)));
    assert_eq!(expect_kept(&garbage, &expected, 5, "garbage"), Some((15, 5_000)));
    let grown = torn(&|bytes| bytes.resize(bytes.len() + 1_000, 0));
    assert_eq!(expect_kept(&grown, &expected, 5, "zeros at the end"), Some((15, 1_000)));
}

/// Returns whether damage to this byte hides the position of the next batch: the byte lies outside the checksum, or
/// determines the next offset.
fn breaks_the_chain(at: usize) -> bool {
    let within = at - (0..5).map(start_of).rfind(|start| *start <= at).unwrap();
    within < 17 || (23..27).contains(&within)
}

#[test]
fn damage_before_the_durable_point_is_reported_and_not_truncated() {
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
            // With the index, recovery would not scan the bytes that it covers.
            damaged.put(&path.with_extension("idx"), b"");
            let store = Store::open(on(&damaged)).unwrap();
            store.create_topic("other", TopicConfig::new()).unwrap();
            assert_eq!(append_one(&store.partition("other", 0).unwrap(), b"x"), 0);
            let report = store.recovery_report();
            assert_eq!((report.cuts.len(), report.corrupt.len()), (0, 0), "byte {at}");
            if !cuts && at >= HEADER && !breaks_the_chain(at) {
                let hit = batch_at(at);
                assert!(
                    matches!(&*report.damaged, [LogError::Corrupt { position, .. }] if *position == start_of(hit) as u64),
                    "byte {at}: {report:?}"
                );
                expect_one_damaged(&store, &expected, hit, at);
                continue;
            }
            // The batch that holds the byte is lost, or all from there on to the durable point, and nothing else.
            let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
            let (lost, next) = match (cuts, at < HEADER) {
                (true, true) => (0..5, 9),
                (true, false) => (batch_at(at)..5, 9),
                (false, true) => (0..0, 15),
                (false, false) => (batch_at(at)..batch_at(at) + 1, 15),
            };
            let to = if cuts { 9 } else { lost.end as i64 * 3 };
            let told = if lost.is_empty() { vec![] } else { vec![(lost.start as i64 * 3, to)] };
            assert_eq!(gaps, told, "byte {at}, cuts {cuts}: {report:?}");
            assert!(report.has_damage());
            let partition = store.partition("t", 0).unwrap();
            let kept: Vec<_> = expected.iter().enumerate().filter(|(n, _)| !lost.contains(n)).collect();
            let kept: Vec<_> = kept.into_iter().map(|(_, batch)| batch.clone()).collect();
            assert_eq!(read_all(&partition, 0).unwrap(), kept, "byte {at}, cuts {cuts}");
            assert_eq!(append_one(&partition, b"next"), next, "no offset is assigned twice");
            store.close().unwrap();
            if cuts {
                assert_eq!(damaged.contents(&path).unwrap(), bytes, "the file is unchanged");
            }
        }
    }
    // Behind the durable point, damage without whole batches after it is a torn end.
    let (disk, expected) = written(3);
    let mut bytes = disk.contents(&path).unwrap();
    bytes[start_of(4) + 30] ^= 1;
    disk.put(&path, &bytes);
    assert!(expect_kept(&disk, &expected, 4, "behind the durable point").is_some());
}

/// Returns the number of the batch that holds this byte.
fn batch_at(at: usize) -> usize {
    (0..5).rfind(|number| start_of(*number) <= at).unwrap()
}

/// Checks that all batches are returned, only the damaged one with a wrong checksum, and that appends continue.
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
fn bit_rot_in_a_full_segment_affects_one_batch() {
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
        bytes[at] ^= 1; // the records of offset 5, the last in its segment; or its offset count
        damaged.put(path, &bytes);
        damaged.remove_file(&path.with_extension("idx")).unwrap();
        let files = damaged.paths().len();
        let store = Store::open(on(&damaged)).unwrap();
        let report = store.recovery_report();
        assert!(report.cuts.is_empty(), "{report:?}");
        assert!(damaged.paths().len() >= files, "nothing is removed");
        let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!((report.damaged.len(), gaps), (1, if is_readable { vec![] } else { vec![(5, 6)] }));
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(read_all(&partition, 6).unwrap().len(), 14, "later batches are readable");
        assert_eq!(
            read_all(&partition, 0).map(|all| all.len()).unwrap_or(0),
            if is_readable { 0 } else { 19 }
        );
        assert_eq!(partition.bounds().end, 20);
    }
}

#[test]
fn flushed_bytes_are_behind_the_recovery_point_when_flush_returns() {
    // Many rounds, because a sync thread stores durable points of full segments concurrently.
    for round in 0..20 {
        let disk = MemoryDisk::new();
        let store = Store::open(on(&disk).segment_bytes(500)).unwrap();
        store.create_topic("t", TopicConfig::new()).unwrap();
        let partition = store.partition("t", 0).unwrap();
        for _ in 0..20 {
            append_one(&partition, &[1; 100]);
        }
        store.flush().unwrap();
        let damaged = disk.after_kill();
        let path = Path::new("/logs/2/00000000000000000018.seg");
        let mut bytes = damaged.contents(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        damaged.put(path, &bytes);
        let store = Store::open(on(&damaged)).unwrap();
        let report = store.recovery_report();
        assert_eq!((report.cuts.len(), report.damaged.len()), (0, 1), "round {round}: {report:?}");
    }
}

#[test]
fn stale_index_from_before_a_power_loss_is_harmless() {
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
    // The same segment with other batches: the stale index points into the middle of them.
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
fn logs_without_a_catalog_are_not_removed() {
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
            assert!(disk.contents(&path).is_some(), "the records remain");
        }
    }
}

#[test]
fn damage_after_a_clean_close_is_reported() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    append_one(&store.partition("t", 0).unwrap(), b"hello");
    store.close().unwrap();
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    // Damaged records affect only their batch.
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
    // A damaged length or offset count hides the position of the next batch.
    for at in [8, 26] {
        let mut bytes = whole.clone();
        bytes[64 + at] ^= 1;
        disk.put(&path, &bytes);
        let store = Store::open(on(&disk)).unwrap();
        let report = store.examine().unwrap();
        assert!(matches!(&*report.damaged, [LogError::Corrupt { position: 64, .. }]), "{report:?}");
        let partition = store.partition("t", 0).unwrap();
        let chunk = partition.reader(0).unwrap().next_chunk(1 << 20).unwrap();
        let gaps: Vec<_> = chunk.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!((gaps, chunk.batches.len(), partition.bounds().end), (vec![(0, 1)], 0, 1));
        drop((partition, store));
        assert_eq!(disk.contents(&path).unwrap(), bytes, "the file is unchanged");
        disk.put(Path::new("/CLEAN"), b"closed\n");
    }
}

#[test]
fn verifying_reader_detects_bit_rot() {
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
    assert_eq!(read_all(&partition, 6).unwrap().len(), 14, "the rest is readable");
    // Without verification the reader returns the batch, and the consumer detects the wrong checksum.
    let mut reader = partition.reader(4).unwrap();
    let batch = reader.next_chunk(1).unwrap().batches.remove(0);
    assert!(batch.verify_checksum().is_err());
}

#[test]
fn missing_segment_is_a_gap() {
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
    let report = store.recovery_report();
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
    assert_eq!((gaps, report.corrupt.len(), report.cuts.len()), (vec![(6, 8)], 0, 0));
    assert!(damaged.paths().len() >= files, "nothing is removed");
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(read_all(&partition, 0).unwrap().len(), 18, "the other segments are readable");
    let chunk = partition.reader(7).unwrap().next_chunk(1 << 20).unwrap();
    assert_eq!((chunk.gaps[0].from, chunk.gaps[0].to, chunk.batches[0].base_offset()), (7, 8, 8));
    assert_eq!(append_one(&partition, b"next"), 20);
}

#[test]
fn lost_end_behind_the_checkpoint_is_found_by_the_acknowledged_end() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk).segment_bytes(500)).unwrap();
    store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for _ in 0..11 {
        append_one(&partition, &[1; 100]);
    }
    let last = Path::new("/logs/2/00000000000000000010.seg");
    let whole = disk.contents(last).unwrap();
    for left in [None, Some(whole.len() - 10), Some(HEADER), Some(0)] {
        let damaged = disk.after_kill();
        match left {
            None => damaged.remove_file(last).unwrap(),
            Some(len) => damaged.put(last, &whole[..len]),
        }
        let store = Store::open(on(&damaged)).unwrap();
        let report = store.recovery_report();
        let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!((gaps, report.cuts.len()), (vec![(10, 11)], 0), "{left:?}: {report:?}");
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(append_one(&partition, b"next"), 11, "{left:?}");
        assert_eq!(read_all(&partition, 0).unwrap().len(), 11, "{left:?}");
        store.close().unwrap();
        let store = Store::open(on(&damaged)).unwrap();
        let gaps: Vec<_> = store.examine().unwrap().gaps.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(gaps, [(10, 11)], "the loss stays visible");
    }
}

#[test]
fn rot_behind_the_checkpoint_costs_its_batch() {
    let (disk, expected) = written(0);
    let path = segment(&disk);
    let second = path.with_file_name("00000000000000000015.seg");
    // Builds a second segment after docs/formats/log.md.
    let mut bytes = disk.contents(&path).unwrap();
    bytes[20..28].copy_from_slice(&15_i64.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_be_bytes());
    bytes.truncate(start_of(1));
    bytes[64..72].copy_from_slice(&15_i64.to_be_bytes());
    disk.put(&second, &bytes);
    let whole = disk.contents(&path).unwrap();
    for (byte, is_readable) in [(40, true), (9, false), (3, false)] {
        let damaged = disk.after_kill();
        let mut bytes = whole.clone();
        bytes[start_of(2) + byte] ^= 1;
        damaged.put(&path, &bytes);
        let store = Store::open(on(&damaged)).unwrap();
        let report = store.recovery_report();
        assert!(report.cuts.is_empty(), "{report:?}");
        assert_eq!((report.damaged.len(), report.gaps.len()), if is_readable { (1, 0) } else { (0, 1) });
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(partition.bounds().end, 18);
        let mut reader = partition.reader(0).unwrap();
        let (mut good, mut bad) = (Vec::new(), 0);
        while reader.position() < 18 {
            let chunk = reader.next_chunk(1 << 20).unwrap();
            bad += chunk.gaps.len();
            for batch in chunk.batches {
                match batch.verify_checksum() {
                    Ok(()) => good.push(batch.base_offset()),
                    Err(_) => bad += 1,
                }
            }
        }
        assert_eq!((good, bad), (vec![0, 3, 9, 12, 15], 1));
        assert_eq!(expected[3].0, 9);
    }
}

#[test]
fn batch_inside_a_damaged_payload_is_not_taken_for_a_stored_one() {
    let disk = MemoryDisk::new();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let inner = batch(1, 1, b"embedded").with_base_offset(1).to_bytes();
    append(&partition, batch(3, 1, &[&[7; 30], &inner[..], &[7; 30]].concat())).unwrap();
    append(&partition, batch(3, 1, b"next")).unwrap();
    let disk = disk.after_kill();
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    for byte in 0..17 {
        let damaged = disk.after_kill();
        let mut bytes = whole.clone();
        bytes[HEADER + byte] ^= 0x20;
        damaged.put(&path, &bytes);
        let store = Store::open(on(&damaged)).unwrap();
        let found = read_all(&store.partition("t", 0).unwrap(), 0).unwrap();
        assert_eq!(found, [(3, Bytes::from_static(b"next"))], "byte {byte}");
    }
}

#[test]
fn cut_bytes_are_kept() {
    let (disk, _) = written(0);
    let path = segment(&disk);
    let whole = disk.contents(&path).unwrap();
    disk.put(&path, &whole[..whole.len() - 1]);
    let store = Store::open(on(&disk)).unwrap();
    let kept = store.recovery_report().cuts[0].kept.clone().unwrap();
    assert!(kept.starts_with("/lost+found/2"), "{}", kept.display());
    assert_eq!(disk.contents(&kept).unwrap(), &whole[start_of(4)..whole.len() - 1]);
}

#[test]
fn empty_segment_after_a_power_loss_is_not_reported() {
    let disk = MemoryDisk::with_power_loss();
    let store = Store::open(on(&disk)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append(&partition, batch(3, 1, b"body")).unwrap();
    // Removes all records; the next segment has a name but no header on the disk.
    partition.delete_before(3).unwrap();
    let after = disk.after_power_loss(|| false);
    let store = Store::open(on(&after)).unwrap();
    assert!(store.recovery_report().cuts.is_empty(), "{:?}", store.recovery_report());
    let partition = store.partition("t", 0).unwrap();
    assert_eq!((partition.bounds().start, partition.bounds().end), (3, 3));
    assert_eq!(append_one(&partition, b"next"), 3);
}
