//! Stores that are damaged, in use or out of reach.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use crate::support::{Dir, numbered_lines};

/// Files with this extension below a folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_store_in_use() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\n").ok();
    let mut holder = dir.start(&["consume", "t", "--from", "beginning"]);
    // It has the store open when it prints.
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "a\n");

    let refused = dir.feed(&["produce", "t"], b"b\n");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let refused = refused.code(1).prints("");
    assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
    refused.mentions("(store_in_use)\n").mentions("hint: close the process that has the store open");

    dir.feed(&["produce", "t"], b"b\n").ok();
    assert_eq!(dir.read("t"), b"a\nb\n");
}

#[test]
fn a_path_that_cannot_be_a_store() {
    let dir = Dir::new();
    dir.file("file", b"not a folder");
    for url in ["embedded:file", "embedded:file/below"] {
        let run = dir.run(&["topic", "create", "t", "--url", url]).code(1).prints("");
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
        run.mentions("(storage_error)\n")
            .mentions("caused by: ")
            .mentions("hint: choose a folder that can be written, with --url embedded:PATH or FLOE_URL\n");
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"not a folder");
}

#[test]
fn damage_in_the_middle_of_a_segment_is_told_and_nothing_false_is_printed() {
    let dir = Dir::with_topics(&["t"]);
    let input = numbered_lines(2000);
    // Several batches, so that there is something before and behind the damage.
    dir.feed(&["produce", "t", "--batch-size", "4KiB"], &input).ok();
    let segment = files(&dir.path().join("floe-data"), "log")
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at =
        bytes.windows(9).position(|window| window == b"line 1000").expect("values are stored as they are");
    bytes[at] ^= 0x20;
    fs::write(&segment, bytes).unwrap();

    let run = dir.run(&["consume", "t", "-e"]);
    let code = run.code.unwrap();
    assert!(code == 6 || code == 7, "{code}: {}", run.stderr);
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    let text = run.text();
    assert!(text.starts_with("line 0 of the input\nline 1 of the input\n"));
    assert!(!text.contains("Line 1000"), "damaged bytes were printed");
    let whole = String::from_utf8(input).unwrap();
    let known: std::collections::HashSet<_> = whole.lines().collect();
    assert!(text.lines().all(|line| known.contains(line)), "something was printed that was never written");
}

#[test]
fn a_damaged_batch_costs_only_itself() {
    let dir = Dir::with_topics(&["t"]);
    for line in ["first\n", "second\n", "third\n"] {
        dir.feed(&["produce", "t"], line.as_bytes()).ok();
    }
    let segment = files(&dir.path().join("floe-data"), "log")
        .into_iter()
        .find(|path| fs::read(path).unwrap().windows(6).any(|window| window == b"second"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] ^= 0x20;
    fs::write(&segment, bytes).unwrap();

    let run = dir.run(&["consume", "t", "-e"]);
    assert!(matches!(run.code, Some(6 | 7)), "{:?} {}", run.code, run.stderr);
    assert!(run.text().starts_with("first\n"), "{}", run.text());
    // As the hint says.
    dir.run(&["consume", "t", "-e", "--from", "2"]).ok().prints("third\n");
}
