//! More partitions than the process may have files open. Alone in its process, since it lowers the limit.
#![cfg(target_os = "linux")]

mod support;

use floe_log::{Durability, Store, StoreConfig, TopicConfig};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::{append_one, read_all};
use tempfile::TempDir;

const LIMIT: u64 = 64;
const PARTITIONS: u32 = 100;

#[test]
fn partitions_beyond_the_limit_are_closed_and_opened_by_age() {
    let directory = TempDir::new().unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) }).unwrap();
    for durability in [Durability::Os, Durability::Always] {
        let name = format!("{durability:?}");
        let config = || StoreConfig::at(directory.path().join(&name));
        let store = Store::open(config()).unwrap();
        store.create_topic("t", TopicConfig::new().partitions(PARTITIONS).durability(durability)).unwrap();
        for round in 0..3_u8 {
            for number in 0..PARTITIONS {
                let partition = store.partition("t", number).unwrap();
                assert_eq!(append_one(&partition, &[round; 50]), i64::from(round));
            }
        }
        // Descriptors that other parts of the process hold: the store gives up more of its own.
        let mut others = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            others.push(file);
        }
        assert!(others.len() as u64 >= LIMIT / 4, "the store leaves some: {}", others.len());
        others.truncate(others.len() - 1);
        for number in 0..PARTITIONS {
            append_one(&store.partition("t", number).unwrap(), &[3; 50]);
        }
        drop(others);
        store.close().unwrap();
        let store = Store::open(config()).unwrap();
        assert!(store.recovery_report().was_clean);
        for number in 0..PARTITIONS {
            assert_eq!(read_all(&store.partition("t", number).unwrap(), 0).unwrap().len(), 4);
        }
    }
}
