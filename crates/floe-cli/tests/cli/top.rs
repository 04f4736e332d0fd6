//! `floe top` where standard output is no terminal.

use crate::{cluster::Cluster, support::Dir};

#[test]
fn top_prints_one_table_without_a_terminal() {
    let dir = Dir::with_topics(&["audit", "orders"]);
    dir.feed(&["produce", "orders"], b"1\n2\n3\n").ok();
    dir.run(&["consume", "orders", "--group", "billing", "-n", "1", "--from", "beginning"]).ok();
    let top = |more: &[&str]| dir.run(&[&["top", "--interval", "100ms"], more].concat());
    let text = top(&["--sort", "records"]).ok().stderr_is("").text();
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["TOPIC", "PARTITIONS", "RECORDS", "SIZE", "WRITTEN/S", "LAG"], "{text}");
    assert_eq!((lines[1][0], lines[1][2], lines[1].last()), ("orders", "3", Some(&"2")), "{text}");
    assert_eq!(lines.last().unwrap()[..], ["billing", "orders", "1", "0", "2"], "{text}");

    let rows = top(&["--once", "-o", "jsonl", "--sort", "name"]).ok().json_lines();
    assert_eq!((rows[0]["topic"].as_str(), rows[1]["topic"].as_str()), (Some("audit"), Some("orders")));
    assert_eq!(rows[1]["groups"][0]["lag"], 2);
    top(&["--sort", "colour"]).code(2);
    dir.run(&["top", "--interval", "1ms"]).code(2).mentions("100ms");
}

#[test]
fn top_of_clusters() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    dir.run(&["topic", "create", "orders", "--url", &cluster.url()]).ok();
    dir.feed(&["produce", "orders", "--url", &cluster.url()], b"1\n2\n").ok();
    let rows =
        dir.run(&["top", "--once", "--interval", "100ms", "-o", "jsonl", "--url", &cluster.url()]).ok();
    assert_eq!(rows.json_lines()[0]["records"], 2);
    let url = cluster.walrus_url();
    dir.run(&["top", "--url", &url]).code(1).mentions("unsupported").mentions("journal=PATH");
}
