//! Stores to damage, with what they hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use floe_log::{Durability, Store, StoreConfig, TopicConfig, disk::MemoryDisk};

use crate::support::{append, batch, on};

/// Record batch of a partition.
#[derive(Debug, Clone)]
pub struct Stored {
    pub base: i64,
    pub count: i64,
    pub body: Bytes,
}

/// Contents of a partition.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    pub start: i64,
    pub batches: Vec<Stored>,
    /// Offset before which everything is acknowledged as durable.
    pub safe_end: i64,
}

/// Store to damage.
pub struct Fixture {
    pub name: &'static str,
    pub disk: MemoryDisk,
    /// The same store at an earlier time, closed.
    pub older: MemoryDisk,
    /// Another store with topics of the same names.
    pub foreign: MemoryDisk,
    pub contents: BTreeMap<(&'static str, u32), Contents>,
    pub committed: Vec<(&'static str, u32, i64)>,
}

pub fn config(disk: &MemoryDisk) -> StoreConfig {
    on(disk).segment_bytes(9_000).tail_bytes(2_000)
}

/// Appends batches of various sizes to one partition.
fn fill(store: &Store, at: (&'static str, u32), count: usize, salt: usize, contents: &mut Contents) {
    let partition = store.partition(at.0, at.1).unwrap();
    for number in 0..count {
        let seed = number * 131 + salt * 7_919 + at.1 as usize;
        let body: Vec<u8> = (0..20 + seed % 1_700).map(|i| (i * 13 + seed) as u8 | 1).collect();
        let records = 1 + (seed % 4) as u32;
        let appended = append(&partition, batch(records, 1_000 + number as i64, &body)).unwrap();
        contents.batches.push(Stored {
            base: appended.base_offset,
            count: records.into(),
            body: body.into(),
        });
    }
    contents.safe_end = partition.bounds().durable_end;
}

/// Builds a store with topics of several durabilities, closed once in between.
fn build(name: &'static str, salt: usize, foreign: &MemoryDisk, ends_clean: bool) -> Fixture {
    let disk = MemoryDisk::new();
    let mut contents: BTreeMap<_, Contents> = BTreeMap::new();
    let store = Store::open(config(&disk)).unwrap();
    store.create_topic("safe", TopicConfig::new().partitions(2).durability(Durability::Always)).unwrap();
    store.create_topic("fast", TopicConfig::new()).unwrap();
    for at in [("safe", 0), ("safe", 1), ("fast", 0)] {
        fill(&store, at, 14, salt, contents.entry(at).or_default());
    }
    store.commit_offset("group", "safe", 0, 5, Some("note")).unwrap();
    store.close().unwrap();
    let older = disk.after_kill();

    let store = Store::open(config(&disk)).unwrap();
    store.create_topic("late", TopicConfig::new().durability(Durability::Always)).unwrap();
    for at in [("safe", 0), ("fast", 0), ("late", 0)] {
        fill(&store, at, 20, salt + 1, contents.entry(at).or_default());
    }
    let start = contents[&("safe", 0)].batches[6].base;
    store.partition("safe", 0).unwrap().delete_before(start).unwrap();
    contents.get_mut(&("safe", 0)).unwrap().start = start;
    store.commit_offset("group", "safe", 0, 9, Some("note")).unwrap();
    store.commit_offset("group", "late", 0, 3, None).unwrap();
    store.flush().unwrap();
    for (at, contents) in &mut contents {
        contents.safe_end = store.partition(at.0, at.1).unwrap().bounds().end;
    }
    // Behind the last checkpoint.
    for at in [("safe", 1), ("fast", 0), ("late", 0)] {
        let durable = contents[&at].safe_end;
        fill(&store, at, 9, salt + 2, contents.get_mut(&at).unwrap());
        if at.0 == "fast" {
            contents.get_mut(&at).unwrap().safe_end = durable;
        }
    }
    if ends_clean {
        store.close().unwrap();
        for contents in contents.values_mut() {
            let last = contents.batches.last().unwrap();
            contents.safe_end = last.base + last.count;
        }
    }
    let ended = disk.after_kill();
    drop(store);
    let committed = vec![("safe", 0, 9), ("late", 0, 3)];
    Fixture { name, disk: ended, older, foreign: foreign.after_kill(), contents, committed }
}

pub fn all() -> Vec<Fixture> {
    let none = MemoryDisk::new();
    let other = build("foreign", 40, &none, true).disk;
    let fixtures = vec![build("clean", 1, &other, true), build("crashed", 2, &other, false)];
    for fixture in &fixtures {
        let whole = crate::mutation::Mutation::none();
        let outcome = crate::outcome::check(&fixture.disk.after_kill(), fixture, &whole);
        assert_eq!(outcome, Ok(crate::outcome::Outcome::Right), "{}", fixture.name);
    }
    fixtures
}
