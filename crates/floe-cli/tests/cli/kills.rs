//! Processes that receive a signal or are killed.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Child,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Dir, numbered_lines};

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// Reads a pipe to its end.
fn rest(pipe: Option<impl std::io::Read>) -> String {
    let mut text = String::new();
    pipe.unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn ctrl_c_while_producing_reports_the_stored_records() {
    let dir = Dir::with_topics(&["t"]);
    let input = numbered_lines(50_000);
    let mut child = dir.start(&["produce", "t", "-o", "json"]);
    let mut stdin = child.stdin.take().unwrap();
    // The input exceeds the capacity of the pipe, so the child is reading when this returns. The pipe stays open.
    stdin.write_all(&input).unwrap();
    interrupt(&child);
    let code = child.wait().unwrap().code();
    let stderr = rest(child.stderr.take());
    assert_eq!(code, Some(130), "{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(summary["interrupted"], true);
    let sent = usize::try_from(summary["records"].as_u64().unwrap()).unwrap();
    drop(stdin);

    let read = dir.read("t");
    assert_eq!(read.iter().filter(|byte| **byte == b'\n').count(), sent);
    assert!(input.starts_with(&read), "not a prefix of the input");
}

#[test]
fn ctrl_c_while_producing_prints_the_summary() {
    let dir = Dir::with_topics(&["t"]);
    let mut child = dir.start(&["produce", "t"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&numbered_lines(20_000)).unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stderr = rest(child.stderr.take());
    assert!(stderr.starts_with("interrupted: sent "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn ctrl_c_while_consuming_stores_the_offset() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], &numbered_lines(10)).ok();
    let mut child = dir.start(&["consume", "t", "--group", "g"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..10 {
        stdout.read_line(&mut line).unwrap();
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest(child.stderr.take()), "");
    let rows = dir.run(&["offsets", "list", "-o", "jsonl"]).ok().json_lines();
    assert_eq!(rows[0]["next_offset"], 10);
}

#[test]
fn ctrl_c_completes_the_json_array() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\n").ok();
    let mut child = dir.start(&["consume", "t", "--from", "beginning", "-o", "json"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    stdout.read_line(&mut printed).unwrap();
    // The object precedes its newline and has to arrive before the signal.
    let mut object = vec![0; 10];
    stdout.read_exact(&mut object).unwrap();
    printed.push_str(std::str::from_utf8(&object).unwrap());
    interrupt(&child);
    stdout.read_to_string(&mut printed).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let array: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(array[0]["value"], "a");
}

#[test]
fn second_ctrl_c_ends_at_once() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], &numbered_lines(100_000)).ok();
    let mut child = dir.start(&["consume", "t", "-e"]);
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0];
    stdout.read_exact(&mut first).unwrap();
    // The test stops reading, so the child blocks in a write, which the first Ctrl-C does not interrupt.
    let mut code = None;
    for _ in 0..1000 {
        interrupt(&child);
        thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait().unwrap() {
            code = status.code();
            break;
        }
    }
    assert_eq!(code, Some(130));
}

#[test]
fn group_resumes_after_its_consumer_is_killed() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "--batch-size", "4KiB"], &numbered_lines(50_000)).ok();
    dir.run(&["consume", "t", "--group", "g", "-n", "500"]).ok();
    for _ in 0..3 {
        let mut child = dir.start(&["consume", "t", "--group", "g"]);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        for _ in 0..2000 {
            line.clear();
            stdout.read_line(&mut line).unwrap();
        }
        child.kill().unwrap();
        let mut tail = Vec::new();
        stdout.read_to_end(&mut tail).unwrap();
        child.wait().unwrap();
        // The last complete line; bytes after the last newline are cut off.
        let tail = String::from_utf8(tail).unwrap();
        let whole = tail.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole.lines().last().unwrap_or(&line).to_owned();
        let last = number(&last);

        let again = dir.run(&["consume", "t", "--group", "g", "-n", "1"]).ok().text();
        let next = number(&again);
        assert!(next >= 500, "the stored offset is lost: {next}");
        assert!(next <= last + 1, "records {} to {next} were skipped", last + 1);
    }
    let left = dir.run(&["consume", "t", "--group", "g", "-e"]).ok().text();
    assert_eq!(left.lines().last(), Some("line 49999 of the input"));
}

fn number(line: &str) -> u64 {
    line.split(' ').nth(1).unwrap().parse().unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn acknowledged_records_survive_a_killed_producer() {
    for durability in ["os", "always"] {
        let dir = Dir::new();
        dir.run(&["topic", "create", "t", "--durability", durability]).ok();
        let before = numbered_lines(3000);
        dir.feed(&["produce", "t"], &before).ok();
        let mut acknowledged = before.clone();
        for _ in 0..3 {
            let mut child = dir.start(&["produce", "t", "--batch-size", "4KiB"]);
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(&before).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            drop(stdin);
            let read = dir.read("t");
            assert!(read.starts_with(&acknowledged), "{durability}: an acknowledged record is missing");
            let more = &read[acknowledged.len()..];
            assert!(before.starts_with(more), "{durability}: a stored record differs from the input");
            // A record that was read once must remain.
            acknowledged = read;
        }
        dir.feed(&["produce", "t"], b"after\n").ok();
        assert!(dir.read("t").ends_with(b"after\n"));
    }
}

#[test]
fn ctrl_c_in_a_bench_leaves_no_topic() {
    let dir = Dir::new();
    // More records than the benchmark writes before the signal arrives.
    let mut child = dir.start(&["bench", "--records", "1000000000"]);
    let logs = dir.path().join("floe-data/logs");
    let begun = |_: &u32| {
        thread::sleep(Duration::from_millis(20));
        std::fs::read_dir(&logs).is_ok_and(|mut entries| entries.next().is_some())
    };
    assert!((0..1000).find(begun).is_some(), "the bench wrote nothing");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", rest(child.stderr.take()));
    dir.run(&["topic", "list"]).ok().prints("");
}
