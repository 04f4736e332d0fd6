//! Fenced producers: older epochs are refused and records of tasks are stored once, whatever happens to the store.

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

use floe_log::{Durability, LogError, Partition, Store, StoreConfig, TopicConfig, disk::MemoryDisk};
use floe_wire::batch::producer_id::{folded_epoch, is_older, task_id, token_id};
use proptest::prelude::*;
use support::{append, append_one, batch, on, producer_batch};

fn open(disk: &MemoryDisk) -> (Arc<Store>, Arc<Partition>) {
    open_with(disk, TopicConfig::new())
}

fn open_with(disk: &MemoryDisk, topic: TopicConfig) -> (Arc<Store>, Arc<Partition>) {
    let store = Store::open(on(disk).segment_bytes(2_500)).unwrap();
    if store.topic("t").is_none() {
        store.create_topic("t", topic).unwrap();
    }
    let partition = store.partition("t", 0).unwrap();
    (store, partition)
}

/// Appends records of a producer; None if they are refused.
fn send(partition: &Arc<Partition>, (id, epoch, first): (i64, i16, i32), records: u32) -> Option<i64> {
    match append(partition, producer_batch(records, 1_000, &[first as u8; 40], (id, epoch, first))) {
        Ok(appended) => Some(appended.base_offset),
        Err(LogError::Fenced { .. } | LogError::StoredBefore { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn fences_and_sequences_survive_a_close_a_kill_and_a_power_loss() {
    type Reopen = fn(&Store, &MemoryDisk) -> MemoryDisk;
    let ways: [Reopen; 4] = [
        |store, disk| (store.close().unwrap(), disk.clone()).1,
        |_, disk| disk.after_kill(),
        |store, disk| (store.flush().unwrap(), disk.after_kill()).1,
        |store, disk| (store.flush().unwrap(), disk.after_power_loss(|| false)).1,
    ];
    for (number, reopen) in ways.into_iter().enumerate() {
        let mut disk = MemoryDisk::with_power_loss();
        let (mut store, mut partition) = open(&disk);
        let (task, token) = (task_id("p", "t", 0, 0), token_id("writer"));
        assert_eq!(send(&partition, (token, 9, 0), 1), Some(0));
        for round in 0..4_i32 {
            let epoch = folded_epoch(32_766 + i64::from(round));
            let (first, offset) = (round * 10, 1 + i64::from(round) * 10);
            assert_eq!(
                send(&partition, (task, epoch, first), 10),
                Some(offset),
                "way {number} round {round}"
            );
            disk = reopen(&store, &disk);
            drop((store, partition));
            (store, partition) = open(&disk);
            assert_eq!(send(&partition, (task, epoch, first), 10), Some(offset), "stored before");
            assert_eq!(send(&partition, (task, epoch, first + 8), 2), Some(offset + 8), "cut differently");
            assert_eq!(send(&partition, (task, folded_epoch(32_765), first + 10), 1), None);
            assert_eq!(send(&partition, (token, 8, 1), 1), None);
            assert_eq!(send(&partition, (token, 9, 0), 1), Some(0));
        }
        assert_eq!(partition.bounds().end, 41);
    }
}

#[test]
fn clean_log_opens_without_reading_its_batches() {
    let disk = MemoryDisk::new();
    let (store, partition) = open(&disk);
    let task = task_id("p", "t", 0, 0);
    for number in 0..500 {
        send(&partition, (task, 1, number), 1);
    }
    // Other batches push those of the task out of what a scan of the end would find.
    for _ in 0..500 {
        append_one(&partition, &[7; 400]);
    }
    store.close().unwrap();
    let (_store, partition) = open(&disk);
    assert_eq!(send(&partition, (task, 0, 500), 1), None);
    assert_eq!(send(&partition, (task, 1, 499), 1), Some(499));
    assert!(matches!(
        append(&partition, producer_batch(1, 1_000, b"x", (task, 1, 3))),
        Err(LogError::StoredBefore { first_sequence: 3, next_sequence: 500 })
    ));
}

#[test]
fn fences_end_with_their_topic_and_come_back_with_a_rebuilt_catalog() {
    let disk = MemoryDisk::new();
    let (store, partition) = open(&disk);
    let task = task_id("p", "t", 0, 0);
    send(&partition, (task, 5, 0), 1);
    store.flush().unwrap();
    store.delete_topic("t").unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(send(&partition, (task, 4, 0), 1), Some(0));
    store.close().unwrap();
    Store::rebuild(&on(&disk)).unwrap();
    let (_store, partition) = open(&disk);
    assert_eq!(send(&partition, (task, 3, 1), 1), None);
    assert_eq!(send(&partition, (task, 4, 0), 1), Some(0));
}

#[test]
fn batch_of_a_fenced_producer_needs_epoch_and_sequence() {
    let (_store, partition) = open(&MemoryDisk::new());
    for (epoch, first) in [(-1, 0), (0, -1), (-1, -1)] {
        let refused = append(&partition, producer_batch(1, 1_000, b"x", (token_id("w"), epoch, first)));
        assert!(matches!(refused, Err(LogError::BadBatch { .. })), "{refused:?}");
    }
}

#[test]
fn conditional_append_needs_the_end_of_the_partition_or_its_own_batch() {
    for durability in [Durability::Os, Durability::Always] {
        let (_store, partition) = open_with(&MemoryDisk::new(), TopicConfig::new().durability(durability));
        let submit = |batch, end| {
            let (answer, answered) = mpsc::channel();
            partition.submit_at(batch, end, move |result| answer.send(result).unwrap());
            answered.recv().unwrap().map(|appended| appended.base_offset)
        };
        let event = |sequence| producer_batch(2, 1_000, b"event", (7, 0, sequence));
        assert_eq!(submit(event(0), 0).unwrap(), 0);
        assert_eq!(submit(event(2), 2).unwrap(), 2);
        assert_eq!(submit(event(0), 0).unwrap(), 0, "a retry is the append that it retries");
        for (expected, end) in [(0, 4), (3, 4), (5, 4), (-1, 4)] {
            let refused = submit(event(4), expected);
            assert!(
                matches!(refused, Err(LogError::NotAtEnd { expected: e, end: n }) if (e, n) == (expected, end)),
                "{refused:?}"
            );
        }
        assert_eq!(submit(batch(1, 1_000, b"no producer"), 4).unwrap(), 4);
        assert_eq!(partition.bounds().end, 5);
    }
}

#[test]
fn of_concurrent_conditional_appends_one_wins_each_offset() {
    const THREADS: i64 = 4;
    const OFFSETS: i64 = 200;
    let (_store, partition) = open(&MemoryDisk::new());
    let won: Vec<i64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|id| {
                let partition = Arc::clone(&partition);
                scope.spawn(move || {
                    let mut won = 0;
                    for offset in 0..OFFSETS {
                        let (answer, answered) = mpsc::channel();
                        let event = producer_batch(1, 1_000, b"event", (id, 0, offset as i32));
                        partition.submit_at(event, offset, move |result| answer.send(result).unwrap());
                        match answered.recv().unwrap() {
                            Ok(appended) => {
                                assert_eq!(appended.base_offset, offset);
                                won += 1;
                            }
                            Err(LogError::NotAtEnd { end, .. }) => assert!(end > offset),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((won.iter().sum::<i64>(), partition.bounds().end), (OFFSETS, OFFSETS));
}

#[derive(Debug, Clone)]
enum Action {
    /// Task, how far the epoch moves, how far before the next sequence the batch begins, records.
    Send {
        task: u32,
        epoch: i16,
        back: i32,
        records: u32,
    },
    Other,
    Flush,
    Sync,
    Close,
    Kill,
    LosePower,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        14 => (0..3_u32, -2..3_i16, prop_oneof![3 => Just(0), 1 => 0..9_i32], 1..4_u32)
            .prop_map(|(task, epoch, back, records)| Action::Send { task, epoch, back, records }),
        3 => Just(Action::Other),
        1 => Just(Action::Flush),
        1 => Just(Action::Sync),
        1 => Just(Action::Close),
        1 => Just(Action::Kill),
        1 => Just(Action::LosePower),
    ]
}

/// The tasks that the log holds: epoch and next sequence, and the offset of each record.
#[derive(Default)]
struct Model {
    /// Task, epoch, first sequence, records, base offset.
    batches: Vec<(u32, i16, i32, u32, i64)>,
    end: i64,
}

impl Model {
    fn of(&self, task: u32) -> impl Iterator<Item = &(u32, i16, i32, u32, i64)> {
        self.batches.iter().filter(move |batch| batch.0 == task)
    }

    fn newest(&self, task: u32) -> (i16, i32) {
        self.of(task)
            .last()
            .map_or((20_000, 0), |(_, epoch, first, records, _)| (*epoch, first + *records as i32))
    }

    /// The answer to an append, and whether it is stored.
    fn send(&mut self, task: u32, epoch: i16, first: i32, records: u32) -> Option<i64> {
        let (newest, next) = self.newest(task);
        if next > 0 && is_older(epoch, newest) {
            return None;
        }
        if first < next {
            if first + records as i32 > next {
                return None;
            }
            let stored: BTreeMap<i32, i64> = self
                .of(task)
                .flat_map(|(_, _, first, records, base)| {
                    (0..*records as i32).map(move |at| (first + at, base + i64::from(at)))
                })
                .collect();
            return stored.get(&first).copied();
        }
        self.batches.push((task, epoch, first, records, self.end));
        self.end += i64::from(records);
        Some(self.end - i64::from(records))
    }
}

fn config(disk: &MemoryDisk) -> StoreConfig {
    on(disk).segment_bytes(1_200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_fenced_follows_from_the_stored_batches(actions in prop::collection::vec(action(), 1..120)) {
        let mut disk = MemoryDisk::with_power_loss();
        let mut store = Store::open(config(&disk)).unwrap();
        store.create_topic("t", TopicConfig::new()).unwrap();
        let mut model = Model::default();
        for action in actions {
            let partition = store.partition("t", 0).unwrap();
            match action {
                Action::Send { task, epoch, back, records } => {
                    let (newest, next) = model.newest(task);
                    let (epoch, first) = ((newest + epoch).rem_euclid(i16::MAX), (next - back).max(0));
                    let sent = send(&partition, (task_id("p", "t", 0, task), epoch, first), records);
                    prop_assert_eq!(sent, model.send(task, epoch, first, records));
                }
                Action::Other => {
                    append_one(&partition, &[1; 100]);
                    model.end += 1;
                }
                Action::Flush => store.flush().unwrap(),
                Action::Sync => store.partition("t", 0).unwrap().delete_before(partition.bounds().start).unwrap(),
                Action::Close | Action::Kill | Action::LosePower => {
                    match action {
                        Action::Close => store.close().unwrap(),
                        Action::Kill => disk = disk.after_kill(),
                        _ => disk = disk.after_power_loss(|| false),
                    }
                    drop(store);
                    store = Store::open(config(&disk)).unwrap();
                    let end = store.partition("t", 0).unwrap().bounds().end;
                    prop_assert!(end <= model.end && (matches!(action, Action::LosePower) || end == model.end));
                    model.batches.retain(|batch| batch.4 < end);
                    model.end = end;
                }
            }
            prop_assert_eq!(store.partition("t", 0).unwrap().bounds().end, model.end);
        }
    }
}
