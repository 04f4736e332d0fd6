//! `floe bench` and `floe quickstart`.

use crate::{cluster::Cluster, support::Dir};

#[test]
fn bench_json_has_the_documented_fields() {
    let dir = Dir::with_topics(&["mine"]);
    let run = dir
        .run(&[
            "bench",
            "--records",
            "5000",
            "--size",
            "50",
            "--partitions",
            "3",
            "--compression",
            "lz4",
            "-o",
            "json",
        ])
        .ok()
        .stderr_is("");
    let json = run.json();
    for path in [
        "/produce/records_per_second",
        "/produce/megabytes_per_second",
        "/consume/records_per_second",
        "/consume/megabytes_per_second",
    ] {
        assert!(json.pointer(path).unwrap().as_f64().unwrap() > 0.0, "{path}");
    }
    let latency = |name: &str| json["produce"]["latency_us"][name].as_u64().unwrap();
    assert!(latency("p50") > 0);
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("p999"));
    assert!(latency("p999") <= latency("max"));
    for name in ["lost", "duplicated", "out_of_order"] {
        assert_eq!(json[name], 0, "{name}");
    }
    assert_eq!(json["inputs"]["records"], 5000);
    assert_eq!(json["inputs"]["size"], 50);
    assert_eq!(json["inputs"]["partitions"], 3);
    assert_eq!(json["inputs"]["compression"], "lz4");
    let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(json["end_to_end"], serde_json::Value::Null);
    assert_eq!(names, ["consume", "duplicated", "inputs", "lost", "out_of_order", "produce"]);
    dir.run(&["topic", "list"]).ok().prints("mine\n");
}

#[test]
fn bench_keeps_a_rate_and_writes_its_latencies() {
    let dir = Dir::new();
    let args = "bench --rate 2000 --duration 500ms --topics 2 --partitions 2 --producers 2 --consumers 2 --seed 7 \
                --durability always --plot latency.svg --histogram latency.hlog -o json";
    let json = dir.run(&args.split_whitespace().collect::<Vec<_>>()).ok().stderr_is("").json();
    let inputs = &json["inputs"];
    for (name, expected) in
        [("records", 1000), ("rate", 2000), ("topics", 2), ("producers", 2), ("consumers", 2), ("seed", 7)]
    {
        assert_eq!(inputs[name], expected, "{name}");
    }
    assert_eq!(inputs["durability"], "always");
    for name in ["lost", "duplicated", "out_of_order"] {
        assert_eq!(json[name], 0, "{name}");
    }
    // Each record is measured, not a sample.
    for path in ["/produce/latency_us", "/end_to_end/latency_us"] {
        let latency = json.pointer(path).unwrap();
        assert_eq!(latency["samples"], 1000, "{path}");
        assert!(latency["p50"].as_u64().unwrap() <= latency["max"].as_u64().unwrap(), "{path}");
    }
    let picture = std::fs::read_to_string(dir.path().join("latency.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.matches("<polyline").count() == 2);
    let log = std::fs::read_to_string(dir.path().join("latency.hlog")).unwrap();
    for tag in ["Tag=acknowledged,", "Tag=end-to-end,"] {
        assert!(
            log.lines().any(|line| line.starts_with(tag) && line.contains(",HISTFAAAA")),
            "{tag} in {log}"
        );
    }
    dir.run(&["topic", "list"]).ok().prints("");
}

#[test]
fn bench_writes_for_a_time() {
    let dir = Dir::new();
    let args = ["bench", "--duration", "100ms", "--producers", "2", "--url", "memory:", "-o", "json"];
    let json = dir.run(&args).ok().json();
    assert_eq!((&json["inputs"]["duration_seconds"], &json["lost"]), (&0.1.into(), &0.into()));
    assert!(json["inputs"]["records"].as_u64().unwrap() > 0);
}

#[test]
fn bench_uses_the_effective_settings() {
    let dir = Dir::new();
    dir.file(
        "floe.toml",
        b"[producer]\nbatch_size = \"4KiB\"\nlinger = \"2ms\"\n[compression]\ncodec = \"lz4\"\n",
    );
    let args = ["bench", "--records", "100", "--url", "memory:", "-o", "json"];
    let inputs = dir.run(&args).ok().json()["inputs"].clone();
    assert_eq!((&inputs["batch_size"], &inputs["linger_ms"]), (&4096.into(), &2.0.into()));
    assert_eq!(inputs["compression"], "lz4");
    let flags = ["--batch-size", "8KiB", "--compression", "none", "--linger", "0ms"];
    let inputs = dir.run(&[&args[..], &flags].concat()).ok().json()["inputs"].clone();
    assert_eq!((&inputs["batch_size"], &inputs["linger_ms"]), (&8192.into(), &0.0.into()));
    assert_eq!(inputs["compression"], "none");
}

#[test]
fn bench_prints_text_for_a_memory_store() {
    let dir = Dir::new();
    let text = dir.run(&["bench", "--records", "1000", "--url", "memory:"]).ok().text();
    assert!(
        text.starts_with(
            "1,000 records of 100 B (random bytes, compression none) in 1 partition on memory:\n"
        )
    );
    assert!(text.ends_with("checked  0 lost, 0 duplicated, 0 out of order\n"), "{text}");
    assert!(!dir.path().join("floe-data").exists());
}

#[test]
fn invalid_bench_options_are_rejected() {
    let dir = Dir::new();
    for args in [
        ["--records", "0"],
        ["--size", "7"],
        ["--size", "99999999999"],
        ["--partitions", "0"],
        ["--batch-size", "0"],
        ["--consumers", "2"],
        ["--rate", "0"],
        ["--duration", "0s"],
        ["--topics", "0"],
    ] {
        dir.run(&["bench", "--url", "memory:", args[0], args[1]]).code(2).prints("");
    }
    dir.run(&["bench", "--records", "5", "--duration", "1s"]).code(2).prints("");
    dir.run(&["bench", "--plot", "missing/latency.svg"])
        .mentions("cannot write missing/latency.svg")
        .prints("");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no store is made");
}

#[test]
fn failed_bench_leaves_no_topic() {
    let dir = Dir::new();
    // A record larger than the largest batch that the settings allow.
    let url = "embedded:./floe-data?producer.max_request_size=1MiB";
    dir.run(&["bench", "--records", "3", "--size", "2MiB", "--url", url])
        .code(1)
        .mentions("record_too_large");
    dir.run(&["topic", "list"]).ok().prints("");
}

#[test]
fn quickstart_runs_and_leaves_no_files() {
    let dir = Dir::new();
    let run = dir.run(&["quickstart"]).ok().stderr_is("");
    let text = run.text();
    for part in [
        "in:  key=ada value=\"hello, stream\" -> acknowledged, partition 0, offset 0",
        "out: partition 0, offset 0, ",
        "0 lost, 0 duplicated, 0 out of order",
        "Next steps:",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let url = text.split_whitespace().find_map(|word| word.strip_prefix("embedded:")).unwrap();
    assert!(!std::path::Path::new(url).exists(), "{url} is still there");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "files remain in the working directory");
}

#[test]
fn suggested_commands_of_quickstart_work() {
    let dir = Dir::new();
    let text = dir.run(&["quickstart"]).ok().text();
    let suggested: Vec<_> =
        text.split("Next steps:").nth(1).unwrap().lines().filter(|line| line.starts_with("  ")).collect();
    assert!(suggested.len() >= 5, "{suggested:?}");
    for line in suggested {
        // Two spaces separate the command from its explanation.
        let command = line.trim().split("   ").next().unwrap().split("  ").next().unwrap();
        let (input, command) = match command.split_once(" | ") {
            Some((echo, command)) => (echo.trim_start_matches("echo ").trim_matches('\''), command),
            None => ("", command),
        };
        let args: Vec<_> = command.split(' ').collect();
        assert_eq!(args[0], "floe", "{line}");
        dir.feed(&args[1..], format!("{input}\n").as_bytes()).ok();
    }
    assert_eq!(dir.read("orders"), b"one coffee\n");
}

fn bench_rated(dir: &Dir, url: &str, rate: &[&str]) -> crate::support::Run {
    dir.run(&[&["bench", "--records", "3000", "--size", "50", "-o", "json", "--url", url], rate].concat())
}

#[test]
fn bench_runs_on_clusters() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let bench = |url: &str| bench_rated(&dir, url, &[]);
    for (url, rate) in [
        (cluster.url(), &[][..]),
        (cluster.walrus_url(), &[]),
        (cluster.url(), &["--rate", "20000"]),
        (cluster.walrus_url(), &["--rate", "20000"]),
    ] {
        let run = bench_rated(&dir, &url, rate).ok();
        let json = run.json();
        assert_eq!(
            (&json["lost"], &json["duplicated"], &json["out_of_order"]),
            (&0.into(), &0.into(), &0.into())
        );
        // Walrus cannot delete topics.
        assert_eq!(
            run.stderr.contains(" remains: the walrus engine cannot delete topics"),
            url.starts_with("walrus")
        );
    }
    bench(&format!("{}&framing=plain", cluster.walrus_url())).code(2).mentions("binary values");
    dir.run(&["bench", "--partitions", "2", "--url", &cluster.walrus_url()]).code(1).mentions("unsupported");
}
