//! `floe produce`, and that `floe consume -e` gives back what went in.

use serde_json::json;

use crate::support::{Dir, numbered_lines};

/// The summary without its figures of time.
fn summary(stderr: &str) -> &str {
    stderr.split(" in ").next().unwrap()
}

#[test]
fn lines_come_back_byte_for_byte() {
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
fn a_last_line_without_a_newline_is_a_record_and_gets_one() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\nb").ok();
    assert_eq!(dir.read("t"), b"a\nb\n");
}

#[test]
fn many_lines_from_a_file_come_back_identical() {
    let dir = Dir::with_topics(&["t"]);
    let input = numbered_lines(20_000);
    dir.file("input.log", &input);
    let run = dir.run(&["produce", "t", "input.log"]).ok();
    assert!(run.stderr.starts_with("sent 20,000 records ("), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "no progress bar in a pipe: {}", run.stderr);
    assert!(dir.read("t") == input, "the bytes differ");
}

#[test]
fn every_codec_and_batch_setting_gives_back_the_same() {
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
fn a_dash_is_standard_input() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-"], b"a\n").ok();
    assert_eq!(dir.read("t"), b"a\n");
}

#[test]
fn keys_and_headers() {
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
fn separators_of_many_bytes_and_escapes() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-K", r"\t"], b"k\tv\tw\n").ok();
    dir.feed(&["produce", "t", "-K", "=>"], b"k=v=>w\n").ok();
    dir.run(&["consume", "t", "-e", "--format", "[{key}] [{value}]"]).ok().prints("[k] [v\tw]\n[k=v] [w]\n");
}

#[test]
fn one_key_for_all() {
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
fn the_summary_can_be_read_by_programs() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.feed(&["produce", "t", "-o", "json"], b"a\nbc\n").ok().prints("");
    let told: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(told["topic"], "t");
    assert_eq!(told["records"], 2);
    assert_eq!(told["bytes"], 3);
    assert_eq!(told["interrupted"], false);
    assert!(told["records_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn bad_headers_and_separators() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t", "-H", "novalue"], b"").code(2).mentions("write name=value");
    dir.feed(&["produce", "t", "-H", "=x"], b"").code(2);
    dir.feed(&["produce", "t", "-K", ""], b"").code(2);
}

#[test]
fn a_file_that_is_not_there() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.run(&["produce", "t", "missing.log"]).code(3).prints("");
    assert!(
        run.stderr.starts_with("error: cannot read missing.log\ncaused by: No such file"),
        "{}",
        run.stderr
    );
    dir.run(&["produce", "t", "."]).code(1).mentions("error: cannot read .\n");
}

#[test]
fn a_record_that_is_too_large_is_refused_and_what_came_before_is_sent() {
    let dir = Dir::with_topics(&["t"]);
    let mut input = b"first\n".to_vec();
    input.extend(vec![b'x'; 17 * 1024 * 1024]);
    input.extend(b"\nlast\n");
    let run = dir.feed(&["produce", "t"], &input).code(8);
    assert_eq!(summary(&run.stderr), "sent 1 record (5 B) to t");
    let run = run
        .mentions("error: record 2 of the input was refused, after sending 1 record\n")
        .mentions("record_too_large")
        .mentions("hint: split the record");
    assert!(run.stderr.contains("16,777,216"), "the limit is named: {}", run.stderr);
    assert_eq!(dir.read("t"), b"first\n");

    dir.feed(&["produce", "t", "--raw"], &input).code(1).mentions("record_too_large");
    assert_eq!(dir.read("t"), b"first\n");
}
