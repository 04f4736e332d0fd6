//! `floe check-history`.

use crate::support::Dir;

const SENT: &str = r#"{"history":1}
{"type":"invoke","call":"send","process":"p","id":1,"topic":"orders","partition":0,"digest":"0a"}
{"type":"ok","call":"send","process":"p","id":1,"offset":0}
"#;
const READ: &str = r#"{"type":"ok","call":"poll","process":"c","topic":"orders","partition":0,"offset":0,"digest":"0a"}
"#;
const OTHER: &str = r#"{"type":"ok","call":"assign","process":"c","topic":"orders","partition":0,"offset":0}
{"type":"ok","call":"poll","process":"c","topic":"orders","partition":0,"offset":1,"digest":"0b"}
"#;

fn history(lines: &[&str]) -> Dir {
    let dir = Dir::new();
    std::fs::write(dir.path().join("history.jsonl"), lines.concat()).unwrap();
    dir
}

#[test]
fn a_clean_history_ends_with_success() {
    let dir = history(&[SENT, READ]);
    let run = dir.run(&["check-history", "history.jsonl", "--drained"]).ok().stderr_is("");
    assert_eq!(
        run.text(),
        "clean: 1 partition, 1 record sent (1 acknowledged, 0 failed, 0 unknown), 1 read, 0 handled, 0 commits\n"
    );
    let json =
        dir.feed(&["check-history", "-", "-o", "json"], (SENT.to_owned() + READ).as_bytes()).ok().json();
    assert_eq!((&json["clean"], &json["read"]), (&true.into(), &1.into()), "{json}");
}

#[test]
fn anomalies_are_named_and_end_with_their_exit_code() {
    let dir = history(&[SENT, OTHER]);
    let run = dir.run(&["check-history", "history.jsonl"]).code(6);
    assert!(run.text().starts_with("lost-write: orders/0/0: "), "{}", run.text());
    assert!(run.stderr.contains("1 lost-write, 1 unsent, 1 poll-skip"), "{}", run.stderr);
    let table = dir.run(&["check-history", "history.jsonl", "-o", "table"]).code(6);
    assert!(table.text().contains("poll-skip"), "{}", table.text());
    let run = dir.run(&["check-history", "history.jsonl", "-o", "json"]).code(6);
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&json["clean"], &json["anomalies"]["lost-write"]), (&false.into(), &1.into()), "{json}");
    assert_eq!(json["findings"][0]["offset"], 0, "{json}");
}

#[test]
fn a_record_that_no_reader_got_counts_once_reading_is_done() {
    let dir = history(&[SENT]);
    let run = dir.run(&["check-history", "history.jsonl"]).ok();
    assert!(run.text().contains("1 record acknowledged beyond the end of reading"), "{}", run.text());
    dir.run(&["check-history", "history.jsonl", "--drained"]).code(6).mentions("1 unseen");
}

#[test]
fn a_file_that_is_no_history_is_refused_with_its_line() {
    let dir = history(&[SENT, "{\"type\":\"done\"}\n"]);
    dir.run(&["check-history", "history.jsonl"]).code(1).mentions("line 4");
    dir.run(&["check-history", "absent.jsonl"]).code(3).mentions("absent.jsonl");
    dir.run(&["check-history"]).code(2);
}
