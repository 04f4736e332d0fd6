//! `floe copy`: between stores and clusters, through kills, with filters, and the refusals.

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use serde_json::Value;

use crate::{
    cluster::Cluster,
    support::{Dir, Run},
};

/// Lines `key:value` in several batches; every fifth record has no key.
fn keyed_lines(count: usize) -> Vec<u8> {
    let line = |number: usize| match number % 5 {
        0 => format!("record {number} without a key, and some more text\n"),
        rest => format!("key-{}:record {number} of key {rest}, and some more text\n", number % 17),
    };
    (0..count).flat_map(|number| line(number).into_bytes()).collect()
}

/// Makes a topic `orders` in `embedded:a`.
fn source(partitions: u32, records: usize) -> Dir {
    let dir = Dir::new();
    let create =
        ["topic", "create", "orders", "--url", "embedded:a", "--partitions", &partitions.to_string()];
    dir.run(&create).ok();
    let produce = ["produce", "orders", "--url", "embedded:a", "-K", ":", "-H", "origin=web"];
    dir.feed(&[&produce[..], &["--batch-size", "8KiB"]].concat(), &keyed_lines(records)).ok();
    dir
}

/// Reads the records of a topic by partition, without their offsets.
fn records(dir: &Dir, url: &str, topic: &str) -> BTreeMap<u64, Vec<Value>> {
    let read = dir.run(&["consume", topic, "--url", url, "-e", "--from", "beginning", "-o", "jsonl"]).ok();
    let mut partitions: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for mut record in read.json_lines() {
        let partition = record["partition"].as_u64().unwrap();
        for place in ["topic", "partition", "offset"] {
            record.as_object_mut().unwrap().remove(place);
        }
        partitions.entry(partition).or_default().push(record);
    }
    partitions
}

/// All records, in an order that does not depend on their partitions.
fn sorted(partitions: BTreeMap<u64, Vec<Value>>) -> Vec<String> {
    let mut all: Vec<_> = partitions.into_values().flatten().map(|record| record.to_string()).collect();
    all.sort();
    all
}

fn copy(dir: &Dir, args: &[&str]) -> Run {
    dir.run(&[&["copy"], args].concat())
}

/// Bytes of all segments of a store.
fn stored_bytes(store: &Path) -> u64 {
    let Ok(logs) = fs::read_dir(store.join("logs")) else { return 0 };
    let files = logs.flat_map(|log| fs::read_dir(log.unwrap().path()).into_iter().flatten());
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

#[test]
fn a_copy_keeps_keys_headers_times_and_partitions() {
    let dir = source(3, 3000);
    let before = records(&dir, "embedded:a", "orders");
    let args = ["embedded:a#orders", "embedded:b#orders", "--keep-partitions", "--verify"];
    let run = copy(&dir, &args).ok();
    assert!(run.stderr.starts_with("copied 3,000 records ("), "{}", run.stderr);
    assert!(run.stderr.contains("verified 3,000 records: both sides are the same"), "{}", run.stderr);
    assert_eq!(records(&dir, "embedded:b", "orders"), before);
    assert_eq!(before[&0][0]["headers"][0]["name"], "origin");
    // The same command copies what is new, and nothing twice.
    copy(&dir, &args).ok().mentions("copied 0 records");
    dir.feed(&["produce", "orders", "--url", "embedded:a"], b"one more\n").ok();
    copy(&dir, &args).ok().mentions("copied 1 record ");
    assert_eq!(records(&dir, "embedded:b", "orders"), records(&dir, "embedded:a", "orders"));
}

#[test]
fn keys_keep_their_order_in_another_number_of_partitions() {
    let dir = source(3, 3000);
    dir.run(&["topic", "create", "orders", "--url", "embedded:b", "--partitions", "2"]).ok();
    let args = ["embedded:a#orders", "embedded:b#orders", "--verify", "--compression", "zstd"];
    copy(&dir, &args).ok();
    let (from, to) = (records(&dir, "embedded:a", "orders"), records(&dir, "embedded:b", "orders"));
    assert_eq!(to.len(), 2);
    let of_key = |partitions: &BTreeMap<u64, Vec<Value>>| {
        let found = partitions
            .values()
            .map(|all| all.iter().filter(|record| record["key"] == "key-3").cloned().collect::<Vec<_>>());
        found.filter(|found| !found.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!((of_key(&from).len(), of_key(&from)), (1, of_key(&to)));
    assert_eq!(sorted(from), sorted(to));
    copy(&dir, &args).ok().mentions("copied 0 records");
}

#[test]
fn a_filter_selects_and_the_copy_still_goes_on_where_it_stopped() {
    let dir = source(2, 2000);
    let args = [
        "embedded:a#orders",
        "embedded:b#few",
        "--where",
        "key = 'key-7' and value ~ 'record 7'",
        "--verify",
    ];
    let run = copy(&dir, &args).ok();
    let all = sorted(records(&dir, "embedded:a", "orders"));
    let expected: Vec<_> = all
        .into_iter()
        .filter(|record| record.contains("\"key-7\"") && record.contains("\"record 7"))
        .collect();
    assert!(expected.len() > 5, "{expected:?}");
    assert_eq!(sorted(records(&dir, "embedded:b", "few")), expected, "{}", run.stderr);
    let more = b"key-7:record 7 more\nkey-8:record 7\n";
    dir.feed(&["produce", "orders", "--url", "embedded:a", "-K", ":"], more).ok();
    copy(&dir, &args).ok().mentions("copied 1 record ");
    dir.run(&["copy", "embedded:a#orders", "embedded:b#few", "--where", "key ="]).code(2);
}

/// Kills copies in the middle, whatever they are doing, and lets the last one end.
fn kill_and_finish(dir: &Dir, args: &[&str], copied: impl Fn() -> u64, steps: &[u64]) -> Run {
    let mut killed = 0;
    for step in steps {
        let mut child = dir.start(&[&["copy"], args].concat());
        let is_due = (0..20_000).any(|_| {
            let has_ended = child.try_wait().unwrap().is_some();
            if !has_ended && copied() < *step {
                thread::sleep(Duration::from_millis(1));
            }
            has_ended || copied() >= *step
        });
        assert!(is_due, "the copy makes no progress");
        // A process that has ended cannot be killed.
        killed += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(killed > 0, "no copy was killed: the source is too small for this machine");
    copy(dir, args).ok()
}

#[test]
fn killed_copies_lose_and_repeat_no_record() {
    let dir = source(3, 60_000);
    let store = dir.path().join("b");
    let steps: Vec<_> = (0..6).map(|step| 1 + step * 750_000).collect();
    let args = ["embedded:a#orders", "embedded:b#orders", "--keep-partitions", "--verify"];
    kill_and_finish(&dir, &args, || stored_bytes(&store), &steps).mentions("verified 60,000 records");
    assert_eq!(records(&dir, "embedded:b", "orders"), records(&dir, "embedded:a", "orders"));
    dir.run(&["check", "b"]).ok();
}

#[test]
fn killed_copies_by_key_lose_and_repeat_no_record() {
    let dir = source(2, 60_000);
    dir.run(&["topic", "create", "orders", "--url", "embedded:b", "--partitions", "5"]).ok();
    let store = dir.path().join("b");
    let steps: Vec<_> = (0..6).map(|step| 1 + step * 500_000).collect();
    let args = ["embedded:a#orders", "embedded:b#orders", "--where", "value !~ 'record 11'", "--verify"];
    kill_and_finish(&dir, &args, || stored_bytes(&store), &steps).mentions("verified ");
    let mut expected = sorted(records(&dir, "embedded:a", "orders"));
    expected.retain(|record| !record.contains("record 11"));
    let found = sorted(records(&dir, "embedded:b", "orders"));
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "records differ");
}

#[test]
fn killed_copies_to_a_cluster_lose_and_repeat_no_record() {
    let (dir, cluster) = (source(2, 60_000), Cluster::start());
    let target = format!("{}#orders", cluster.url());
    let copied = || {
        let described = cluster.run(&dir, &["topic", "describe", "orders", "-o", "json"]);
        let Ok(document) = serde_json::from_slice::<Value>(&described.stdout) else { return 0 };
        let partitions = document["partition_details"].as_array().cloned().unwrap_or_default();
        partitions.iter().filter_map(|one| one["high_watermark"].as_u64()).sum()
    };
    let args = ["embedded:a#orders", &target, "--keep-partitions", "--verify"];
    kill_and_finish(&dir, &args, copied, &[1, 10_000, 30_000]).mentions("verified 60,000 records");
    assert_eq!(records(&dir, &cluster.url(), "orders"), records(&dir, "embedded:a", "orders"));
}

#[test]
fn topics_move_between_all_engines() {
    let (dir, cluster) = (source(1, 500), Cluster::start());
    let before = records(&dir, "embedded:a", "orders");
    let fluvio = format!("{}#orders", cluster.url());
    copy(&dir, &["embedded:a#orders", &fluvio]).ok();
    copy(&dir, &[&fluvio, "embedded:c#orders", "--verify"]).ok();
    assert_eq!(records(&dir, "embedded:c", "orders"), before);
    // Reading from Walrus removes, so that a copy needs a journal; one to Walrus cannot find its own records.
    let walrus = format!("{}#lines", cluster.walrus_url());
    let run = copy(&dir, &["embedded:a#orders", &walrus]).ok();
    assert!(run.stderr.contains("may be copied twice"), "{}", run.stderr);
    copy(&dir, &["embedded:a#orders", &walrus]).ok().mentions("copied 0 records");
    copy(&dir, &["embedded:a#orders", &walrus, "--verify"]).code(1).mentions("--verify needs");
    copy(&dir, &[&walrus, "embedded:d#lines"]).code(1).mentions("journal=PATH");
    let journal = dir.path().join("journal");
    let journal = format!("{}&journal={}#lines", cluster.walrus_url(), journal.display());
    copy(&dir, &[&journal, "embedded:d#lines", "--verify"]).ok();
    assert_eq!(records(&dir, "embedded:d", "lines"), before);
    copy(&dir, &[&journal, "embedded:d#lines"]).ok().mentions("copied 0 records");
}

#[test]
fn many_topics_are_copied_by_pattern() {
    let dir = source(2, 100);
    for name in ["orders-dead", "invoices"] {
        dir.run(&["topic", "create", name, "--url", "embedded:a"]).ok();
        dir.feed(&["produce", name, "--url", "embedded:a"], b"one\n").ok();
    }
    let run = copy(&dir, &["embedded:a", "embedded:b", "--all", "orders*", "--keep-partitions"]).ok();
    assert!(run.stderr.contains("copied 101 records of 2 topics"), "{}", run.stderr);
    dir.run(&["topic", "list", "--url", "embedded:b"]).ok().prints("orders\norders-dead\n");
    copy(&dir, &["embedded:a", "embedded:b", "--all", "x*"]).code(3).mentions("no topic matches x*");
    copy(&dir, &["embedded:a#orders", "embedded:b", "--all", "x*"]).code(2);
    copy(&dir, &["embedded:a", "embedded:a?durability=os", "--all", "*"]).code(2).mentions("onto itself");
}

#[test]
fn settings_of_the_source_are_those_of_a_new_target() {
    let dir = Dir::new();
    let settings = ["--retention-age", "7d", "--retention-bytes", "64MiB", "--durability", "always"];
    dir.run(&[&["topic", "create", "orders", "--partitions", "4"][..], &settings].concat()).ok();
    copy(&dir, &["orders", "embedded:b#orders"]).ok();
    let described = |url: &str| {
        let mut document = dir.run(&["topic", "describe", "orders", "--url", url, "-o", "json"]).ok().json();
        document.as_object_mut().unwrap().remove("created_at");
        document
    };
    assert_eq!(described("embedded:b"), described("embedded:floe-data"));
}

#[test]
fn refusals_come_before_the_first_record() {
    let dir = source(3, 100);
    copy(&dir, &["embedded:a#orders", "embedded:./x/../a?mode=existing#orders"])
        .code(2)
        .mentions("onto itself");
    copy(&dir, &["embedded:a#orders", "embedded:a"]).code(2).mentions("URL#TOPIC");
    copy(&dir, &["embedded:a#nothing", "embedded:b#orders"]).code(3);
    copy(&dir, &["embedded:none#orders", "embedded:b#orders"]).code(3).mentions("there is no store in none");
    assert!(!dir.path().join("b").exists() && !dir.path().join("none").exists());

    dir.run(&["topic", "create", "small", "--url", "embedded:b", "--partitions", "2"]).ok();
    let run = copy(&dir, &["embedded:a#orders", "embedded:b#small", "--keep-partitions"]).code(2);
    assert!(run.stderr.contains("small has 2 partitions, and --keep-partitions needs 3"), "{}", run.stderr);
    assert!(run.stderr.contains("add-partitions small --to 3"), "{}", run.stderr);

    dir.feed(&["produce", "small", "--url", "embedded:b"], b"of another\n").ok();
    let run = copy(&dir, &["embedded:a#orders", "embedded:b#small"]).code(2);
    assert!(run.stderr.contains("has records that this copy did not write"), "{}", run.stderr);
    let append = ["embedded:a#orders", "embedded:b#small", "--append", "--verify"];
    copy(&dir, &append).ok().mentions("copied 100 records");
    dir.feed(&["produce", "small", "--url", "embedded:b"], b"of another\n").ok();
    // An appending copy also goes on where it stopped.
    copy(&dir, &append).ok().mentions("copied 0 records");
    assert_eq!(sorted(records(&dir, "embedded:b", "small")).len(), 102);
    // Another command is another copy.
    copy(&dir, &["embedded:a#orders", "embedded:b#small", "--where", "key"]).code(2);
}

#[test]
fn a_topic_is_copied_within_its_store() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"one\ntwo\n").ok();
    copy(&dir, &["t", "u", "--verify"]).ok();
    assert_eq!(dir.read("u"), b"one\ntwo\n");
}

#[test]
fn records_that_retention_took_from_the_source_are_told() {
    let dir = Dir::new();
    let limits = ["--segment-bytes", "4KiB", "--retention-bytes", "8KiB"];
    dir.run(&[&["topic", "create", "t", "--url", "embedded:a"][..], &limits].concat()).ok();
    let produce =
        || dir.feed(&["produce", "t", "--url", "embedded:a", "--batch-size", "1KiB"], &keyed_lines(200)).ok();
    let start = || {
        let described = dir.run(&["topic", "describe", "t", "--url", "embedded:a", "-o", "json"]).ok().json();
        described["partition_details"][0]["start_offset"].as_u64().unwrap()
    };
    dir.feed(&["produce", "t", "--url", "embedded:a"], b"first\n").ok();
    copy(&dir, &["embedded:a#t", "embedded:b#t"]).ok();
    let is_trimmed = (0..100).any(|_| {
        produce();
        start() > 1
    });
    assert!(is_trimmed, "retention removes nothing");
    let run = copy(&dir, &["embedded:a#t", "embedded:b#t", "-o", "json"]).code(7);
    assert!(
        run.stderr.contains("\"code\":\"gap\"") && run.stderr.contains("\"code\":\"loss\""),
        "{}",
        run.stderr
    );
    // It is told once: the target goes on behind the gap.
    copy(&dir, &["embedded:a#t", "embedded:b#t"]).ok().mentions("copied 0 records");
}

#[cfg(unix)]
#[test]
fn a_mirror_whose_source_was_trimmed_tells_the_gap() {
    use rustix::process::{Pid, Signal, kill_process};

    let dir = Dir::new();
    dir.run(&["topic", "create", "t", "--url", "embedded:a"]).ok();
    let produce = |lines: &[u8]| dir.feed(&["produce", "t", "--url", "embedded:a"], lines).ok();
    produce(b"0\n1\n2\n");
    copy(&dir, &["embedded:a#t", "embedded:b#t"]).ok();
    produce(b"3\n4\n5\n");
    dir.run(&["topic", "trim", "t", "--before", "5", "--yes", "--url", "embedded:a"]).ok();
    let mut child = dir.start(&["copy", "embedded:a#t", "embedded:b#t", "--follow"]);
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut told).unwrap();
    assert!(told.starts_with("error: ") && told.contains("offsets 3 to 4 (gap)"), "{told}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let run = child.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(7));
}

#[test]
fn verification_finds_damaged_and_missing_records() {
    let dir = source(1, 100);
    let args = ["embedded:a#orders", "embedded:b#orders", "--verify"];
    copy(&dir, &args).ok();
    let log = fs::read_dir(dir.path().join("b/logs")).unwrap().last().unwrap().unwrap().path();
    let mut files = fs::read_dir(log).unwrap().map(|file| file.unwrap().path());
    let segment = files.find(|path| path.extension().is_some_and(|ending| ending == "seg")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let value = b"record 50 ";
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    copy(&dir, &args).code(6).mentions("of the target is damaged");

    // Retention takes records from the target only.
    let limits = ["--segment-bytes", "4KiB", "--retention-bytes", "8KiB"];
    dir.run(&[&["topic", "create", "few", "--url", "embedded:c"][..], &limits].concat()).ok();
    let differs = (0..100).any(|_| {
        dir.feed(&["produce", "orders", "--url", "embedded:a", "-K", ":"], &keyed_lines(100)).ok();
        let run = copy(&dir, &["embedded:a#orders", "embedded:c#few", "--verify", "-o", "json"]);
        run.code == Some(6)
            && run.stderr.contains("verification_failed")
            && run.stderr.contains("differs from its copy")
    });
    assert!(differs, "no difference was found");
}

#[cfg(unix)]
#[test]
fn a_mirror_follows_until_ctrl_c_and_through_kills() {
    use rustix::process::{Pid, Signal, kill_process};

    let (dir, from, to) = (Dir::new(), Cluster::start(), Cluster::start());
    from.run(&dir, &["topic", "create", "t", "--partitions", "2"]).ok();
    let (source, target) = (format!("{}#t", from.url()), format!("{}#t", to.url()));
    let follow = ["copy", &source, &target, "--keep-partitions", "--follow"];
    let mut expected = 0;
    for round in 0..3 {
        let mut child = dir.start(&follow);
        for burst in 0..3 {
            let lines: Vec<u8> =
                (0..50).flat_map(|n| format!("{round} {burst} {n}\n").into_bytes()).collect();
            dir.feed(&["produce", "t", "--url", &from.url()], &lines).ok();
            expected += 50;
            // Ends once the mirror has them all, which may have begun a moment ago.
            let count = expected.to_string();
            let wait =
                ["consume", "t", "--url", &to.url(), "--from", "beginning", "-n", &count, "--wait", "60s"];
            dir.run(&wait).ok();
        }
        let signal = if round == 2 { Signal::INT } else { Signal::KILL };
        kill_process(Pid::from_child(&child), signal).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, if round == 2 { Some(130) } else { None });
    }
    assert_eq!(records(&dir, &to.url(), "t"), records(&dir, &from.url(), "t"));
}

/// A lane that loses its target does what a restarted copy does.
#[cfg(unix)]
#[test]
fn a_copy_outlives_kills_of_its_target() {
    use rustix::process::{Pid, Signal, kill_process};

    let dir = source(2, 60_000);
    let (mut server, addresses) = crate::serve::start(&dir, &["--data", "target"]);
    let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
    let (controller, data) = (address("fluvio_sc"), address("fluvio_spu"));
    let url = format!("fluvio://{controller}");
    let target = format!("{url}#orders");
    let mut child = dir.start(&["copy", "embedded:a#orders", &target, "--keep-partitions", "--follow"]);
    let store = dir.path().join("target");
    let mut kills = 0;
    for step in [1, 1_000_000, 2_500_000] {
        let reached = (0..20_000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            stored_bytes(&store) >= step
        });
        assert!(reached, "the copy makes no progress");
        kills += u32::from(stored_bytes(&store) < 4_000_000);
        server.kill().unwrap();
        server.wait().unwrap();
        // Without the options that `start` adds: the ports are those of before.
        server = dir.start(&[
            "serve",
            "--data",
            "target",
            "--fluvio-sc",
            &controller,
            "--fluvio-spu",
            &data,
            "--walrus",
            "off",
            "--http",
            "off",
        ]);
    }
    assert!(kills > 0, "the copy was complete before the first kill");
    let answers = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(50));
        dir.run(&["health", "--url", &url]).code == Some(0)
    });
    assert!(answers, "the server does not come back");
    let count = ["consume", "orders", "--url", &url, "--from", "beginning", "-n", "60000", "-o", "jsonl"];
    dir.run(&count).ok();
    assert_eq!(child.try_wait().unwrap().map(|status| status.to_string()), None);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let (found, expected) = (records(&dir, &url, "orders"), records(&dir, "embedded:a", "orders"));
    assert!(found == expected, "{} records", found.values().map(Vec::len).sum::<usize>());
    crate::serve::end(server, Signal::INT);
}
