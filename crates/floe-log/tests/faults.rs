//! Disk faults: full disk, failed and short writes, failed syncs, power loss.

mod support;

use std::{
    io,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use floe_log::{
    Durability, LogError, Store, TopicConfig, TryChunk,
    disk::{Fault, MemoryDisk},
};
use support::{append, append_one, batch, faulty, on, read_all};

#[test]
fn failed_write_fails_only_its_batch() {
    let faults = [Fault::Full(0), Fault::Full(30), Fault::Full(100), Fault::Write(io::ErrorKind::Other)];
    for fault in faults {
        for durability in [Durability::Os, Durability::Always] {
            let memory = MemoryDisk::new();
            let (disk, config) = faulty(&memory);
            let store = Store::open(config).unwrap();
            store.create_topic("t", TopicConfig::new().durability(durability)).unwrap();
            let partition = store.partition("t", 0).unwrap();
            append_one(&partition, b"before");
            disk.plan(fault, ".seg", 0, 2);
            for _ in 0..2 {
                let error = append(&partition, batch(4, 1, &[9; 200])).unwrap_err();
                match fault {
                    Fault::Full(_) => {
                        assert!(matches!(error, LogError::DiskFull { .. }), "{error}");
                        assert!(error.to_string().contains("no space left"), "{error}");
                    }
                    _ => assert!(matches!(error, LogError::Io { operation: "write", .. }), "{error}"),
                }
            }
            assert_eq!(append_one(&partition, b"after"), 1, "offsets have no gap");
            let expected = [(0, Bytes::from_static(b"before")), (1, Bytes::from_static(b"after"))];
            assert_eq!(read_all(&partition, 0).unwrap(), expected);
            drop((partition, store));
            let store = Store::open(on(&memory)).unwrap();
            assert!(store.recovery_report().cuts.is_empty(), "no torn end remains");
            assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap(), expected);
        }
    }
}

#[test]
fn short_writes_are_continued() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for limit in [1, 7, 16, 17, 60, 1_000] {
        disk.plan(Fault::ShortWrite(limit), ".seg", 0, 40);
        append_one(&partition, &[limit as u8; 300]);
        disk.heal();
    }
    let all = read_all(&partition, 0).unwrap();
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|(_, body)| body.len() == 300));
}

#[test]
fn no_batch_overtakes_a_failed_one_of_the_same_run() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config.segment_bytes(400)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let (answer, answered) = mpsc::channel();
    // Queued within a completion, so that the next drain takes all of them; they fill three segments.
    let again = Arc::clone(&partition);
    let faults = disk.clone();
    partition.submit(batch(1, 1, b"first"), move |first| {
        first.unwrap();
        faults.plan(Fault::Full(10), ".seg", 1, 1);
        for number in 0..8 {
            let answer = answer.clone();
            again.submit(batch(1, 1, &[number; 80]), move |result| {
                answer.send((number, result.map(|appended| appended.base_offset))).unwrap();
            });
        }
    });
    let answers: Vec<_> = answered.iter().collect();
    let stored = answers.iter().take_while(|(_, result)| result.is_ok()).count();
    assert!((1..8).contains(&stored), "{answers:?}");
    assert!(answers[stored..].iter().all(|(_, result)| result.is_err()), "{answers:?}");
    assert_eq!(partition.bounds().end, 1 + stored as i64);
    assert_eq!(append_one(&partition, b"later"), 1 + stored as i64);
    assert_eq!(read_all(&partition, 0).unwrap().len(), 2 + stored);
}

#[test]
fn appends_work_again_once_a_full_disk_has_room_for_a_new_segment() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config.segment_bytes(300)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append_one(&partition, &[1; 200]);
    for fault in [Fault::Create(io::ErrorKind::StorageFull), Fault::Full(20)] {
        disk.plan(fault, ".seg", 0, 1);
        assert!(matches!(append(&partition, batch(1, 1, &[2; 200])), Err(LogError::DiskFull { .. })));
    }
    assert_eq!(append_one(&partition, &[3; 200]), 1);
    assert_eq!(read_all(&partition, 0).unwrap().len(), 2);
    drop((partition, store));
    let store = Store::open(on(&memory)).unwrap();
    assert!(store.recovery_report().cuts.is_empty(), "{:?}", store.recovery_report());
    assert_eq!(store.partition("t", 0).unwrap().bounds().end, 2);
}

#[test]
fn failed_undo_stops_the_partition_until_recovery() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append_one(&partition, b"good");
    disk.plan(Fault::Full(70), ".seg", 0, 1);
    disk.plan(Fault::SetLen, ".seg", 0, 1);
    assert!(matches!(append(&partition, batch(1, 1, &[1; 90])), Err(LogError::DiskFull { .. })));
    assert!(matches!(append(&partition, batch(1, 1, b"x")), Err(LogError::Io { operation: "truncate", .. })));
    assert_eq!(read_all(&partition, 0).unwrap().len(), 1, "stored batches are readable");
    append_one(&store.partition("t", 1).unwrap(), b"other partitions continue");
    drop((partition, store));
    let store = Store::open(on(&memory)).unwrap();
    assert_eq!(store.recovery_report().cuts[0].bytes, 70);
    assert_eq!(append_one(&store.partition("t", 0).unwrap(), b"again"), 1);
}

#[test]
fn failed_sync_stops_the_store() {
    for nth in 0..4 {
        let memory = MemoryDisk::with_power_loss();
        let (disk, config) = faulty(&memory);
        let store = Store::open(config).unwrap();
        store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
        store.create_topic("os", TopicConfig::new()).unwrap();
        let partition = store.partition("t", 0).unwrap();
        disk.plan(Fault::Sync, ".seg", nth, 1);
        for expected in 0..nth as i64 {
            assert_eq!(append_one(&partition, b"synced"), expected);
        }
        for _ in 0..2 {
            // The disk works again, but the store acknowledges nothing.
            let error = append(&partition, batch(1, 1, b"lost")).unwrap_err();
            assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
        }
        assert_eq!(read_all(&partition, 0).unwrap().len(), nth as usize, "only synced batches are readable");
        let other = store.partition("os", 0).unwrap();
        assert!(matches!(append(&other, batch(1, 1, b"x")), Err(LogError::Poisoned { .. })));
        assert!(matches!(store.flush(), Err(LogError::Poisoned { .. })));
        assert!(matches!(store.close(), Err(LogError::Poisoned { .. })));

        let after = memory.after_power_loss(|| false);
        let store = Store::open(on(&after)).unwrap();
        assert!(!store.recovery_report().was_clean);
        assert_eq!(store.partition("t", 0).unwrap().bounds().end, nth as i64);
        assert_eq!(append_one(&store.partition("t", 0).unwrap(), b"works again"), nth as i64);
    }
}

#[test]
fn durably_acknowledged_batches_survive_a_power_loss_at_any_moment() {
    // A deterministic generator: the surviving pages differ between rounds but not between runs.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let memory = MemoryDisk::with_power_loss();
    let store = Store::open(on(&memory).segment_bytes(20_000)).unwrap();
    store.create_topic("always", TopicConfig::new().durability(Durability::Always)).unwrap();
    store.create_topic("os", TopicConfig::new()).unwrap();
    let (always, os) = (store.partition("always", 0).unwrap(), store.partition("os", 0).unwrap());
    let mut acknowledged = Vec::new();
    let mut written = Vec::new();
    for round in 0..60_u8 {
        let body = vec![round; 1 + (random() % 5_000) as usize];
        let offset = append_one(&always, &body);
        acknowledged.push((offset, Bytes::from(body.clone())));
        written.push((append_one(&os, &body), Bytes::from(body)));
        // In flight at the power loss: may or may not survive.
        always.submit(batch(1, 1, &[255; 3_000]), |_| {});
        if round == 30 {
            store.flush().unwrap();
        }
        let keep_none = round % 3 == 0;
        let after = memory.after_power_loss(|| !keep_none && random() % 2 == 0);
        let reopened = Store::open(on(&after)).unwrap();
        assert!(reopened.recovery_report().corrupt.is_empty(), "{:?}", reopened.recovery_report());
        let recovered = read_all(&reopened.partition("always", 0).unwrap(), 0).unwrap();
        let known: Vec<_> = recovered.into_iter().filter(|(_, body)| body[0] != 255).collect();
        assert_eq!(known, acknowledged, "round {round}");
        let prefix = read_all(&reopened.partition("os", 0).unwrap(), 0).unwrap();
        assert_eq!(prefix, written[..prefix.len()], "no gap and no torn batch");
        if round >= 30 {
            assert!(prefix.len() > 30, "flushed batches survive");
        }
        // Waits for the batch in flight, so that the next round starts with a known end.
        let (answer, answered) = mpsc::channel();
        always.submit(batch(1, 1, &[255]), move |result| answer.send(result).unwrap());
        answered.recv().unwrap().unwrap();
    }
}

#[test]
fn readers_of_an_always_topic_see_only_synced_batches() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new().durability(Durability::Always)).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let mut reader = partition.reader(0).unwrap();
    append_one(&partition, b"synced");
    disk.plan(Fault::Sync, ".seg", 0, 1);
    assert!(append(&partition, batch(1, 1, b"not synced")).is_err());
    assert_eq!((partition.bounds().end, partition.bounds().durable_end), (2, 1));
    assert_eq!(reader.next_chunk(1 << 20).unwrap().batches.len(), 1);
    assert!(reader.next_chunk(1 << 20).unwrap().batches.is_empty());
    assert!(matches!(partition.reader(2), Err(LogError::OutOfRange { end: 1, .. })));
}

#[test]
fn uncached_bytes_are_left_to_a_call_that_may_block() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config.tail_bytes(0)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append_one(&partition, b"x");
    let mut reader = partition.reader(0).unwrap();
    disk.plan(Fault::NotCached, ".seg", 0, 1);
    assert_eq!(reader.try_next_chunk(100).unwrap(), TryChunk::WouldBlock);
    assert_eq!(reader.next_chunk(100).unwrap().batches.len(), 1, "no batch is skipped");
    append_one(&partition, b"y");
    let TryChunk::Ready(chunk) = reader.try_next_chunk(100).unwrap() else { panic!("cached") };
    assert_eq!(chunk.batches[0].base_offset(), 1);
    append_one(&partition, b"z");
    disk.plan(Fault::Read, ".seg", 0, 1);
    assert!(matches!(reader.next_chunk(100), Err(LogError::Io { operation: "read", .. })));
    assert_eq!(reader.next_chunk(100).unwrap().batches[0].base_offset(), 2, "an error skips no batch");
}

#[test]
fn failed_offset_commit_is_not_acknowledged() {
    let memory = MemoryDisk::with_power_loss();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    append(&store.partition("t", 0).unwrap(), batch(2, 1, b"x")).unwrap();
    store.flush().unwrap();
    store.commit_offset("g", "t", 0, 1, None).unwrap();
    disk.plan(Fault::Sync, "meta.redb", 0, 1);
    assert!(matches!(store.commit_offset("g", "t", 0, 2, None), Err(LogError::Catalog { .. })));
    assert_eq!(store.committed("g", "t", 0).unwrap().offset, 1);
    let store = Store::open(on(&memory.after_power_loss(|| false))).unwrap();
    assert_eq!(store.committed("g", "t", 0).unwrap().offset, 1);
}

#[test]
fn committed_offsets_move_back_to_the_end_after_a_power_loss() {
    let memory = MemoryDisk::with_power_loss();
    let store = Store::open(on(&memory)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    append(&partition, batch(3, 1, b"kept")).unwrap();
    store.flush().unwrap();
    append(&partition, batch(5, 1, b"lost")).unwrap();
    for (group, offset) in [("behind", 2), ("at", 3), ("ahead", 7)] {
        store.commit_offset(group, "t", 0, offset, Some("note")).unwrap();
    }
    let after = memory.after_power_loss(|| false);
    for reopened in [false, true] {
        let store = Store::open(on(&after)).unwrap();
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(partition.bounds().end, if reopened { 4 } else { 3 });
        let rewound: Vec<_> =
            store.recovery_report().rewound.iter().map(|c| (c.group.as_str(), c.offset)).collect();
        assert_eq!(rewound, if reopened { vec![] } else { vec![("ahead", 7)] });
        // Otherwise the group would skip the records appended in place of the lost ones.
        let found: Vec<_> = store.committed_all(None).into_iter().map(|c| (c.group, c.offset)).collect();
        assert_eq!(found, [("ahead".to_owned(), 3), ("at".to_owned(), 3), ("behind".to_owned(), 2)]);
        assert_eq!(store.committed("ahead", "t", 0).unwrap().metadata, "note");
        if !reopened {
            append_one(&partition, b"new");
        }
    }
}

#[test]
fn failed_checkpoint_is_retried() {
    let memory = MemoryDisk::with_power_loss();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    append_one(&store.partition("t", 0).unwrap(), b"x");
    disk.plan(Fault::Sync, "meta.redb", 0, u64::MAX);
    assert!(matches!(store.flush(), Err(LogError::Catalog { .. })));
    assert!(matches!(store.close(), Err(LogError::Catalog { .. })), "the durable point is still not stored");
    let store = Store::open(on(&memory.after_power_loss(|| false))).unwrap();
    assert!(!store.recovery_report().was_clean);
    assert_eq!(store.partition("t", 0).unwrap().bounds().end, 1);
}

/// Fails every write and growth of the catalog in turn: a failed change is not stored, and the next one succeeds as
/// soon as the disk works.
#[test]
fn catalog_recovers_from_any_failure_except_a_failed_sync() {
    let faults = [
        Fault::Write(io::ErrorKind::StorageFull),
        Fault::Full(100),
        Fault::Full(1000),
        Fault::Write(io::ErrorKind::Other),
        Fault::SetLen,
    ];
    for fault in faults {
        let mut failures = 0;
        for skip in 0..200 {
            let memory = MemoryDisk::new();
            let (disk, config) = faulty(&memory);
            let store = Store::open(config).unwrap();
            store.create_topic("kept", TopicConfig::new()).unwrap();
            append_one(&store.partition("kept", 0).unwrap(), b"x");
            store.commit_offset("g", "kept", 0, 1, None).unwrap();
            disk.plan(fault, "meta.redb", skip, 1);
            // Large enough for the file to grow with `SetLen`, which is slower.
            let mut large = TopicConfig::new();
            let size = if fault == Fault::SetLen { 2 << 20 } else { 64 << 10 };
            large.metadata.insert("note".to_owned(), "n".repeat(size));
            let outcome = store.create_topic("new", large);
            let fault_was_not_reached = disk.still_planned() > 0;
            disk.heal();
            let is_full = matches!(fault, Fault::Write(io::ErrorKind::StorageFull) | Fault::Full(_));
            match &outcome {
                Ok(()) => {}
                Err(LogError::DiskFull { path }) if is_full => assert!(path.ends_with("meta.redb")),
                Err(LogError::Catalog { .. }) if !is_full => {}
                Err(error) => panic!("{fault:?} after {skip}: {error}"),
            }
            let names = |store: &Store| store.topics().into_iter().map(|t| t.name).collect::<Vec<_>>();
            let mut expected = vec!["kept".to_owned()];
            if outcome.is_ok() {
                expected.push("new".to_owned());
            }
            assert_eq!(names(&store), expected, "{fault:?} after {skip}");
            store.create_topic("later", TopicConfig::new()).unwrap();
            expected.push("later".to_owned());
            expected.sort();
            store.commit_offset("g", "later", 0, 0, None).unwrap();
            append_one(&store.partition("kept", 0).unwrap(), b"y");
            store.close().unwrap();

            let store = Store::open(on(&memory)).unwrap();
            assert_eq!(names(&store), expected, "{fault:?} after {skip}");
            assert_eq!(store.committed("g", "kept", 0).unwrap().offset, 1);
            assert_eq!(store.committed("g", "later", 0).unwrap().offset, 0);
            assert_eq!(store.partition("kept", 0).unwrap().bounds().end, 2);
            if fault_was_not_reached {
                break;
            }
            failures += usize::from(outcome.is_err());
        }
        assert!(failures > 0, "{fault:?} caused no failure");
    }
}

#[test]
fn catalog_on_a_full_disk_reports_it_on_every_change() {
    let memory = MemoryDisk::new();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    disk.plan(Fault::Write(io::ErrorKind::StorageFull), "", 0, u64::MAX);
    for _ in 0..3 {
        assert!(matches!(store.create_topic("new", TopicConfig::new()), Err(LogError::DiskFull { .. })));
        assert!(matches!(store.commit_offset("g", "t", 0, 0, None), Err(LogError::DiskFull { .. })));
        assert!(matches!(store.delete_topic("t"), Err(LogError::DiskFull { .. })));
    }
    disk.heal();
    store.delete_topic("t").unwrap();
    store.create_topic("new", TopicConfig::new()).unwrap();
    store.close().unwrap();
    let store = Store::open(on(&memory)).unwrap();
    assert_eq!(store.topics().into_iter().map(|topic| topic.name).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn catalog_with_a_failed_sync_stays_closed_until_the_store_is_reopened() {
    let memory = MemoryDisk::with_power_loss();
    let (disk, config) = faulty(&memory);
    let store = Store::open(config).unwrap();
    disk.plan(Fault::Sync, "meta.redb", 0, 1);
    for _ in 0..3 {
        assert!(matches!(store.create_topic("t", TopicConfig::new()), Err(LogError::Catalog { .. })));
    }
    let store = Store::open(on(&memory.after_power_loss(|| false))).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
}
