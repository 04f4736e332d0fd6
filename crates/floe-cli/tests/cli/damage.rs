//! Damaged stores, `floe check`, stores for reading only, and the log.

use std::{fs, path::PathBuf};

use crate::support::Dir;

/// Makes a store with the records 0 to 9, each in a batch of its own.
fn store() -> Dir {
    let dir = Dir::with_topics(&["t"]);
    for number in 0..10 {
        dir.feed(&["produce", "t"], format!("record {number}\n").as_bytes()).ok();
    }
    dir
}

fn segment(dir: &Dir) -> PathBuf {
    let logs = fs::read_dir(dir.path().join("floe-data/logs")).unwrap();
    let mut files =
        logs.flat_map(|log| fs::read_dir(log.unwrap().path()).unwrap()).map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "seg")).unwrap()
}

/// Flips a bit of a record.
fn flip(dir: &Dir, number: usize) {
    let path = segment(dir);
    let mut bytes = fs::read(&path).unwrap();
    let value = format!("record {number}").into_bytes();
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn damage_is_told_by_reading_health_and_check_and_is_mended_by_a_repair() {
    let dir = store();
    let check = dir.run(&["check", "floe-data"]).ok();
    assert!(check.text().contains("floe-data: whole, 1 partition, 1 segment"), "{}", check.text());
    flip(&dir, 4);

    let read = dir.run(&["consume", "t", "-e"]).code(7);
    assert_eq!(read.text().lines().count(), 9);
    assert!(read.stderr.contains("offsets 4 to 4 (gap)"), "{}", read.stderr);
    let check = dir.run(&["check", "floe-data"]).code(6);
    assert!(check.text().starts_with("t/0: ") && check.text().contains("lost: 4 to 4"), "{}", check.text());
    assert!(check.stderr.contains("hint: "), "{}", check.stderr);
    let json: serde_json::Value =
        serde_json::from_slice(&dir.run(&["check", "-o", "json"]).code(6).stdout).unwrap();
    assert_eq!((&json["whole"], &json["lost_records"]), (&false.into(), &1.into()), "{json}");

    let kept = dir.run(&["check", "--repair"]).ok();
    assert!(kept.text().contains("kept: ./floe-data/lost+found/"), "{}", kept.text());
    dir.run(&["check"]).ok();
    dir.run(&["health", "--check"]).ok();
    // The records stay lost, and readers are still told.
    let read = dir.run(&["consume", "t", "-e"]).code(7);
    assert_eq!(read.text().lines().count(), 9);
}

#[test]
fn a_catalog_put_back_from_a_copy_hides_no_record_for_good() {
    let dir = Dir::with_topics(&["old"]);
    let catalog = dir.path().join("floe-data/meta.redb");
    let copy = fs::read(&catalog).unwrap();
    dir.run(&["topic", "create", "new"]).ok();
    dir.feed(&["produce", "new"], b"one\ntwo\n").ok();
    fs::write(&catalog, copy).unwrap();
    let list = dir.run(&["topic", "list"]).ok().prints("old\n");
    assert!(list.stderr.contains("warning: ") && list.stderr.contains("lost+found"), "{}", list.stderr);
    let check = dir.run(&["check", "--adopt"]).ok();
    assert!(check.text().contains("taken back: 1 log as topic new"), "{}", check.text());
    dir.run(&["consume", "new", "-e"]).ok().prints("one\ntwo\n");
}

#[test]
fn check_of_no_store_and_of_no_directory() {
    let dir = Dir::new();
    let run = dir.run(&["check", "nowhere"]).code(3);
    assert!(run.stderr.starts_with("error: there is no store in nowhere\n"), "{}", run.stderr);
    dir.run(&["check", "--url", "memory:"]).code(2);
}

#[test]
fn reading_creates_no_store() {
    let dir = Dir::new();
    for (line, code, printed) in [
        (&["consume", "t", "-e"][..], 3, ""),
        (&["topic", "list"], 0, ""),
        (&["topic", "describe", "t"], 3, ""),
        (&["offsets", "list"], 0, ""),
        (&["health"], 0, "embedded: ready\n  ./floe-data: open\n"),
    ] {
        dir.run(line).code(code).prints(printed);
    }
    assert!(dir.run(&["topic", "list", "-v"]).ok().stderr.contains("there is no store in this directory"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_store_for_reading_only_is_read_and_not_written() {
    let dir = store();
    let url = "embedded:./floe-data?mode=read";
    assert_eq!(dir.run(&["--url", url, "consume", "t", "-e"]).ok().text().lines().count(), 10);
    dir.run(&["--url", url, "health", "--check"]).ok();
    let run = dir.feed(&["--url", url, "produce", "t"], b"x\n").code(1);
    assert!(run.stderr.contains("open for reading only"), "{}", run.stderr);
    assert!(dir.run(&["--url", url, "topic", "create", "u"]).code(1).stderr.contains("reading only"));
    assert_eq!(dir.read("t").split(|byte| *byte == b'\n').count(), 11);
}

#[cfg(unix)]
#[test]
fn a_path_is_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = store();
    let odd = std::ffi::OsStr::from_bytes(b"d\xff");
    fs::rename(dir.path().join("floe-data"), dir.path().join(odd)).unwrap();
    let run = dir.command(&["check"]).arg(odd).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    assert_eq!(dir.run(&["--url", "embedded:d%FF", "topic", "list"]).ok().text(), "t\n");
}

#[test]
fn warnings_are_on_by_default_and_the_filter_decides() {
    let dir = store();
    // After an unclean end, opening finds the damage.
    fs::remove_file(dir.path().join("floe-data/CLEAN")).unwrap();
    flip(&dir, 9);
    let list = |variable: &str, more: &[&str]| {
        let mut command = dir.command(&["topic", "describe", "t"]);
        command.args(more).env("FLOE_LOG", variable).output().unwrap()
    };
    let lines = |output: std::process::Output| String::from_utf8(output.stderr).unwrap();
    let text = lines(list("", &[]));
    assert!(text.starts_with("warning: ") && text.contains("place=t/0"), "{text}");
    fs::remove_file(dir.path().join("floe-data/CLEAN")).unwrap();
    assert_eq!(lines(list("off", &[])), "");
    fs::remove_file(dir.path().join("floe-data/CLEAN")).unwrap();
    let json = lines(list("warn", &["--log-format", "json"]));
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["level"], &first["fields"]["place"]), (&"warning".into(), &"t/0".into()), "{json}");
    let refused = list("loud", &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(lines(refused).starts_with("error: FLOE_LOG: \"loud\" is no level"));
}
