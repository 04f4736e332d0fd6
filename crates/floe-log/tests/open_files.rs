//! The store opens segment files on demand and keeps few of them open. Alone in its process, since the test counts the
//! open files of the process. Linux only: it counts them in `/proc`.
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use floe_log::{Store, StoreConfig, TopicConfig};
use support::{append_one, read_all};
use tempfile::TempDir;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn segment_files_are_opened_on_demand_and_evicted() {
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
