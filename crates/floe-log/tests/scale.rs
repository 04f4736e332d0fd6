//! Crash and recovery of a topic with many partitions.

mod support;

use floe_log::{Store, StoreConfig, TopicConfig};
use support::{append, append_one, batch, read_all};
use tempfile::TempDir;

#[test]
fn a_thousand_partitions_recover_from_a_crash() {
    let directory = TempDir::new().unwrap();
    let config = || StoreConfig::at(directory.path()).open_files(50);
    let store = Store::open(config()).unwrap();
    store.create_topic("t", TopicConfig::new().partitions(1_000)).unwrap();
    for round in 0..2_i64 {
        for number in 0..1_000 {
            let partition = store.partition("t", number).unwrap();
            let sent = batch(1, 1, format!("{number}:{round}").as_bytes());
            assert_eq!(append(&partition, sent).unwrap().base_offset, round);
        }
    }
    store.flush().unwrap();
    append_one(&store.partition("t", 7).unwrap(), b"after the flush");
    drop(store);

    let store = Store::open(config()).unwrap();
    assert!(!store.recovery_report().was_clean && store.recovery_report().cuts.is_empty());
    for number in 0..1_000 {
        let partition = store.partition("t", number).unwrap();
        assert_eq!(partition.bounds().end, if number == 7 { 3 } else { 2 });
        let all = read_all(&partition, 0).unwrap();
        assert_eq!(all[1].1, format!("{number}:1"));
    }
    store.close().unwrap();
    let store = Store::open(config()).unwrap();
    assert!(store.recovery_report().was_clean);
    assert_eq!(read_all(&store.partition("t", 999).unwrap(), 0).unwrap().len(), 2);
}
