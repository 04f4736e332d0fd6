//! `floe export` and `floe import`.

use std::fs;

use serde_json::Value;

use crate::support::Dir;

/// Makes a topic of two partitions with keys, headers and bytes that are no text.
fn store() -> Dir {
    let dir = Dir::new();
    dir.run(&["topic", "create", "orders", "--partitions", "2", "--retention-age", "1w"]).ok();
    let lines: Vec<u8> = (0..1000).flat_map(|n| format!("k{}:value {n}\n", n % 7).into_bytes()).collect();
    dir.feed(&["produce", "orders", "-K", ":", "-H", "a=1", "-H", "a=2"], &lines).ok();
    dir.feed(&["produce", "orders", "--raw"], b"\xff\n\0").ok();
    dir
}

fn all(dir: &Dir, url: &str, topic: &str) -> Vec<Value> {
    let read = dir.run(&["consume", topic, "--url", url, "-e", "-o", "jsonl"]).ok();
    let mut rows = read.json_lines();
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("topic");
    }
    rows.sort_by_key(|row| (row["partition"].as_u64(), row["offset"].as_u64()));
    rows
}

#[test]
fn a_topic_survives_its_file() {
    let dir = store();
    dir.run(&["export", "orders", "orders.zst"])
        .ok()
        .mentions("exported 1,001 records of orders to orders.zst");
    assert!(!dir.path().join("orders.zst.partial").exists());
    dir.run(&["import", "orders.zst", "--url", "embedded:b"]).ok().mentions("imported 1,001 records");
    assert_eq!(all(&dir, "embedded:b", "orders"), all(&dir, "embedded:floe-data", "orders"));
    let described =
        dir.run(&["topic", "describe", "orders", "--url", "embedded:b", "-o", "json"]).ok().json();
    let before = dir.run(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(
        (&described["retention_age_ms"], &described["partitions"]),
        (&before["retention_age_ms"], &before["partitions"])
    );

    dir.run(&["import", "orders.zst"]).code(2).mentions("topic orders has records: nothing was imported");
    dir.run(&["import", "orders.zst", "again"]).ok();
    dir.run(&["import", "orders.zst", "again", "--append"]).ok();
    assert_eq!(all(&dir, "embedded:floe-data", "again").len(), 2002);
    dir.run(&["topic", "create", "small"]).ok();
    dir.run(&["import", "orders.zst", "small"])
        .code(2)
        .mentions("small has 1 partition, and the file needs 2");
}

#[test]
fn a_file_can_be_read_without_floe() {
    let dir = store();
    dir.run(&["export", "orders", "few.zst", "--where", "key = 'k3'"]).ok().mentions("exported 143 records");
    let text = zstd::decode_all(&fs::read(dir.path().join("few.zst")).unwrap()[..]).unwrap();
    let lines: Vec<Value> =
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (header, trailer) = (&lines[0], &lines[lines.len() - 1]);
    assert_eq!((&header["floe_export"], &header["topic"]), (&1.into(), &"orders".into()));
    assert_eq!((&header["partitions"], &header["where"]), (&2.into(), &"key = 'k3'".into()));
    assert_eq!((&trailer["records"], lines.len()), (&143.into(), 145));
    assert!(lines[1..144].iter().all(|record| record["key"] == "k3" && record["headers"][1]["value"] == "2"));
}

#[test]
fn damaged_and_foreign_files_are_refused_before_the_first_record() {
    let dir = store();
    dir.run(&["export", "orders", "orders.zst"]).ok();
    dir.run(&["export", "orders", "orders.zst"]).code(2).mentions("--overwrite replaces it");
    dir.run(&["export", "orders", "orders.zst", "--overwrite"]).ok();
    let whole = fs::read(dir.path().join("orders.zst")).unwrap();
    dir.file("cut.zst", &whole[..whole.len() / 2]);
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    dir.file("changed.zst", &changed);
    for damaged in ["cut.zst", "changed.zst"] {
        dir.run(&["import", damaged, "--url", "embedded:b"]).code(6).mentions("is not a whole export");
    }
    dir.file("other.zst", &zstd::encode_all(&b"{\"value\":\"x\"}\n"[..], 1).unwrap());
    dir.run(&["import", "other.zst", "--url", "embedded:b"]).code(2).mentions("is not an export of floe");
    dir.file(
        "newer.zst",
        &zstd::encode_all(&b"{\"floe_export\":2,\"topic\":\"t\",\"partitions\":1}\n"[..], 1).unwrap(),
    );
    dir.run(&["import", "newer.zst", "--url", "embedded:b"]).code(2).mentions("version 2");
    dir.run(&["import", "nothing.zst", "--url", "embedded:b"]).code(3);
    dir.run(&["import", "-"]).code(2);
    dir.run(&["export", "orders", "-"]).code(2);
    assert!(!dir.path().join("b").exists());
}

#[test]
fn a_failed_export_leaves_no_file() {
    let dir = store();
    dir.run(&["export", "nothing", "n.zst"]).code(3);
    dir.run(&["export", "orders", "no/folder/n.zst"]).code(3);
    let names =
        fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("n.zst")));
}

/// The file size limit stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_that_looks_whole() {
    let dir = store();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let floe = assert_cmd::cargo::cargo_bin!("floe");
    let url = "embedded:floe-data?mode=read";
    let script = format!("ulimit -f 1; exec {} export orders o.zst --url {url}", floe.display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(dir.path());
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write o.zst.partial") && stderr.contains("ulimit -f"), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
}
