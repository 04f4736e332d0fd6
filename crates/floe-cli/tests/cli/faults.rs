//! Stores that are damaged, in use or inaccessible.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use crate::support::{Dir, numbered_lines};

/// Finds files with this extension below a directory.
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
fn store_in_use_is_reported() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\n").ok();
    let mut holder = dir.start(&["consume", "t", "--from", "beginning"]);
    // The first printed record proves that the store is open.
    let mut line = String::new();
    // The pipe stays open: the command would end with its reader.
    let mut stdout = BufReader::new(holder.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "a\n");

    let refused = dir.feed(&["produce", "t"], b"b\n");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let refused = refused.code(1).prints("");
    assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
    refused.mentions("(store_in_use)\n").mentions("hint: stop the process that has the store open");

    dir.feed(&["produce", "t"], b"b\n").ok();
    assert_eq!(dir.read("t"), b"a\nb\n");
}

#[test]
fn unusable_path_is_reported() {
    let dir = Dir::new();
    dir.file("file", b"not a folder");
    for url in ["embedded:file", "embedded:file/below"] {
        let run = dir.run(&["topic", "create", "t", "--url", url]).code(1).prints("");
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
        run.mentions("(storage_error)\n")
            .mentions("caused by: ")
            .mentions("hint: choose a writable directory with --url embedded:PATH or FLOE_URL\n");
    }
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"not a folder");
}

/// Changes one byte of the first `text` in the segments of the store.
fn damage(dir: &Dir, text: &str) {
    for path in files(&dir.path().join("floe-data"), "seg") {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            bytes[at] ^= 0x20;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("{text:?} is in no segment");
}

#[test]
fn damaged_batch_is_the_only_loss() {
    let dir = Dir::new();
    dir.run(&["topic", "create", "t", "--segment-bytes", "64KiB"]).ok();
    let input = numbered_lines(20_000);
    for part in input.chunks(50_000) {
        dir.feed(&["produce", "t", "--raw"], part).ok();
    }
    assert!(dir.read("t").len() > input.len());
    damage(&dir, "line 1000 of");

    for (format, group) in [("text", "a"), ("json", "b")] {
        let run = dir.run(&["consume", "t", "-e", "-o", format, "--group", group]).code(7);
        assert_eq!(run.stderr.matches("1 record missing in 1 gap").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("t/0: damaged records were skipped: offsets 0 to 0"), "{}", run.stderr);
        assert!(run.stderr.contains("reading continues after the gap"), "{}", run.stderr);
        if format == "json" {
            assert_eq!(run.json().as_array().unwrap().len(), input.chunks(50_000).count() - 1);
            assert!(run.stderr.lines().all(|line| line.starts_with("{\"error\":")), "{}", run.stderr);
        } else {
            let whole: Vec<u8> =
                input.chunks(50_000).skip(1).flat_map(|part| [part, b"\n"].concat()).collect();
            assert!(run.stdout == whole, "not everything but the damaged record came back");
        }
        // The group has passed the gap and does not report it again.
        dir.run(&["consume", "t", "-e", "--group", group]).ok().prints("");
    }
}

#[test]
fn damage_in_the_newest_segment_is_reported() {
    let dir = Dir::with_topics(&["t"]);
    for line in ["first\n", "second\n", "third\n"] {
        dir.feed(&["produce", "t"], line.as_bytes()).ok();
    }
    damage(&dir, "second");
    let run = dir.run(&["consume", "t", "-e"]).code(7);
    assert!(run.stderr.contains("t/0: damaged records were skipped: offsets 1 to 1"), "{}", run.stderr);
    assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    assert_eq!(run.text(), "first\nthird\n");
    // New records follow the damaged one.
    dir.feed(&["produce", "t"], b"fourth\n").ok();
    assert_eq!(dir.run(&["consume", "t", "-e"]).code(7).text(), "first\nthird\nfourth\n");
}

#[test]
fn store_without_its_catalog_is_left_unchanged() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"one\n").ok();
    let catalog = dir.path().join("floe-data/meta.redb");
    let kept = fs::read(&catalog).unwrap();
    fs::remove_file(&catalog).unwrap();
    for _ in 0..2 {
        let run = dir.run(&["topic", "list"]).code(6);
        assert!(run.stderr.contains("meta.redb is missing or empty"), "{}", run.stderr);
    }
    fs::write(&catalog, kept).unwrap();
    assert_eq!(dir.run(&["consume", "t", "-e"]).ok().text(), "one\n");
}

/// A file size limit stops the growth of the segment, as a full disk would.
#[cfg(unix)]
#[test]
fn failed_write_is_reported_and_acknowledged_records_remain() {
    let dir = Dir::with_topics(&["t"]);
    let input = numbered_lines(200_000);
    dir.file("input.log", &input);
    let floe = assert_cmd::cargo::cargo_bin!("floe");
    // The unit is 512 bytes or 1 KiB, depending on the shell.
    let script = format!("trap '' XFSZ; ulimit -f 2000; exec {} -o json produce t input.log", floe.display());
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env_remove("FLOE_URL")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    let lines: Vec<serde_json::Value> =
        stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [summary, error] = lines.as_slice() else { panic!("{stderr}") };
    assert_eq!(error["error"]["code"], "storage_error");
    assert!(error["error"]["message"].as_str().unwrap().ends_with("records not delivered"), "{stderr}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("ulimit -f"), "{stderr}");

    let read = dir.run(&["consume", "t", "-e"]).ok().text();
    assert_eq!(read.lines().count() as u64, summary["records"].as_u64().unwrap());
    let whole = String::from_utf8(input).unwrap();
    let mut rest = whole.lines();
    for line in read.lines() {
        assert!(rest.any(|known| known == line), "{line:?} is out of order or was never sent");
    }
}

#[test]
fn a_store_in_use_and_a_missing_topic_are_waited_for() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\n").ok();
    let mut holder = dir.start(&["consume", "t", "--from", "beginning"]);
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "a\n", "the store is open");
    dir.run(&["topic", "list"]).code(1).mentions("--wait 10s");
    let waiting = dir.start(&["topic", "list", "--wait", "10m"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let listed = waiting.wait_with_output().unwrap();
    assert_eq!((listed.status.code(), listed.stdout), (Some(0), b"t\n".to_vec()));

    let cluster = crate::cluster::Cluster::start();
    let url = cluster.url();
    let waiting =
        dir.start_with(&["consume", "later", "-n", "1", "-B", "--wait", "10m"], &[("FLOE_URL", &url)]);
    cluster.run(&dir, &["topic", "create", "later"]).ok();
    dir.feed(&["--url", &url, "produce", "later"], b"record\n").ok();
    let read = waiting.wait_with_output().unwrap();
    assert_eq!((read.status.code(), read.stdout), (Some(0), b"record\n".to_vec()));
    cluster.run(&dir, &["consume", "never", "--wait", "1ms"]).code(3).mentions("topic_not_found");
}

/// `ulimit -f` sends a signal at the first write beyond it, which kills a process by default.
#[cfg(unix)]
#[test]
fn the_file_size_limit_is_an_error_of_the_store() {
    let dir = Dir::with_topics(&["t"]);
    let lines = dir.file("lines", &numbered_lines(200_000));
    let limited = format!(
        "ulimit -f 64; exec {} produce t {}",
        assert_cmd::cargo::cargo_bin!("floe").display(),
        lines.display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &limited]).current_dir(dir.path()).env("HOME", dir.path());
    let run: crate::support::Run = command.output().unwrap().into();
    assert!(matches!(run.code, Some(1 | 8)), "{:?}: {}", run.code, run.stderr);
    run.mentions("storage_error").mentions("ulimit -f");
}
