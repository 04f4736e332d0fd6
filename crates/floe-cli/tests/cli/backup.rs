//! `floe backup` and `floe restore`.

use std::fs;

use crate::support::{Dir, numbered_lines};

/// Makes a store with several segments and a stored offset.
fn store() -> Dir {
    let dir = Dir::new();
    dir.run(&["topic", "create", "t", "--segment-bytes", "8KiB"]).ok();
    dir.feed(&["produce", "t", "--batch-size", "1KiB"], &numbered_lines(2000)).ok();
    dir.run(&["consume", "t", "--group", "g", "-n", "500"]).ok();
    dir
}

fn segments(dir: &Dir, store: &str) -> Vec<std::path::PathBuf> {
    let logs = fs::read_dir(dir.path().join(store).join("logs")).unwrap();
    let files =
        logs.flat_map(|log| fs::read_dir(log.unwrap().path()).unwrap()).map(|file| file.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect();
    segments.sort();
    segments
}

#[test]
fn a_backup_is_whole_and_comes_back() {
    let dir = store();
    let run = dir.run(&["backup", "saved/", "-o", "json"]).ok().json();
    assert_eq!((&run["whole"], &run["partitions"]), (&true.into(), &1.into()), "{run}");
    let count = segments(&dir, "floe-data").len();
    assert!(count > 3, "{count}");
    assert!(run["linked_files"].as_u64().unwrap() >= count as u64 - 1 || cfg!(not(unix)), "{run}");
    dir.run(&["check", "saved"]).ok();
    assert_eq!(
        dir.read("t"),
        dir.run(&["consume", "t", "-e", "--url", "embedded:saved?mode=read"]).ok().stdout
    );

    // The store goes on, and the backup does not.
    dir.feed(&["produce", "t", "--batch-size", "1KiB"], &numbered_lines(2000)).ok();
    dir.run(&["restore", "saved", "--url", "embedded:again"]).ok();
    let again = |args: &[&str]| dir.run(&[args, &["--url", "embedded:again"]].concat());
    assert_eq!(again(&["consume", "t", "-e"]).ok().stdout, numbered_lines(2000));
    assert_eq!(again(&["offsets", "list", "-o", "jsonl"]).ok().json_lines()[0]["next_offset"], 500);
    // Writing to the restored store changes neither the backup nor the store.
    dir.feed(&["produce", "t", "--url", "embedded:again"], b"more\n").ok();
    dir.run(&["topic", "delete", "t", "--url", "embedded:again", "--yes"]).ok();
    for whole in ["saved", "floe-data"] {
        dir.run(&["check", whole]).ok();
    }
    assert_eq!(dir.read("t").len(), 2 * numbered_lines(2000).len());
}

#[test]
fn a_store_that_was_killed_is_backed_up_as_it_is() {
    let dir = store();
    fs::remove_file(dir.path().join("floe-data/CLEAN")).unwrap();
    dir.run(&["backup", "saved", "--copy"])
        .ok()
        .prints_start("backup of ./floe-data in saved: 1 partition, ");
    assert!(!dir.path().join("floe-data/CLEAN").exists(), "a backup writes nothing to the store");
    dir.run(&["restore", "saved", "--url", "embedded:again"]).ok();
    assert_eq!(dir.run(&["consume", "t", "-e", "--url", "embedded:again"]).ok().stdout, numbered_lines(2000));
}

#[test]
fn namespaces_are_stores_of_their_own() {
    let dir = store();
    let blue = "embedded:floe-data?namespace=blue";
    dir.run(&["topic", "create", "b", "--url", blue]).ok();
    dir.run(&["backup", "saved"]).ok();
    assert!(!dir.path().join("saved/blue").exists());
    dir.run(&["backup", "saved-blue", "--url", blue]).ok();
    dir.run(&["topic", "list", "--url", "embedded:saved-blue"]).ok().prints("b\n");
}

#[test]
fn refusals_leave_everything_as_it_is() {
    let dir = store();
    dir.run(&["backup", "x", "--url", "memory:"]).code(2);
    dir.run(&["backup", "x", "--url", "embedded:none"]).code(3).mentions("there is no store in none");
    dir.run(&["restore", "none", "--url", "embedded:x"]).code(3);
    assert!(!dir.path().join("x").exists() && !dir.path().join("none").exists());
    dir.run(&["backup", "saved"]).ok();
    dir.run(&["backup", "saved"]).code(2).mentions("saved exists: nothing was copied");
    dir.run(&["restore", "saved"]).code(2).mentions("exists: nothing was copied");
    fs::create_dir(dir.path().join("x.partial")).unwrap();
    fs::write(dir.path().join("x.partial/file"), b"x").unwrap();
    dir.run(&["backup", "x"]).code(2).mentions("cut short left it behind");

    // A backup in use is not restored.
    let mut child = dir.start(&["consume", "t", "--from", "beginning", "--url", "embedded:saved"]);
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let run = dir.run(&["restore", "saved", "--url", "embedded:y"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("store_in_use") && !dir.path().join("y").exists(), "{}", run.stderr);
    drop(child);

    let segment = segments(&dir, "saved")[0].clone();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // A new file, so that the store keeps its own.
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, bytes).unwrap();
    dir.run(&["restore", "saved", "--url", "embedded:again"]).code(6).mentions("nothing was restored");
    assert!(!dir.path().join("again").exists());
    dir.run(&["check"]).ok();
}
