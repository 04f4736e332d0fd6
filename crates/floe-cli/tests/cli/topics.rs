//! `floe topic` and `floe health`.

use serde_json::json;

use crate::{cluster::Cluster, support::Dir};

#[test]
fn create_list_describe_delete() {
    let dir = Dir::new();
    dir.run(&["topic", "list"]).ok().prints("").stderr_is("");
    dir.run(&["topic", "create", "orders", "--partitions", "3"])
        .ok()
        .prints("created topic orders with 3 partitions\n")
        .stderr_is("");
    dir.run(&["topic", "create", "audit"]).ok().prints("created topic audit with 1 partition\n");
    dir.run(&["topic", "list"]).ok().prints("audit\norders\n");

    let described = dir.run(&["topic", "describe", "orders"]).ok().text();
    for part in ["name:        orders\n", "partitions:  3\n", "durability:  os\n", "retention:   unlimited\n"]
    {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    assert_eq!(described.lines().filter(|line| line.ends_with(" 0 B")).count(), 3, "{described}");

    dir.run(&["topic", "delete", "audit", "--yes"]).ok().prints("deleted topic audit\n").stderr_is("");
    dir.run(&["topic", "list"]).ok().prints("orders\n");
    dir.run(&["topic", "describe", "audit"]).code(3).prints("");
}

#[test]
fn settings_of_a_topic_are_kept() {
    let dir = Dir::new();
    dir.run(&[
        "topic",
        "create",
        "t",
        "--retention-age",
        "7d",
        "--retention-bytes",
        "10MB",
        "--durability",
        "interval:50",
        "--segment-bytes",
        "1MiB",
    ])
    .ok();
    let described = dir.run(&["topic", "describe", "t", "-o", "json"]).ok().json();
    assert_eq!(described["name"], "t");
    assert_eq!(described["partitions"], 1);
    assert_eq!(described["durability"], "interval:50");
    assert_eq!(described["retention_age_ms"], 604_800_000_u64);
    assert_eq!(described["retention_bytes"], 10_000_000);
    assert!(described["created_at"].is_i64());
    let text = dir.run(&["topic", "describe", "t"]).ok().text();
    assert!(text.contains("retention:   7d or 10.0 MB\n"), "{text}");
}

#[test]
fn list_has_every_format() {
    let dir = Dir::with_topics(&["a", "b"]);
    let array = dir.run(&["topic", "list", "-o", "json"]).ok().json();
    assert_eq!(array[0]["name"], "a");
    assert_eq!(array[1]["name"], "b");
    let lines = dir.run(&["-o", "jsonl", "topic", "list"]).ok().json_lines();
    assert_eq!(json!(lines), array);
    let table = dir.run(&["topic", "list", "-o", "table"]).ok().text();
    let headings: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(headings, ["NAME", "PARTITIONS", "DURABILITY", "RETENTION", "CREATED"]);
    assert_eq!(table.lines().count(), 3);
}

#[test]
fn describe_counts_the_records() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"a\nb\n").ok();
    let described = dir.run(&["topic", "describe", "t", "-o", "json"]).ok().json();
    let partition = &described["partition_details"][0];
    assert_eq!(partition["start_offset"], 0);
    assert_eq!(partition["high_watermark"], 2);
    assert_eq!(partition["records"], 2);
    assert!(partition["size_bytes"].as_u64().unwrap() > 0);
    let table = dir.run(&["topic", "describe", "t", "-o", "table"]).ok().text();
    assert!(
        table.starts_with("PARTITION  START  HIGH WATERMARK  RECORDS  SIZE\n0          0      2 "),
        "{table}"
    );
}

#[test]
fn deletion_requires_confirmation() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["topic", "delete", "t"], b"y\n").code(2).prints("").stderr_is(
        "error: deleting topic t with all its records cannot be undone, and there is no terminal for a confirmation\n\
         hint: add --yes to confirm\n",
    );
    dir.run(&["topic", "list"]).ok().prints("t\n");
}

#[test]
fn invalid_names_are_rejected_before_a_store_is_created() {
    let dir = Dir::new();
    let long = "x".repeat(64);
    for name in ["", "Orders", "a_b", "a b", "ä", "a/b", "..", "-a", "a-", long.as_str()] {
        let run = dir.run(&["topic", "create", name]).code(2).prints("");
        let expected = format!("error: topic name {name:?} ");
        assert!(run.stderr.starts_with(&expected), "{name:?}: {}", run.stderr);
        assert!(run.stderr.contains("use 1 to 63 of a-z, 0-9 and '-'"), "{}", run.stderr);
    }
    assert!(!dir.path().join("floe-data").exists());
}

#[test]
fn invalid_settings_are_rejected() {
    let dir = Dir::new();
    for args in [
        ["--partitions", "0"],
        ["--partitions", "10001"],
        ["--partitions", "-1"],
        ["--partitions", "many"],
        ["--durability", "sometimes"],
        ["--retention-age", "7"],
        ["--retention-bytes", "1.5GB"],
    ] {
        let run = dir.run(&["topic", "create", "t", args[0], args[1]]).code(2).prints("");
        assert!(run.stderr.starts_with("error: "), "{args:?}: {}", run.stderr);
    }
    dir.run(&["topic", "list"]).ok().prints("");
}

#[test]
fn duplicate_names_are_rejected() {
    let dir = Dir::with_topics(&["t"]);
    dir.run(&["topic", "create", "t"])
        .code(1)
        .prints("")
        .mentions("topic_already_exists")
        .mentions("hint: use the topic, or delete it first with `floe topic delete t --yes`\n");
}

#[test]
fn unknown_topics_are_not_found() {
    let dir = Dir::with_topics(&["t"]);
    for args in [
        ["topic", "describe", "nope", "-o", "text"],
        ["topic", "delete", "nope", "--yes", "-otext"],
        ["produce", "nope", "-o", "text", "-k1"],
        ["consume", "nope", "-e", "-o", "text"],
    ] {
        let run = dir.run(&args).code(3).prints("");
        assert!(run.stderr.starts_with("error: "), "{args:?}: {}", run.stderr);
        run.mentions("(topic_not_found)\n")
            .mentions("hint: create it with `floe topic create nope`, or see `floe topic list`\n");
    }
}

#[test]
fn errors_are_json_with_json_output() {
    let dir = Dir::new();
    for format in ["json", "jsonl"] {
        let run = dir.run(&["-o", format, "consume", "nope", "-e"]).code(3).prints("");
        assert_eq!(run.stderr.lines().count(), 1);
        let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
        assert_eq!(error["error"]["code"], "topic_not_found");
        assert_eq!(error["error"]["topic"], "nope");
        assert_eq!(error["error"]["partition"], json!(null));
        assert_eq!(error["error"]["exit_code"], 3);
        assert!(error["error"]["message"].as_str().unwrap().contains("does not exist"));
    }
}

#[test]
fn url_comes_from_the_option_or_the_environment() {
    let dir = Dir::new();
    dir.run(&["topic", "create", "here", "--url", "embedded:here"]).ok();
    let mut command = dir.command(&["topic", "list"]);
    let listed = command.env("FLOE_URL", "embedded:here").output().unwrap();
    assert_eq!(listed.stdout, b"here\n");
    let mut command = dir.command(&["--url", "embedded:there", "topic", "list"]);
    let listed = command.env("FLOE_URL", "embedded:here").output().unwrap();
    assert_eq!(listed.stdout, b"", "the option takes precedence");
    dir.run(&["topic", "list", "--url", "memory:"]).ok().prints("");
    dir.run(&["topic", "list", "--url", "embeded:x"]).code(2).mentions("did you mean \"embedded\"?");
    dir.run(&["topic", "list", "--url", "embedded:x?durabilty=os"])
        .code(2)
        .mentions("did you mean \"durability\"?");
}

#[test]
fn health_reports_the_engine() {
    let dir = Dir::new();
    let run = dir.run(&["health"]).ok().stderr_is("");
    assert!(run.text().starts_with("embedded: ready\n"), "{}", run.text());
    let json = dir.run(&["health", "-o", "json"]).ok().json();
    assert_eq!(json["ready"], true);
    assert_eq!(json["nodes"][0]["ready"], true);
    assert_eq!(json["leader"], serde_json::Value::Null, "a store has no leader");
}

#[test]
fn health_check_reports_every_status() {
    let dir = Dir::new();
    dir.run(&["health", "--check"]).ok().prints("OK - embedded, 1 of 1 ready\n").stderr_is("");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let cluster = Cluster::start();
    let one_down = format!("{},{closed}?connect-timeout=60s&request-timeout=60s", cluster.walrus_address());
    let warned =
        dir.run(&["health", "--check", "--url", &format!("walrus://{one_down}")]).code(1).stderr_is("");
    let expected = format!("WARNING - {closed} is not ready: ");
    assert!(warned.text().starts_with(&expected) && warned.text().lines().count() == 1, "{}", warned.text());

    let down = dir.run(&["health", "--check", "--url", &format!("fluvio://{closed}")]).code(2).stderr_is("");
    assert!(down.text().starts_with("CRITICAL - "), "{}", down.text());
    let unknown = dir.run(&["health", "--check", "--url", "embedded:x?durabilty=os"]).code(3).stderr_is("");
    assert!(unknown.text().starts_with("UNKNOWN - "), "{}", unknown.text());
}

#[test]
fn health_names_the_leader_of_a_cluster() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let fluvio = cluster.run(&dir, &["health", "-o", "json"]).ok().json();
    assert_eq!(fluvio["leader"], cluster.address(), "the controller: {fluvio}");
    assert_eq!(fluvio["nodes"][1]["leads"], false, "{fluvio}");
    let state = fluvio["nodes"][1]["state"].as_str().unwrap();
    assert!(state.contains(": Online, leads "), "{state}");
    let walrus = dir.run(&["health", "-o", "json", "--url", &cluster.walrus_url()]).ok().json();
    assert_eq!(walrus["leader"], cluster.walrus_address(), "{walrus}");
}

#[test]
fn trimming_removes_the_first_records() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"0\n1\n2\n3\n4\n").ok();
    dir.run(&["topic", "trim", "t", "--before", "2"]).code(2).mentions("--yes");
    dir.run(&["topic", "trim", "t", "--before", "2", "--yes"])
        .ok()
        .prints("t/0 begins at 2, 2 records removed\n");
    dir.run(&["consume", "t", "-e"]).ok().prints("2\n3\n4\n");
    dir.run(&["topic", "trim", "t", "--before", "9", "--yes"]).code(3).mentions("out of range");
    dir.run(&["topic", "trim", "t", "--before", "@-1h", "--yes"])
        .ok()
        .prints("t/0 begins at 2, 0 records removed\n");
    dir.run(&["topic", "trim", "t", "--before", "-1", "--yes"]).ok();
    dir.run(&["consume", "t", "-e"]).ok().prints("4\n");
    dir.run(&["topic", "create", "t", "--if-not-exists"]).ok().prints("topic t exists\n");
    dir.run(&["topic", "create", "t"]).code(1).mentions("topic_already_exists");
}

#[test]
fn retention_of_a_topic_is_changed() {
    let dir = Dir::with_topics(&["orders"]);
    let set = |more: &[&str]| dir.run(&[&["topic", "set", "orders"], more].concat());
    set(&["retention-age=2h", "retention-bytes=1MB", "--yes"])
        .ok()
        .prints("topic orders has retention 2h or 1.0 MB\n");
    set(&["retention-bytes=none"]).ok().prints("topic orders has retention 2h\n");
    let json = dir.run(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(
        (&json["retention_age_ms"], &json["retention_bytes"]),
        (&7_200_000.into(), &serde_json::Value::Null)
    );

    set(&["retention-age=1h"]).code(2).mentions("--yes");
    set(&["retention-age=1h", "retention-age=2h", "--yes"]).code(2).mentions("twice");
    set(&["durability=os"]).code(2).mentions("stays");
    set(&["retention-age=0s"]).code(2).mentions("remove all records");
    set(&[]).code(2);
    dir.run(&["topic", "set", "nothing", "retention-age=none"]).code(3);
    let json = dir.run(&["topic", "describe", "orders", "-o", "json"]).ok().json();
    assert_eq!(json["retention_age_ms"], 7_200_000, "refused changes change nothing");
}

#[test]
fn clusters_keep_the_settings_of_topics() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    for url in [cluster.url(), cluster.walrus_url()] {
        dir.run(&["topic", "set", "orders", "retention-age=none", "--url", &url])
            .code(1)
            .mentions("unsupported");
    }
}
