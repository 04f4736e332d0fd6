//! Commands that only a Fluvio cluster supports.

use crate::{cluster::Cluster, support::Dir};

/// Smallest valid module, which does nothing.
const WASM: &[u8] = b"\0asm\x01\0\0\0";

#[test]
fn smartmodules_are_stored_listed_and_deleted() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let file = dir.file("pass.wasm", WASM);
    let file = file.to_str().unwrap();
    cluster
        .run(&dir, &["smartmodule", "create", "pass", "--wasm", file])
        .ok()
        .prints("created SmartModule pass (8 B)\n");
    cluster.run(&dir, &["smartmodule", "list"]).ok().prints("pass\n");
    let listed = cluster.run(&dir, &["smartmodule", "list", "-o", "jsonl"]).ok().json_lines();
    assert_eq!((listed[0]["name"].as_str(), listed[0]["package"].is_null()), (Some("pass"), true));
    assert!(listed[0]["stored_bytes"].as_u64().unwrap() > 0);
    cluster.run(&dir, &["smartmodule", "delete", "pass"]).code(2).mentions("add --yes to confirm");
    cluster.run(&dir, &["smartmodule", "delete", "pass", "--yes"]).ok().prints("deleted SmartModule pass\n");
    cluster.run(&dir, &["smartmodule", "list"]).ok().prints("");
    cluster
        .run(&dir, &["smartmodule", "delete", "pass", "--yes"])
        .code(3)
        .mentions("pass")
        .mentions("(module_not_found)\nhint: `floe smartmodule list` shows the modules\n");
}

#[test]
fn invalid_module_is_rejected() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let file = dir.file("text.wasm", b"(module)");
    cluster
        .run(&dir, &["smartmodule", "create", "text", "--wasm", file.to_str().unwrap()])
        .code(2)
        .mentions("text.wasm was not stored")
        .mentions("not a WebAssembly module");
    cluster
        .run(&dir, &["smartmodule", "create", "none", "--wasm", "nowhere.wasm"])
        .code(3)
        .mentions("nowhere.wasm");
    cluster.run(&dir, &["smartmodule", "list"]).ok().prints("");
}

#[test]
fn partitions_are_listed_with_their_replicas() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    cluster.run(&dir, &["topic", "create", "a", "--partitions", "2"]).ok();
    cluster.run(&dir, &["topic", "create", "a-b"]).ok();
    cluster.run(&dir, &["topic", "describe", "a"]).ok();
    let all = cluster.run(&dir, &["partition", "list", "-o", "jsonl"]).ok().json_lines();
    let names: Vec<_> =
        all.iter().map(|one| (one["topic"].as_str().unwrap(), one["partition"].as_u64().unwrap())).collect();
    assert_eq!(names, [("a", 0), ("a", 1), ("a-b", 0)]);
    let of_one = cluster.run(&dir, &["partition", "list", "a", "-o", "json"]).ok().json();
    assert_eq!(of_one.as_array().unwrap().len(), 2, "a prefix must not match");
    assert_eq!(of_one[0]["state"], "online");
    assert_eq!(of_one[0]["replicas"][0], of_one[0]["leader"]);
    let text = cluster.run(&dir, &["partition", "list", "a"]).ok().text();
    assert!(text.starts_with("TOPIC  PARTITION  STATE   LEADER  REPLICAS"), "{text}");
    cluster.run(&dir, &["partition", "list", "nope"]).code(3).mentions("topic_not_found");
}

#[test]
fn spus_are_listed_registered_and_unregistered() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let before = cluster.run(&dir, &["spu", "list", "-o", "json"]).ok().json();
    assert_eq!(before[0]["status"], "online");
    let register =
        ["spu", "register", "7", "--public", "[::1]:9105", "--private", "spu.local:9106", "--rack", "r1"];
    cluster.run(&dir, &register).ok().prints("registered SPU 7 as custom-spu-7\n");
    let listed = cluster.run(&dir, &["spu", "list", "-o", "json"]).ok().json();
    let added = listed.as_array().unwrap().iter().find(|server| server["id"] == 7).unwrap();
    assert_eq!(
        (added["public"].as_str(), added["private"].as_str()),
        (Some("[::1]:9105"), Some("spu.local:9106"))
    );
    assert_eq!((added["rack"].as_str(), added["name"].as_str()), (Some("r1"), Some("custom-spu-7")));
    assert_ne!(added["status"], "online");
    cluster.run(&dir, &register).code(2).mentions("already exists");
    cluster.run(&dir, &["spu", "unregister", "7"]).code(2).mentions("--yes");
    cluster.run(&dir, &["spu", "unregister", "7", "--yes"]).ok().prints("unregistered SPU 7\n");
    assert_eq!(cluster.run(&dir, &["spu", "list", "-o", "json"]).ok().json(), before);
    cluster.run(&dir, &["spu", "register", "-1", "--public", "h:1", "--private", "h:2"]).code(2);
    cluster
        .run(&dir, &["spu", "register", "8", "--public", "h", "--private", "h:2"])
        .code(2)
        .mentions("has no port");
}

#[test]
fn fluvio_settings_of_a_topic_are_kept() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let create = [
        "topic",
        "create",
        "t",
        "--partitions",
        "2",
        "--replication",
        "1",
        "--ignore-rack",
        "--retention-time",
        "1h",
        "--max-partition-size",
        "1GiB",
        "--segment-size",
        "64MiB",
        "--compression-type",
        "zstd",
    ];
    cluster.run(&dir, &create).ok().prints("created topic t with 2 partitions\n");
    let described = cluster.run(&dir, &["topic", "describe", "t", "-o", "json"]).ok().json();
    assert_eq!(described["retention_age_ms"], 3_600_000);
    assert_eq!(described["retention_bytes"], 1 << 30);
    assert_eq!(described["fluvio"]["segment_bytes"], 64 << 20);
    assert_eq!(described["fluvio"]["compression"], "zstd");
    assert_eq!(described["fluvio"]["replicas"]["ignore_rack"], true);
    let text = cluster.run(&dir, &["topic", "describe", "t"]).ok().text();
    assert!(text.contains("replicas:    1, racks ignored\nretention:   1h\nmax size:    1.1 GB\n"), "{text}");
    cluster.run(&dir, &["topic", "create", "plain"]).ok();
    let table = cluster.run(&dir, &["topic", "list", "-o", "table"]).ok().text();
    assert!(table.contains("1h or 1.1 GB") && table.contains("default"), "{table}");
}

#[test]
fn replicas_are_assigned_from_a_file() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let servers = cluster.run(&dir, &["spu", "list", "-o", "json"]).ok().json();
    let spu = &servers[0]["id"];
    let file = dir.file(
        "map.json",
        format!(r#"[{{"id":0,"replicas":[{spu}]}},{{"id":1,"replicas":[{spu}]}}]"#).as_bytes(),
    );
    let create =
        |name: &str, file: &str| cluster.run(&dir, &["topic", "create", name, "--replica-assignment", file]);
    create("t", file.to_str().unwrap()).ok().prints("created topic t with 2 partitions\n");
    assert_eq!(cluster.run(&dir, &["partition", "list", "t", "-o", "jsonl"]).ok().json_lines().len(), 2);
    let described = cluster.run(&dir, &["topic", "describe", "t", "-o", "json"]).ok().json();
    assert_eq!(&described["fluvio"]["replicas"]["assigned"][1]["replicas"][0], spu);
    dir.file("bad.json", br#"[{"id":1,"replicas":[5001]}]"#);
    create("u", "bad.json").code(2).mentions("ids count from 0").mentions("hint: use [{");
    create("u", "none.json").code(3).mentions("none.json");
    let both = ["topic", "create", "u", "--partitions", "2", "--replica-assignment", "map.json"];
    cluster.run(&dir, &both).code(2).mentions("cannot be used with");
}

#[test]
fn partitions_are_added() {
    let dir = Dir::with_topics(&["t"]);
    dir.run(&["topic", "add-partitions", "t", "--to", "3"]).ok().prints("topic t has 3 partitions\n");
    dir.run(&["topic", "add-partitions", "t", "--to", "3"]).ok();
    dir.run(&["topic", "add-partitions", "t", "--to", "2"]).code(2);
    dir.run(&["topic", "add-partitions", "nope", "--to", "2"]).code(3);
    assert_eq!(dir.run(&["topic", "describe", "t", "-o", "json"]).ok().json()["partitions"], 3);
    let cluster = Cluster::start();
    cluster.run(&dir, &["topic", "create", "u"]).ok();
    cluster
        .run(&dir, &["topic", "add-partitions", "u", "--to", "2"])
        .ok()
        .prints("topic u has 2 partitions\n");
    assert_eq!(cluster.run(&dir, &["topic", "describe", "u", "-o", "json"]).ok().json()["partitions"], 2);
}

#[test]
fn other_engines_are_rejected_before_any_change() {
    let dir = Dir::new();
    for args in [
        &["smartmodule", "list"][..],
        &["smartmodule", "create", "a", "--wasm", "nowhere.wasm"],
        &["smartmodule", "delete", "a"],
        &["partition", "list"],
        &["spu", "list"],
        &["spu", "register", "1", "--public", "h:1", "--private", "h:2"],
        &["spu", "unregister", "1"],
        &["topic", "create", "t", "--replication", "2"],
        &["topic", "create", "t", "--mirror", "edge"],
        &["topic", "add-mirror", "t", "edge"],
        &["consume", "t", "--smartmodule", "a"],
        &["consume", "t", "--mirror", "edge"],
        &["produce", "t", "--smartmodule-path", "nowhere.wasm"],
    ] {
        for (url, engine) in [("embedded:data", "embedded"), ("walrus://127.0.0.1:1", "walrus")] {
            let run = dir.run(&[&["--url", url], args].concat()).code(1).prints("");
            let expected = format!("error: the {engine} engine has no ");
            assert!(run.stderr.starts_with(&expected), "{args:?}: {}", run.stderr);
            run.mentions("(unsupported)");
        }
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn missing_smartmodules_are_reported() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    cluster.run(&dir, &["topic", "create", "t"]).ok();
    dir.file("text.wasm", b"(module)");
    for command in ["consume", "produce"] {
        cluster
            .run(&dir, &[command, "t", "--smartmodule", "nope"])
            .code(3)
            .mentions("(module_not_found)")
            .mentions("no SmartModule \"nope\"")
            .mentions("floe smartmodule list");
        cluster.run(&dir, &[command, "t", "--params", "a=b"]).code(2).mentions("follow --smartmodule");
        cluster
            .run(&dir, &[command, "t", "--smartmodule-path", "text.wasm"])
            .code(2)
            .mentions("text.wasm is not usable");
        cluster.run(&dir, &[command, "t", "--smartmodule-path", "none.wasm"]).code(3).mentions("none.wasm");
    }
}

#[test]
fn profile_supplies_the_cluster_address() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let profiles = format!(
        "version = \"2.0\"\ncurrent_profile = \"here\"\n[profile.here]\ncluster = \"test\"\n\
         [profile.there]\ncluster = \"gone\"\n[cluster.test]\nendpoint = \"{}\"\n",
        cluster.address()
    );
    let list = |url: &str| dir.run(&["topic", "list", "--url", url]);
    list("fluvio://").code(2).mentions("config cannot be read");
    std::fs::create_dir(dir.path().join(".fluvio")).unwrap();
    dir.file(".fluvio/config", profiles.as_bytes());
    dir.run(&["topic", "create", "t", "--url", "fluvio://"]).ok();
    list("fluvio://?profile=here").ok().prints("t\n");
    list("fluvio://?profile=there").code(2).mentions("cluster \"gone\", which is missing");
    list("fluvio://?profile=her").code(2).mentions("did you mean \"here\"?");
    let path = dir.file("elsewhere", profiles.as_bytes());
    std::fs::remove_dir_all(dir.path().join(".fluvio")).unwrap();
    let listed =
        dir.command(&["topic", "list", "--url", "fluvio://"]).env("FLV_PROFILE_PATH", path).output().unwrap();
    assert_eq!(listed.stdout, b"t\n");
}
