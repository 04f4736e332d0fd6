//! Property test: random sequences of calls against a vector as the model.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use floe_log::{Durability, LogError, Partition, Reader, Store, StoreConfig, TopicConfig, disk::MemoryDisk};
use proptest::prelude::*;
use support::{append, batch};

#[derive(Debug, Clone)]
enum Action {
    Append { count: u32, time: i64, len: usize },
    Read { from: i64, max_bytes: usize },
    Time(i64),
    Flush,
    CloseAndOpen,
    KillAndOpen,
    LosePower,
    DeleteBefore(i64),
    Retain,
    Commit(i64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (1..5_u32, prop_oneof![Just(-1_i64), 1..300_i64], 0..900_usize)
            .prop_map(|(count, time, len)| Action::Append { count, time, len }),
        6 => (-3..150_i64, prop_oneof![Just(1_usize), 200..3_000_usize])
            .prop_map(|(from, max_bytes)| Action::Read { from, max_bytes }),
        3 => (0..320_i64).prop_map(Action::Time),
        1 => Just(Action::Flush),
        1 => Just(Action::CloseAndOpen),
        1 => Just(Action::KillAndOpen),
        1 => Just(Action::LosePower),
        1 => (0..120_i64).prop_map(Action::DeleteBefore),
        1 => Just(Action::Retain),
        1 => (0..1_000_i64).prop_map(Action::Commit),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    /// Base offset, count, time, body.
    batches: Vec<(i64, u32, i64, Bytes)>,
    start: i64,
    end: i64,
    committed: Option<i64>,
}

impl Model {
    fn from(&self, offset: i64) -> impl Iterator<Item = (i64, Bytes)> + '_ {
        let readable = self.batches.iter().filter(move |(base, count, ..)| base + i64::from(*count) > offset);
        readable.map(|(base, .., body)| (*base, body.clone()))
    }
}

fn config(disk: &MemoryDisk) -> StoreConfig {
    // Small segments, so that few appends reach all paths, and a tail cache that holds only a part.
    StoreConfig::at("/").disk(Arc::new(disk.clone())).segment_bytes(2_500).tail_bytes(1_000)
}

fn check_bounds(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    let bounds = store.partition("t", 0).unwrap().bounds();
    prop_assert_eq!((bounds.start, bounds.end), (model.start, model.end));
    prop_assert_eq!(store.committed("g", "t", 0).map(|c| c.offset), model.committed);
    Ok(())
}

/// Checks that retention kept enough and not too much, and takes over the new start.
fn check_retention(partition: &Partition, model: &mut Model) -> Result<(), TestCaseError> {
    let start = partition.bounds().start;
    prop_assert!(start >= model.start && start <= model.end);
    let kept: usize = model.from(start).map(|(_, body)| body.len() + 57).sum();
    prop_assert!(start == model.start || kept + 64 >= 6_000 - 2_500, "too much was removed");
    prop_assert!(partition.size_bytes() < 6_000 + 2_500 + 1_000, "too little was removed");
    model.start = start;
    Ok(())
}

/// Store, what it must hold, and a reader that follows all appends.
struct Run {
    durability: Durability,
    disk: MemoryDisk,
    store: Arc<Store>,
    model: Model,
    follower: Reader,
}

impl Run {
    fn new(durability: Durability) -> Self {
        let disk = MemoryDisk::with_power_loss();
        let store = Store::open(config(&disk)).unwrap();
        let topic = TopicConfig::new().durability(durability).retention_bytes(Some(6_000));
        store.create_topic("t", topic).unwrap();
        let follower = store.partition("t", 0).unwrap().reader(0).unwrap();
        Self { durability, disk, store, model: Model::default(), follower }
    }

    fn partition(&self) -> Arc<Partition> {
        self.store.partition("t", 0).unwrap()
    }

    fn act(&mut self, number: usize, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Append { count, time, len } => self.append(count, time, vec![number as u8; len])?,
            Action::Read { from, max_bytes } => self.read(from, max_bytes)?,
            Action::Time(wanted) => self.look_up_time(wanted)?,
            Action::Flush => self.store.flush().unwrap(),
            Action::CloseAndOpen | Action::KillAndOpen | Action::LosePower => self.reopen(action)?,
            Action::DeleteBefore(offset) => {
                let allowed = (self.model.start..=self.model.end).contains(&offset);
                prop_assert_eq!(self.partition().delete_before(offset).is_ok(), allowed);
                if allowed {
                    self.model.start = offset;
                }
            }
            Action::Retain => {
                self.store.enforce_retention(0).unwrap();
                check_retention(&self.partition(), &mut self.model)?;
            }
            Action::Commit(offset) => {
                self.store.commit_offset("g", "t", 0, offset, None).unwrap();
                self.model.committed = Some(offset);
            }
        }
        check_bounds(&self.store, &self.model)?;
        self.follow()
    }

    fn append(&mut self, count: u32, time: i64, body: Vec<u8>) -> Result<(), TestCaseError> {
        let appended = append(&self.partition(), batch(count, time, &body)).unwrap();
        let model = &mut self.model;
        prop_assert_eq!(appended.base_offset, model.end);
        model.batches.push((model.end, count, time, body.into()));
        model.end += i64::from(count);
        Ok(())
    }

    fn read(&self, from: i64, max_bytes: usize) -> Result<(), TestCaseError> {
        let model = &self.model;
        let mut reader = match self.partition().reader(from) {
            Ok(reader) => reader.verify(true),
            Err(LogError::OutOfRange { start, end, .. }) => {
                prop_assert!(!(model.start..=model.end).contains(&from));
                prop_assert_eq!((start, end), (model.start, model.end));
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert!((model.start..=model.end).contains(&from));
        let mut expected = model.from(from);
        loop {
            let chunk = reader.next_chunk(max_bytes).unwrap();
            let bytes: usize = chunk.batches.iter().map(|b| b.len()).sum();
            prop_assert!(chunk.batches.len() <= 1 || bytes <= max_bytes);
            if chunk.batches.is_empty() {
                break;
            }
            for batch in chunk.batches {
                prop_assert_eq!(Some((batch.base_offset(), support::body(&batch))), expected.next());
            }
        }
        prop_assert_eq!(expected.next(), None);
        Ok(())
    }

    fn look_up_time(&self, wanted: i64) -> Result<(), TestCaseError> {
        let start = self.model.start;
        let readable = self.model.batches.iter().filter(|(base, count, ..)| base + i64::from(*count) > start);
        let expected =
            readable.filter(|(_, _, time, _)| *time >= wanted).map(|(base, ..)| (*base).max(start)).next();
        prop_assert_eq!(self.partition().offset_for_time(wanted).unwrap(), expected);
        Ok(())
    }

    fn reopen(&mut self, action: &Action) -> Result<(), TestCaseError> {
        let closes = matches!(action, Action::CloseAndOpen);
        if closes {
            self.store.close().unwrap();
        } else if matches!(action, Action::LosePower) {
            if self.durability != Durability::Always {
                self.store.flush().unwrap();
            }
            self.disk = self.disk.after_power_loss(|| false);
        } else {
            self.disk = self.disk.after_kill();
        }
        if !closes {
            self.model.committed = self.model.committed.map(|offset| offset.min(self.model.end));
        }
        self.store = Store::open(config(&self.disk)).unwrap();
        if closes {
            // Closing applies retention too.
            check_retention(&self.partition(), &mut self.model)?;
        }
        let report = self.store.recovery_report();
        prop_assert!(report.cuts.is_empty(), "{:?}", report);
        let partition = self.partition();
        self.follower = partition.reader(self.follower.position().max(partition.bounds().start)).unwrap();
        Ok(())
    }

    /// Reads on with the one reader that follows all appends, so that the tail cache is used too.
    fn follow(&mut self) -> Result<(), TestCaseError> {
        let (model, follower) = (&self.model, &mut self.follower);
        if follower.position() < model.start {
            let lost = follower.next_chunk(500);
            let out_of_range = matches!(lost, Err(LogError::OutOfRange { .. }));
            prop_assert!(out_of_range);
            follower.seek(model.start).unwrap();
            return Ok(());
        }
        let from = follower.position();
        let chunk = follower.next_chunk(500).unwrap();
        let got: Vec<_> = chunk.batches.iter().map(|b| (b.base_offset(), support::body(b))).collect();
        let expected: Vec<_> = model.from(from).take(got.len()).collect();
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(got.is_empty(), from == model.end);
        Ok(())
    }
}

fn run(durability: Durability, actions: &[Action]) -> Result<(), TestCaseError> {
    let mut run = Run::new(durability);
    actions.iter().enumerate().try_for_each(|(number, action)| run.act(number, action))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_like_a_vector_os(actions in prop::collection::vec(action(), 1..80)) {
        run(Durability::Os, &actions)?;
    }

    #[test]
    fn the_log_behaves_like_a_vector_always(actions in prop::collection::vec(action(), 1..60)) {
        run(Durability::Always, &actions)?;
    }
}
