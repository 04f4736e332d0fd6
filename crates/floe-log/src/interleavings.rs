//! Threads that append, sync, read and close at once, run in many orders by the crate `shuttle`.
//!
//! ```sh
//! cargo interleavings                          # 100 runs of each scheduler
//! FLOE_SHUTTLE_RUNS=10000 cargo interleavings
//! ```
//!
//! The store has an executor, so that all its work runs on threads of the test. A thread that would wait forever fails the
//! run, which finds lost wake-ups and appends without an answer.

use std::{
    future::poll_fn,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};
use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler},
    sync::mpsc,
    thread,
};

use crate::{
    Appended, Durability, LogError, Partition, Store, StoreConfig, TopicConfig, WorkKind, disk::MemoryDisk,
    sync::Mutex, work::Work,
};

const TOPIC: &str = "t";

/// Environment variable with the number of runs of each scheduler, in place of the default.
const RUNS: &str = "FLOE_SHUTTLE_RUNS";
const DEFAULT_RUNS: usize = 100;

/// Changes of thread that a run of the second scheduler forces at chosen moments.
const FORCED: usize = 3;

const PRODUCERS: usize = 3;
const BATCHES: usize = 2;

/// A store whose syncs are done by threads of the test.
struct World {
    disk: MemoryDisk,
    store: Arc<Store>,
    partition: Arc<Partition>,
    syncs: Vec<mpsc::Sender<Option<Work>>>,
    workers: Vec<thread::JoinHandle<()>>,
}

/// Outcome of an append: number of the producer and of its batch.
type Outcome = (usize, usize, Result<Appended, LogError>);

impl World {
    fn new(durability: Durability, workers: usize) -> Self {
        let (mut syncs, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (sender, work) = mpsc::channel::<Option<Work>>();
            syncs.push(sender);
            threads.push(thread::spawn(move || {
                while let Ok(Some(work)) = work.recv() {
                    work.run();
                }
            }));
        }
        let disk = MemoryDisk::with_power_loss().wall_clock(|| UNIX_EPOCH + Duration::from_secs(77));
        let turns = Mutex::new((0, syncs.clone()));
        let store = open(&disk, move |work| {
            // Maintenance plans itself without end.
            if matches!(work.kind(), WorkKind::Sync | WorkKind::Commit) {
                let mut turns = turns.lock();
                turns.0 += 1;
                let turn = turns.0 % turns.1.len();
                drop(turns.1[turn].send(Some(work)));
            }
        });
        store.create_topic(TOPIC, TopicConfig::new().durability(durability)).unwrap();
        let partition = store.partition(TOPIC, 0).unwrap();
        Self { disk, store, partition, syncs, workers: threads }
    }

    /// Starts a thread that submits its batches one after the other.
    fn produce(&self, producer: usize, outcomes: &mpsc::Sender<Outcome>) -> thread::JoinHandle<()> {
        let (partition, outcomes) = (Arc::clone(&self.partition), outcomes.clone());
        thread::spawn(move || {
            for number in 0..BATCHES {
                let outcomes = outcomes.clone();
                partition.submit(batch(producer, number), move |result| {
                    outcomes.send((producer, number, result)).unwrap();
                });
            }
        })
    }

    /// Ends the threads that sync.
    fn stop(&mut self) {
        self.syncs.iter().for_each(|worker| drop(worker.send(None)));
        self.workers.drain(..).for_each(|worker| worker.join().unwrap());
    }
}

fn open(disk: &MemoryDisk, executor: impl Fn(Work) + Send + Sync + 'static) -> Arc<Store> {
    let config = StoreConfig::at("/s")
        .disk(Arc::new(disk.clone()))
        .wall_clock(|| UNIX_EPOCH + Duration::from_secs(77))
        .executor(executor);
    Store::open(config).unwrap()
}

fn batch(producer: usize, number: usize) -> EncodedBatch {
    let mut builder = BatchBuilder::new(64);
    builder.append(1_000, None, format!("{producer}.{number}").as_bytes(), &[]).unwrap();
    builder.finish(FinishOptions::default()).unwrap()
}

/// Returns the values of a partition by their offsets, which must be contiguous.
fn contents(partition: &Arc<Partition>) -> Vec<String> {
    let mut reader = partition.reader(0).unwrap();
    let mut values = Vec::new();
    while reader.position() < partition.readable_end() {
        for batch in reader.next_chunk(1 << 20).unwrap().batches {
            assert_eq!(batch.base_offset(), values.len() as i64);
            for record in batch.records().unwrap() {
                values.push(String::from_utf8(record.unwrap().value.to_vec()).unwrap());
            }
        }
    }
    values
}

/// Checks that the acknowledged batches, and at most the others, are stored at their offsets, in the order of each
/// producer.
fn check(stored: &[String], outcomes: &[Outcome]) {
    let mut positions = vec![Vec::new(); PRODUCERS];
    for (producer, number, result) in outcomes {
        if let Ok(appended) = result {
            let at = usize::try_from(appended.base_offset).unwrap();
            assert_eq!(stored.get(at), Some(&format!("{producer}.{number}")), "{outcomes:?}");
            positions[*producer].push((*number, at));
        }
    }
    for of_producer in &mut positions {
        of_producer.sort_unstable();
        assert!(of_producer.is_sorted_by_key(|(_, at)| *at), "{outcomes:?}");
    }
    assert_eq!(stored.len(), positions.iter().map(Vec::len).sum::<usize>(), "{stored:?} {outcomes:?}");
}

/// Runs a test in many orders.
fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    let runs = std::env::var(RUNS).map_or(DEFAULT_RUNS, |runs| runs.parse().expect("a number of runs"));
    let config = || {
        let mut config = Config::new();
        // The database of the catalog needs more than the default.
        config.stack_size = 1 << 20;
        config
    };
    Runner::new(RandomScheduler::new(runs), config()).run(test);
    Runner::new(PctScheduler::new(FORCED, runs), config()).run(test);
}

#[test]
fn appends_of_several_threads_are_stored_once_and_in_order() {
    for durability in [Durability::Os, Durability::Always] {
        explore(move || {
            let mut world = World::new(durability, 2);
            let (sender, receiver) = mpsc::channel();
            let producers: Vec<_> = (0..PRODUCERS).map(|producer| world.produce(producer, &sender)).collect();
            // A batch without an answer would keep this thread waiting.
            let outcomes: Vec<Outcome> = (0..PRODUCERS * BATCHES).map(|_| receiver.recv().unwrap()).collect();
            producers.into_iter().for_each(|producer| producer.join().unwrap());
            assert!(outcomes.iter().all(|(.., result)| result.is_ok()), "{outcomes:?}");
            check(&contents(&world.partition), &outcomes);
            world.stop();
        });
    }
}

#[test]
fn a_reader_that_waits_is_woken() {
    for durability in [Durability::Os, Durability::Always] {
        explore(move || {
            let mut world = World::new(durability, 1);
            let (sender, _receiver) = mpsc::channel();
            let readers: Vec<_> = [true, false]
                .map(|has_reader| {
                    let partition = Arc::clone(&world.partition);
                    thread::spawn(move || {
                        let reader = partition.reader(0).unwrap();
                        let (mut end, all) = (0, (2 * BATCHES) as i64);
                        while end < all {
                            let wait = poll_fn(|context| match has_reader {
                                true if end == 0 => reader.poll_beyond(context),
                                _ => partition.poll_beyond(end, context),
                            });
                            let next = block_on(wait).unwrap();
                            assert!(next > end, "{next} after {end}");
                            end = next;
                        }
                    })
                })
                .into();
            let producers: Vec<_> = (0..2).map(|producer| world.produce(producer, &sender)).collect();
            producers.into_iter().chain(readers).for_each(|thread| thread.join().unwrap());
            world.stop();
        });
    }
}

/// The close of a store takes long before it comes to the partition, so few orders reach the moments between them.
#[test]
fn a_partition_that_closes_answers_all_appends() {
    explore(|| {
        let mut world = World::new(Durability::Os, 1);
        let (sender, receiver) = mpsc::channel();
        let producers: Vec<_> = (0..PRODUCERS).map(|producer| world.produce(producer, &sender)).collect();
        world.partition.close();
        let outcomes: Vec<Outcome> = (0..PRODUCERS * BATCHES).map(|_| receiver.recv().unwrap()).collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        check(&contents(&world.partition), &outcomes);
        world.stop();
    });
}

#[test]
fn a_close_answers_all_appends_and_keeps_those_that_were_acknowledged() {
    for durability in [Durability::Os, Durability::Always] {
        explore(move || {
            let mut world = World::new(durability, 1);
            let (sender, receiver) = mpsc::channel();
            let producers: Vec<_> = (0..PRODUCERS).map(|producer| world.produce(producer, &sender)).collect();
            let waiting = {
                let partition = Arc::clone(&world.partition);
                thread::spawn(move || {
                    let mut end = 0;
                    while let Ok(next) = block_on(poll_fn(|context| partition.poll_beyond(end, context))) {
                        end = next;
                    }
                })
            };
            world.store.close().unwrap();
            producers.into_iter().for_each(|producer| producer.join().unwrap());
            let outcomes: Vec<Outcome> = (0..PRODUCERS * BATCHES).map(|_| receiver.recv().unwrap()).collect();
            waiting.join().unwrap();
            world.stop();
            let refused = |result: &Result<Appended, LogError>| matches!(result, Err(LogError::Closed));
            assert!(outcomes.iter().all(|(.., result)| result.is_ok() || refused(result)), "{outcomes:?}");
            let again = open(&world.disk.after_power_loss(|| false), drop);
            assert!(again.recovery_report().was_clean);
            check(&contents(&again.partition(TOPIC, 0).unwrap()), &outcomes);
            again.close().unwrap();
        });
    }
}
