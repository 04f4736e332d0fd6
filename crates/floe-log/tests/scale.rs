//! Many partitions: few open files, little memory, quick opening.

mod support;

use std::time::Duration;

use floe_log::{Store, StoreConfig, TopicConfig};
use support::{append, append_one, batch, read_all};
use tempfile::TempDir;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_partitions_are_written_crash_and_come_back() {
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
        store.flush().unwrap();
    }
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
    assert!(open_files() < 300, "{} files are open, 50 may stay so", open_files());
    store.close().unwrap();
    let store = Store::open(config()).unwrap();
    assert!(store.recovery_report().was_clean);
    assert_eq!(read_all(&store.partition("t", 999).unwrap(), 0).unwrap().len(), 2);
}

#[test]
fn closed_segments_are_opened_when_needed_and_closed_again() {
    let directory = TempDir::new().unwrap();
    let before = open_files();
    let config = StoreConfig::at(directory.path()).segment_bytes(300).open_files(4);
    let store = Store::open(config.checkpoint_interval(Duration::from_secs(3_600))).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    for number in 0..400 {
        append_one(&partition, &[number as u8; 150]);
        if number % 20 == 0 {
            store.flush().unwrap();
        }
    }
    store.flush().unwrap();
    for from in (0..400).step_by(37) {
        let all = read_all(&partition, from).unwrap();
        assert_eq!(all.len() as i64, 400 - from);
        assert_eq!(all[0].1[0], from as u8);
    }
    let open = open_files().saturating_sub(before);
    assert!(open < 60, "{open} files are open for 400 segments");
}
