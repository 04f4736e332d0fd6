//! `floe dlq`: listing and replaying dead letters.

use floe::{
    Client,
    consumer::{OnUndecodable, StartAt},
};

use crate::{cluster::Cluster, support::Dir};

/// Creates a topic with three records, of which the second is not a number, and its dead letters in `counts-dead`.
fn with_dead_letters() -> Dir {
    let dir = Dir::new();
    let url = format!("embedded:{}", dir.path().join("floe-data").display());
    fill(&dir, &url);
    dir
}

fn fill(dir: &Dir, url: &str) {
    dir.run(&["topic", "create", "counts", "--url", url]).ok();
    dir.feed(&["produce", "counts", "--url", url], b"1\ntwo\n3\n").ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(url).await.unwrap();
        let policy = OnUndecodable::DeadLetter("counts-dead".into());
        let reader = client.consumer("counts").json::<u32>().on_undecodable(policy);
        let mut reader = reader.from(StartAt::Beginning).start().await.unwrap();
        for expected in [1, 3] {
            assert_eq!(reader.try_next().await.unwrap().unwrap().value, expected);
        }
        reader.close().await.unwrap();
        client.close().await.unwrap();
    });
}

#[test]
fn dead_letters_are_listed() {
    let dir = with_dead_letters();
    let rows = dir.run(&["dlq", "list", "counts-dead", "-o", "jsonl"]).ok().json_lines();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["origin"].as_str(), rows[0]["value"].as_str()), (Some("counts/0/1"), Some("two")));
    assert_eq!(
        (rows[0]["code"].as_str(), rows[0]["attempts"].as_u64()),
        (Some("deserialization_error"), Some(1))
    );
    let table = dir.run(&["dlq", "list", "counts-dead"]).ok().text();
    assert!(table.contains("counts/0/1") && table.contains("deserialization_error"), "{table}");
    // Other records are listed without an origin.
    let rows = dir.run(&["dlq", "list", "counts", "-n", "2", "-o", "jsonl"]).ok().json_lines();
    assert_eq!((rows.len(), &rows[0]["origin"]), (2, &serde_json::Value::Null));
    dir.run(&["dlq", "list", "nothing"]).code(3);
}

#[test]
fn dead_letters_are_replayed_once() {
    let dir = with_dead_letters();
    dir.run(&["dlq", "replay", "counts-dead"]).ok().prints("replayed 1 record\n");
    assert_eq!(dir.read("counts"), b"1\ntwo\n3\ntwo\n");
    dir.run(&["dlq", "replay", "counts-dead"]).ok().prints("replayed 0 records\n");
    // The headers of the dead letter are removed.
    let read = dir.run(&["consume", "counts", "-e", "--from", "3", "-o", "jsonl"]).ok().json_lines();
    assert!(read[0]["headers"].as_array().is_none_or(Vec::is_empty), "{read:?}");

    dir.run(&["topic", "create", "retry"]).ok();
    let again =
        dir.run(&["dlq", "replay", "counts-dead", "--to", "retry", "--group", "other", "-o", "json"]).ok();
    assert_eq!((again.json()["replayed"].as_u64(), again.json()["passed_over"].as_u64()), (Some(1), Some(0)));
    assert_eq!(dir.read("retry"), b"two\n");
}

/// Writes a dead letter of a topic that may not exist.
fn dead_letter(dir: &Dir, origin: &str, value: &str) {
    let origin = format!("floe-dead-origin={origin}");
    let headers =
        [&origin, "floe-dead-code=c", "floe-dead-error=e", "floe-dead-attempts=1", "floe-dead-at=1000"];
    let headers = headers.iter().flat_map(|header| ["-H", *header]);
    let args: Vec<_> = ["produce", "dead"].into_iter().chain(headers).collect();
    dir.feed(&args, value.as_bytes()).ok();
}

#[test]
fn a_dead_letter_that_fails_again_holds_up_no_other_and_repeats_none() {
    let dir = Dir::with_topics(&["orders", "dead"]);
    for (number, (topic, value)) in
        [("orders", "one"), ("orders", "two"), ("later", "gone"), ("orders", "three")].iter().enumerate()
    {
        dead_letter(&dir, &format!("{topic}/0/{number}"), value);
    }
    let run = dir.run(&["dlq", "replay", "dead"]).code(8);
    run.mentions("dead letter 0/2 was not replayed").mentions("later").mentions("stay in dead");
    assert_eq!(dir.read("orders"), b"one\ntwo\nthree\n");
    let rows = dir.run(&["dlq", "list", "dead", "-o", "jsonl"]).ok().json_lines();
    let last = rows.last().unwrap();
    assert_eq!((last["origin"].as_str(), last["attempts"].as_u64()), (Some("later/0/2"), Some(2)));
    assert_eq!(last["code"].as_str(), Some("topic_not_found"));

    dir.run(&["topic", "create", "later"]).ok();
    dir.run(&["dlq", "replay", "dead"]).ok().prints("replayed 1 record\n");
    assert_eq!((dir.read("orders"), dir.read("later")), (b"one\ntwo\nthree\n".to_vec(), b"gone\n".to_vec()));
    dir.run(&["dlq", "replay", "dead"]).ok().prints("replayed 0 records\n");
}

#[test]
fn other_records_are_skipped() {
    let dir = Dir::with_topics(&["plain"]);
    dir.feed(&["produce", "plain"], b"a\nb\n").ok();
    let run = dir.run(&["dlq", "replay", "plain"]).ok();
    run.prints("replayed 0 records\nskipped 2 records: not dead letters\n");
    assert_eq!(dir.read("plain"), b"a\nb\n");
}

#[test]
fn dead_letters_are_replayed_by_address() {
    let dir = with_dead_letters();
    dir.run(&["dlq", "replay", "counts-dead", "--at", "0/0"]).ok().prints("replayed 1 record\n");
    dir.run(&["dlq", "replay", "counts-dead", "--at", "0/0,0/0"]).ok().prints("replayed 2 records\n");
    assert_eq!(dir.read("counts"), b"1\ntwo\n3\ntwo\ntwo\ntwo\n");
    // A replay by address stores no progress, so a replay by group begins at the first dead letter.
    dir.run(&["dlq", "replay", "counts-dead"]).ok().prints("replayed 1 record\n");

    for missing in ["0/1", "0/7", "3/0"] {
        dir.run(&["dlq", "replay", "counts-dead", "--at", &format!("0/0,{missing}")]).code(3);
    }
    assert_eq!(dir.read("counts").iter().filter(|byte| **byte == b'\n').count(), 7, "all or nothing");
    dir.run(&["dlq", "replay", "counts", "--at", "0/0"])
        .ok()
        .prints("replayed 0 records\nskipped 1 record: not dead letters\n");
    dir.run(&["dlq", "replay", "counts-dead", "--at", "0"]).code(2).mentions("use PARTITION/OFFSET");
    dir.run(&["dlq", "replay", "counts-dead", "--at", "0/0", "--group", "g"]).code(2);
}

#[test]
fn dead_letters_are_selected_by_a_filter() {
    let dir = Dir::with_topics(&["orders", "dead"]);
    for (number, value) in ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"].iter().enumerate() {
        dead_letter(&dir, &format!("orders/0/{number}"), value);
    }
    let filter = ["--where", ".id != 2 and header.floe-dead-code = 'c'"];
    let list = |count: &str| {
        let rows =
            dir.run(&[&["dlq", "list", "dead", "-o", "jsonl", "-n", count], &filter[..]].concat()).ok();
        rows.json_lines().iter().map(|row| row["offset"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((list("9"), list("1")), (vec![0, 2], vec![0]));

    // Progress passes over the second dead letter, so a replay of a selection names its group.
    let replay = |more: &[&str]| dir.run(&[&["dlq", "replay", "dead"], more].concat());
    replay(&filter).code(2).mentions("--group");
    let selected = [&filter[..], &["--group", "others"]].concat();
    replay(&[&selected[..], &["-n", "1"]].concat()).ok().prints("replayed 1 record\n");
    replay(&selected).ok().prints("replayed 1 record\n");
    replay(&selected).ok().prints("replayed 0 records\n");
    assert_eq!(dir.read("orders"), b"{\"id\":1}\n{\"id\":3}\n");
    replay(&["--where", ".id = 2", "--group", "second"]).ok().prints("replayed 1 record\n");
    assert_eq!(dir.read("orders"), b"{\"id\":1}\n{\"id\":3}\n{\"id\":2}\n");

    replay(&["--where", ".id = ", "--group", "second"]).code(2).mentions("byte 6 of --where");
    dir.run(&["dlq", "list", "dead", "--where", "nonsense = 1"]).code(2).mentions("byte 0 of --where");
    replay(&["--where", ".id = 2", "--at", "0/0"]).code(2);
}

/// Lists and replays the dead letters of a cluster, and reads the replayed record.
fn list_and_replay(dir: &Dir, url: &str) {
    let rows = dir.run(&["dlq", "list", "counts-dead", "-o", "jsonl", "--url", url]).ok().json_lines();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["origin"].as_str(), rows[0]["value"].as_str()), (Some("counts/0/1"), Some("two")));
    dir.run(&["dlq", "replay", "counts-dead", "--url", url]).ok().prints("replayed 1 record\n");
    dir.run(&["dlq", "replay", "counts-dead", "--url", url]).ok().prints("replayed 0 records\n");
    let read = dir.run(&["consume", "counts", "--from", "beginning", "-n", "4", "--url", url]).ok();
    assert_eq!(read.text(), "1\ntwo\n3\ntwo\n");
}

#[test]
fn dead_letters_of_a_fluvio_cluster_are_listed_and_replayed() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    fill(&dir, &cluster.url());
    list_and_replay(&dir, &cluster.url());
}

#[test]
fn dead_letters_of_a_walrus_cluster_with_a_journal_are_listed_and_replayed() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let url = format!("{}&journal={}", cluster.walrus_url(), dir.path().join("journal").display());
    fill(&dir, &url);
    // The end of a topic is the end of its journal, so the dead letter has to reach the journal first.
    dir.run(&["consume", "counts-dead", "--from", "beginning", "-n", "1", "--url", &url])
        .ok()
        .prints("two\n");
    list_and_replay(&dir, &url);
}

#[test]
fn engines_without_offsets_are_rejected_with_a_hint() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let url = cluster.walrus_url();
    dir.run(&["topic", "create", "dead", "--url", &url]).ok();
    for args in [&["list"][..], &["replay"], &["replay", "--at", "0/0"]] {
        let args = [&["dlq", args[0], "dead", "--url", &url][..], &args[1..]].concat();
        dir.run(&args).code(1).mentions("unsupported").mentions("journal=PATH");
    }
}
