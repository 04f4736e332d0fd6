//! `floe produce`, and the round trip through `floe consume -e`.

use serde_json::json;

use crate::support::{Dir, numbered_lines};

/// Returns the summary without its times.
fn summary(stderr: &str) -> &str {
    stderr.split(" in ").next().unwrap()
}

#[test]
fn lines_round_trip_byte_for_byte() {
    let cases: [(&str, &[u8]); 7] = [
        ("plain", b"a\nb\nc\n"),
        ("dos", b"a\r\n\r\nb\r\n"),
        ("binary", b"nul\0here\n\xff\xfe\n\xc3\x28\n\x1b[31m\n"),
        ("empty-lines", b"\n\na\n\n"),
        ("one-empty-line", b"\n"),
        ("nothing", b""),
        ("spaces", b" leading\n\ttab\ntrailing \n"),
    ];
    let dir = Dir::new();
    for (topic, input) in cases {
        dir.run(&["topic", "create", topic]).ok();
        let run = dir.feed(&["produce", topic], input).ok().prints("");
        let lines = input.iter().filter(|byte| **byte == b'\n').count();
        assert!(run.stderr.starts_with(&format!("sent {lines} record")), "{topic}: {}", run.stderr);
        assert_eq!(dir.read(topic), input, "{topic}");
    }
}

#[test]
fn last_line_without_a_newline_is_a_record() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\nb").ok();
    assert_eq!(dir.read("t"), b"a\nb\n");
}

#[test]
fn many_lines_of_a_file_round_trip() {
    let dir = Dir::with_topics(&["t"]);
    let input = numbered_lines(20_000);
    dir.file("input.log", &input);
    let run = dir.run(&["produce", "t", "input.log"]).ok();
    assert!(run.stderr.starts_with("sent 20,000 records ("), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "no progress bar in a pipe: {}", run.stderr);
    assert!(dir.read("t") == input, "the bytes differ");
}

#[test]
fn every_codec_and_batch_setting_round_trips() {
    let input = numbered_lines(3000);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let dir = Dir::with_topics(&["t"]);
        let args = ["produce", "t", "--compression", codec, "--linger", "5ms", "--batch-size", "16KiB"];
        dir.feed(&args, &input).ok();
        assert!(dir.read("t") == input, "{codec}");
    }
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "--compression", "brotli"], b"").code(2);
    dir.feed(&["produce", "t", "--batch-size", "0"], b"").code(2);
    dir.feed(&["produce", "t", "--linger", "5"], b"").code(2).mentions("such as 250ms");
}

#[test]
fn dash_is_standard_input() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-"], b"a\n").ok();
    assert_eq!(dir.read("t"), b"a\n");
}

#[test]
fn keys_and_headers_are_written() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-K", ":", "-H", "n=1", "-H", "n:2=3"], b"k:v\nno separator\na:b:c\n:v\n")
        .ok();
    let rows = dir.run(&["consume", "t", "-e", "-o", "jsonl"]).ok().json_lines();
    let found: Vec<_> = rows.iter().map(|row| (row["key"].clone(), row["value"].clone())).collect();
    assert_eq!(
        found,
        [
            (json!("k"), json!("v")),
            (json!(null), json!("no separator")),
            (json!("a"), json!("b:c")),
            (json!(""), json!("v")),
        ]
    );
    let headers = json!([{"name": "n", "value": "1"}, {"name": "n", "value": "2=3"}]);
    assert!(rows.iter().all(|row| row["headers"] == headers), "{rows:?}");
}

#[test]
fn separators_may_have_many_bytes_and_escapes() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-K", r"\t"], b"k\tv\tw\n").ok();
    dir.feed(&["produce", "t", "-K", "=>"], b"k=v=>w\n").ok();
    dir.run(&["consume", "t", "-e", "--format", "[{key}] [{value}]"]).ok().prints("[k] [v\tw]\n[k=v] [w]\n");
}

#[test]
fn one_key_applies_to_all_records() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-k", "k:1"], b"a\nb\n").ok();
    dir.run(&["consume", "t", "-e", "--format", "%k %s"]).ok().prints("k:1 a\nk:1 b\n");
    dir.feed(&["produce", "t", "-k", "k", "-K", ":"], b"a\n").code(2).mentions("cannot be used with");
}

#[test]
fn raw_input_is_one_record() {
    let dir = Dir::with_topics(&["t", "empty"]);
    let run = dir.feed(&["produce", "t", "--raw"], b"two\nlines\0\xff").ok();
    assert_eq!(summary(&run.stderr), "sent 1 record (11 B) to t");
    assert_eq!(dir.read("t"), b"two\nlines\0\xff\n");
    dir.feed(&["produce", "empty", "--raw"], b"").ok();
    assert_eq!(dir.read("empty"), b"\n");
    dir.feed(&["produce", "t", "--raw", "-K", ":"], b"").code(2);
}

#[test]
fn a_partition_can_be_chosen() {
    let dir = Dir::new();
    dir.run(&["topic", "create", "t", "--partitions", "3"]).ok();
    dir.feed(&["produce", "t", "--partition", "2", "-k", "k"], b"a\nb\n").ok();
    dir.run(&["consume", "t", "-e", "--partition", "2", "--format", "%p %o %s"])
        .ok()
        .prints("2 0 a\n2 1 b\n");
    dir.run(&["consume", "t", "-e", "--partition", "0"]).ok().prints("");
    dir.feed(&["produce", "t", "--partition", "3"], b"a\n")
        .code(3)
        .mentions("t/3")
        .mentions("the topic has 3 partitions (partition_not_found)");
}

#[test]
fn summary_can_be_json() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.feed(&["produce", "t", "-o", "json"], b"a\nbc\n").ok().prints("");
    let summary: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(summary["topic"], "t");
    assert_eq!(summary["records"], 2);
    assert_eq!(summary["bytes"], 3);
    assert_eq!(summary["interrupted"], false);
    assert!(summary["records_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn invalid_headers_and_separators_are_rejected() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-H", "novalue"], b"").code(2).mentions("use name=value");
    dir.feed(&["produce", "t", "-H", "=x"], b"").code(2);
    dir.feed(&["produce", "t", "-K", ""], b"").code(2);
}

#[test]
fn missing_file_is_not_found() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.run(&["produce", "t", "missing.log"]).code(3).prints("");
    assert!(run.stderr.starts_with("error: cannot read missing.log\ncaused by: "), "{}", run.stderr);
    dir.run(&["produce", "t", "."]).code(1).mentions("error: cannot read .\n");
}

#[test]
fn oversized_record_is_rejected_after_earlier_ones_are_sent() {
    let dir = Dir::with_topics(&["t"]);
    let mut input = b"first\n".to_vec();
    input.extend(vec![b'x'; 17 * 1024 * 1024]);
    input.extend(b"\nlast\n");
    let run = dir.feed(&["produce", "t"], &input).code(8);
    assert_eq!(summary(&run.stderr), "sent 1 record (5 B) to t");
    let run = run
        .mentions("error: record 2 of the input was rejected; 1 record sent before it\n")
        .mentions("record_too_large")
        .mentions("hint: split the record");
    assert!(run.stderr.contains("16,777,216"), "the limit is named: {}", run.stderr);
    assert_eq!(dir.read("t"), b"first\n");

    dir.feed(&["produce", "t", "--raw"], &input).code(1).mentions("record_too_large");
    assert_eq!(dir.read("t"), b"first\n");
}
