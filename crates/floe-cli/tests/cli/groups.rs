//! Consumer groups: stored offsets, and `floe offsets`.

use std::io::Read as _;

use crate::support::{Dir, numbered_lines};

fn stored(dir: &Dir, group: &str) -> Vec<(u64, i64)> {
    let rows = dir.run(&["offsets", "list", "--group", group, "-o", "json"]).ok().json();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| (row["partition"].as_u64().unwrap(), row["next_offset"].as_i64().unwrap()))
        .collect()
}

#[test]
fn group_resumes_at_its_stored_offset() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\nb\n").ok();
    dir.run(&["consume", "t", "--group", "g", "-e"]).ok().prints("a\nb\n");
    dir.run(&["consume", "t", "--group", "g", "-e"]).ok().prints("");
    dir.feed(&["produce", "t"], b"c\n").ok();
    dir.run(&["consume", "t", "--group", "g", "-e"]).ok().prints("c\n");
    dir.run(&["consume", "t", "--group", "other", "-e", "--from", "stored"]).ok().prints("a\nb\nc\n");
    dir.run(&["consume", "t", "--group", "g", "-e", "--from", "beginning"]).ok().prints("a\nb\nc\n");
}

#[test]
fn count_stores_exactly_the_printed_records() {
    let dir = Dir::with_topics(&["t"]);
    // One batch, so that no count ends at a batch boundary.
    dir.feed(&["produce", "t"], &numbered_lines(100)).ok();
    for (round, expected) in [(0, 7), (1, 14), (2, 21)] {
        let run = dir.run(&["consume", "t", "--group", "g", "-n", "7"]).ok();
        assert_eq!(run.text().lines().next().unwrap(), format!("line {} of the input", round * 7));
        assert_eq!(run.text().lines().count(), 7);
        assert_eq!(stored(&dir, "g"), [(0, expected)]);
    }
}

#[test]
fn closed_pipe_stores_no_offset_beyond_the_read_records() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], &numbered_lines(100_000)).ok();
    let mut child = dir.start(&["consume", "t", "--group", "g", "-e"]);
    let mut taken = vec![0; 1000];
    child.stdout.take().unwrap().read_exact(&mut taken).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let next = stored(&dir, "g").first().map_or(0, |(_, next)| *next);
    // A pipe holds 64 KiB by default and 1 MiB at most; the topic is 2.4 MB.
    assert!(next < 60_000, "{next}");
}

#[test]
fn offsets_are_listed_reset_and_deleted() {
    let dir = Dir::with_topics(&["t", "u"]);
    dir.feed(&["produce", "t"], &numbered_lines(10)).ok();
    dir.feed(&["produce", "u"], &numbered_lines(3)).ok();
    dir.run(&["offsets", "list"]).ok().prints("");
    dir.run(&["consume", "t", "--group", "g", "-n", "4"]).ok();
    dir.run(&["consume", "u", "--group", "g", "-e"]).ok();

    let rows = dir.run(&["offsets", "list", "-o", "jsonl"]).ok().json_lines();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["group"], &rows[0]["topic"]), (&"g".into(), &"t".into()));
    assert_eq!((&rows[0]["next_offset"], &rows[0]["lag"]), (&4.into(), &6.into()));
    assert_eq!(rows[1]["lag"], 0);

    for (to, expected) in [
        ("beginning", 0),
        ("end", 10),
        ("5", 5),
        ("+3", 3),
        ("-1", 9),
        ("-100", 0),
        ("+100", 10),
        ("@0", 0),
        ("@2200-01-01T00:00:00Z", 10),
    ] {
        dir.run(&["offsets", "reset", "g", "t", "--to", to])
            .ok()
            .prints(&format!("g resumes at {expected} in t/0\n"));
        assert_eq!(stored(&dir, "g")[0], (0, expected), "{to}");
    }
    dir.run(&["offsets", "reset", "g", "t", "--to", "11"])
        .code(3)
        .mentions("offset 11 is out of range: the oldest record is at 0, the next one will be at 10");
    dir.run(&["offsets", "reset", "g", "t", "--to", "stored"]).code(2);
    dir.run(&["offsets", "reset", "g", "t", "--to", "0", "--partition", "1"]).code(3);
    dir.run(&["offsets", "reset", "g", "nope", "--to", "0"]).code(3);

    dir.run(&["offsets", "delete", "g", "t"]).code(2).mentions("hint: add --yes to confirm");
    dir.run(&["offsets", "delete", "g", "t", "--yes"]).ok().prints("deleted 1 offset of group g\n");
    dir.run(&["offsets", "delete", "g", "--yes"]).ok().prints("deleted 1 offset of group g\n");
    let none = dir.run(&["offsets", "delete", "g", "--yes"]).code(3);
    none.mentions("group \"g\" has no such stored offsets").mentions("floe offsets list");
    dir.run(&["offsets", "list"]).ok().prints("");
}
