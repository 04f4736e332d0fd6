//! `floe consume`: start position, end, and output formats.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
};

use serde_json::json;

use crate::support::{Dir, numbered_lines};

fn ten() -> Dir {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n").ok();
    dir
}

#[test]
fn start_positions() {
    let dir = ten();
    for (from, expected) in [
        ("beginning", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        ("7", "7\n8\n9\n"),
        ("+8", "8\n9\n"),
        ("-1", "9\n"),
        ("-2", "8\n9\n"),
        ("-100", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        ("end", ""),
        ("10", ""),
        ("@0", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        ("@-1h", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        ("@2200-01-01T00:00:00Z", ""),
    ] {
        dir.run(&["consume", "t", "-e", "--from", from]).ok().prints(expected).stderr_is("");
    }
    dir.run(&["consume", "t", "-e"]).ok().prints("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

#[test]
fn invalid_positions_are_rejected() {
    let dir = ten();
    for from in ["yesterday", "--1", "@soon", "1.5", ""] {
        dir.run(&["consume", "t", "-e", "--from", from]).code(2).prints("");
    }
    dir.run(&["consume", "t", "--from", "stored", "-e"])
        .code(2)
        .stderr_is("error: --from stored needs --group: offsets are stored for a group\n");
    dir.run(&["consume", "t", "-e", "--from", "11"])
        .code(3)
        .mentions("offset_out_of_range")
        .mentions("`floe topic describe t` shows");
    dir.run(&["consume", "t", "-e", "--partition", "1"]).code(3).mentions("partition_not_found");
}

#[test]
fn count_limits_the_records() {
    let dir = ten();
    dir.run(&["consume", "t", "--from", "beginning", "-n", "3"]).ok().prints("0\n1\n2\n");
    dir.run(&["consume", "t", "-e", "-n", "0"]).ok().prints("");
    dir.run(&["consume", "t", "-e", "-n", "1000"]).ok().prints("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    dir.run(&["consume", "t", "-n", "-1"]).code(2);
}

#[test]
fn json_has_every_field() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-K", ":", "-H", "h=1"], b"k:v\n\xff:\xfe\n").ok();
    let rows = dir.run(&["consume", "t", "-e", "-o", "json"]).ok().json();
    for (at, row) in rows.as_array().unwrap().iter().enumerate() {
        let keys: Vec<_> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 7, "{keys:?}");
        assert_eq!(row["topic"], "t");
        assert_eq!(row["partition"], 0);
        assert_eq!(row["offset"], at);
        assert!(row["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
        assert_eq!(row["headers"], json!([{"name": "h", "value": "1"}]));
    }
    assert_eq!((&rows[0]["key"], &rows[0]["value"]), (&json!("k"), &json!("v")));
    assert_eq!((&rows[1]["key"], &rows[1]["value"]), (&json!({"b64": "/w=="}), &json!({"b64": "/g=="})));
    let lines = dir.run(&["consume", "t", "-e", "-o", "jsonl"]).ok();
    assert!(
        lines.text().starts_with(r#"{"topic":"t","partition":0,"offset":0,"timestamp":"#),
        "{}",
        lines.text()
    );
    assert_eq!(json!(lines.json_lines()), rows);
    dir.run(&["consume", "t", "--from", "end", "-e", "-o", "json"]).ok().prints("[]\n");
}

#[test]
fn table_has_one_line_per_record() {
    let dir = ten();
    let run = dir.run(&["consume", "t", "-e", "-o", "table"]).ok().stderr_is("10 records\n");
    assert_eq!(run.text().lines().count(), 11);
    assert!(run.text().starts_with("PARTITION  OFFSET  "), "{}", run.text());
}

#[test]
fn templates_are_applied() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-k", "ada", "-H", "a=1", "-H", "b=2"], b"x\ny\n").ok();
    let consume = |format: &str| dir.run(&["consume", "t", "-e", "--format", format]);
    consume("{topic} {partition} {offset} {key} {value} {headers}")
        .ok()
        .prints("t 0 0 ada x a=1,b=2\nt 0 1 ada y a=1,b=2\n");
    consume("{{key}}={{value}}").ok().prints("ada=x\nada=y\n");
    consume(r"%t %p %o %k %s %h 100%%\n").ok().prints("t 0 0 ada x a=1,b=2 100%\nt 0 1 ada y a=1,b=2 100%\n");
    consume(r"%s\t\c").ok().prints("x\ty\t");
    let times = consume("%T {time}").ok().text();
    for line in times.lines() {
        let (milliseconds, time) = line.split_once(' ').unwrap();
        let parsed: jiff::Timestamp = time.parse().unwrap();
        assert_eq!(parsed.as_millisecond().to_string(), milliseconds);
    }
    dir.feed(&["produce", "t", "-K", "="], b"=empty\nnone\n").ok();
    let last = dir.run(&["consume", "t", "-e", "--from", "2", "--format", "%K %S {key_length}"]);
    last.ok().prints("0 5 0\n-1 4 -1\n");
    consume("{vlaue}").code(2).mentions("did you mean \"value\"?");
    consume("%z").code(2).mentions("unknown field");
    dir.run(&["consume", "t", "-e", "--format", "%s", "-o", "json"]).code(2).mentions("use one");
}

#[test]
fn closed_pipe_is_success() {
    let dir = Dir::with_topics(&["t"]);
    // More than pipes and buffers hold.
    dir.feed(&["produce", "t"], &numbered_lines(100_000)).ok();
    for format in ["text", "jsonl", "json", "table"] {
        let mut child = dir.start(&["consume", "t", "-e", "-o", format]);
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let run = child.wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(0), "{format}");
        assert_eq!(String::from_utf8_lossy(&run.stderr), "", "{format}");
    }
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_the_wait_on_a_quiet_topic() {
    let dir = ten();
    let mut child = dir.start(&["consume", "t", "-B"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    // All records are in the pipe; no write will notice the end.
    drop(stdout);
    let run = child.wait_with_output().unwrap();
    assert_eq!((run.status.code(), String::from_utf8_lossy(&run.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn an_offset_beyond_a_short_partition_gets_the_relative_form() {
    let dir = ten();
    dir.run(&["consume", "t", "-e", "--from", "50"]).code(3).mentions("--from +50").mentions("--partition");
}

#[test]
fn commands_that_read_name_the_store_that_they_do_not_find() {
    let dir = ten();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for store in ["new", "empty"] {
        let url = format!("embedded:./{store}");
        for command in ["consume", "produce"] {
            let run = dir.run(&["--url", &url, command, "t"]).code(3);
            run.mentions(&format!("there is no store in ./{store}"));
        }
    }
    assert!(!dir.path().join("new").exists(), "reading creates no store");
    dir.run(&["consume", "nope"]).code(3).mentions("floe topic create nope");
    dir.run(&["consume", "A B"]).code(3).mentions("hint: `floe topic list` shows the topics\n");
}

#[test]
fn full_output_device_is_a_failure() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let dir = ten();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = dir.command(&["consume", "t", "-e"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(stderr.starts_with("error: cannot write to standard output\n"), "{stderr}");
    assert!(stderr.contains("standard output goes to") && !stderr.contains("retention"), "{stderr}");
}

#[test]
fn records_are_flushed_before_waiting() {
    let dir = ten();
    let mut child = dir.start(&["consume", "t", "--from", "beginning"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The command waits at the end of the topic, so the lines arrive only if it flushes first.
    for expected in 0..10 {
        assert_eq!(lines.next().unwrap().unwrap(), expected.to_string());
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn slow_input_is_sent_line_by_line() {
    let dir = Dir::with_topics(&["t"]);
    let mut child = dir.start(&["produce", "t", "-o", "json"]);
    let mut stdin = child.stdin.take().unwrap();
    for line in [b"a\n".as_slice(), b"b", b"c\n", b"d"] {
        stdin.write_all(line).unwrap();
        stdin.flush().unwrap();
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(dir.read("t"), b"a\nbc\nd\n");
}
