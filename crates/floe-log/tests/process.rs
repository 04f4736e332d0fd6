//! Tests with several processes: a writer that is killed during appends, and two that open the same directory.

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use floe_log::{Durability, LogError, Store, StoreConfig, TopicConfig};
use floe_wire::batch::producer_id;
use support::{append, append_one, batch, body, producer_batch};
use tempfile::TempDir;

/// Environment variable with the directory in which a child process of this test binary writes until it is killed.
const WRITER: &str = "FLOE_LOG_TEST_WRITER";
const PARTITIONS: u32 = 3;

/// Returns the producer of a record: in partition 0 a task, whose batches are fenced.
fn producer(partition: u32, offset: i64) -> (i64, i16, i32) {
    let id = if partition == 0 { producer_id::task_id("p", "t", 0, 0) } else { 9 };
    (id, 3, offset as i32)
}

fn config(directory: &Path) -> StoreConfig {
    StoreConfig::at(directory).segment_bytes(100_000)
}

/// Returns deterministic contents, so that the reader detects a wrong byte.
fn contents(partition: u32, offset: i64) -> Vec<u8> {
    let len = 1 + (offset as usize * 7919 + partition as usize * 31) % 4_000;
    (0..len).map(|at| (at as i64 + offset * 3 + i64::from(partition)) as u8).collect()
}

/// Appends forever and prints acknowledged offsets.
fn write_until_killed(directory: &Path) {
    let store = Store::open(config(directory)).unwrap();
    assert!(store.recovery_report().corrupt.is_empty(), "{:?}", store.recovery_report());
    if store.topic("t").is_none() {
        store.create_topic("t", TopicConfig::new().partitions(PARTITIONS).durability(durability())).unwrap();
    }
    let mut rounds = 0;
    loop {
        for number in 0..PARTITIONS {
            let partition = store.partition("t", number).unwrap();
            let next = partition.bounds().end;
            let sent = producer_batch(1, 1_000, &contents(number, next), producer(number, next));
            let appended = append(&partition, sent).unwrap();
            assert_eq!(appended.base_offset, next);
            store_commit(&store, number, next, rounds);
            println!("acknowledged {number} {next}");
        }
        rounds += 1;
    }
}

fn durability() -> Durability {
    match std::env::var("FLOE_LOG_TEST_DURABILITY").as_deref() {
        Ok("always") => Durability::Always,
        _ => Durability::Os,
    }
}

fn store_commit(store: &Store, number: u32, offset: i64, rounds: u32) {
    // Not in every round, since commits are slow.
    if rounds.is_multiple_of(20) {
        store.commit_offset("g", "t", number, offset, None).unwrap();
        println!("committed {number} {offset}");
    }
}

/// Runs the writer in a child process of the tests below; otherwise does nothing.
#[test]
fn writer_process() {
    if let Ok(directory) = std::env::var(WRITER) {
        write_until_killed(Path::new(&directory));
    }
}

fn start_writer(directory: &Path, durability: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["writer_process", "--exact", "--nocapture"])
        .env(WRITER, directory)
        .env("FLOE_LOG_TEST_DURABILITY", durability)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_in_a_loop(durability: &str) {
    let directory = TempDir::new().unwrap();
    let mut acknowledged = [-1_i64; PARTITIONS as usize];
    let mut committed = [-1_i64; PARTITIONS as usize];
    for round in 0..6 {
        let mut child = start_writer(directory.path(), durability);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let fields: Vec<&str> = line.split(' ').collect();
            let ["acknowledged" | "committed", number, offset] = fields[..] else { continue };
            let (number, offset): (usize, i64) = (number.parse().unwrap(), offset.parse().unwrap());
            let list = if fields[0] == "acknowledged" { &mut acknowledged } else { &mut committed };
            list[number] = offset;
            seen += 1;
            if seen == 100 + round * 37 {
                // SIGKILL. Offsets still in the pipe were acknowledged too, so reading continues.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 100, "the writer wrote");

        let store = Store::open(config(directory.path())).unwrap();
        assert!(!store.recovery_report().was_clean);
        assert!(store.recovery_report().corrupt.is_empty(), "{:?}", store.recovery_report());
        for number in 0..PARTITIONS {
            let partition = store.partition("t", number).unwrap();
            let end = partition.bounds().end;
            let at = number as usize;
            assert!(end > acknowledged[at], "acknowledged {}, end {end}", acknowledged[at]);
            let mut reader = partition.reader(0).unwrap().verify(true);
            let mut expected = 0;
            loop {
                let chunk = reader.next_chunk(1 << 20).unwrap();
                if chunk.batches.is_empty() {
                    break;
                }
                for batch in chunk.batches {
                    assert_eq!(batch.base_offset(), expected);
                    assert_eq!(body(&batch), contents(number, expected));
                    expected += 1;
                }
            }
            assert_eq!(expected, end);
            if number == 0 {
                let (id, epoch, last) = producer(0, end - 1);
                let again = append(&partition, producer_batch(1, 1_000, b"made anew", (id, epoch, last)));
                assert_eq!(again.unwrap().base_offset, end - 1, "a record of a task is stored once");
                let older = append(&partition, producer_batch(1, 1_000, b"late", (id, epoch - 1, last + 1)));
                assert!(matches!(older, Err(LogError::Fenced { epoch: 2, newest: 3 })), "{older:?}");
            }
            let position = store.committed("g", "t", number).map_or(-1, |c| c.offset);
            assert!(position >= committed[at], "committed {}, found {position}", committed[at]);
        }
        // Every other round crashes a store that has just recovered from a crash.
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
}

#[test]
fn acknowledged_batches_survive_a_killed_writer() {
    kill_in_a_loop("os");
}

#[test]
fn durably_acknowledged_batches_survive_a_killed_writer() {
    kill_in_a_loop("always");
}

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_owner() {
    let directory = TempDir::new().unwrap();
    let mut child = start_writer(directory.path(), "os");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("acknowledged")), "the writer runs");
    let error = Store::open(config(directory.path())).unwrap_err();
    // Locks on Windows keep other processes from reading who holds them.
    let expected = (!cfg!(windows)).then(|| child.id());
    assert!(matches!(&error, LogError::Locked { pid, .. } if *pid == expected), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::open(config(directory.path())).unwrap();
    let partition = store.partition("t", 0).unwrap();
    let end = partition.bounds().end;
    assert_eq!(append_one(&partition, b"the lock went with the process"), end);
    assert_eq!(append(&partition, batch(1, 1, b"x")).unwrap().base_offset, end + 1);
}
