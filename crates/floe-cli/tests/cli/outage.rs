//! Servers that go away while a command waits for them.

use std::io::{BufRead, BufReader};

use crate::{
    cluster::Cluster,
    support::{Dir, Running},
};

/// Reads messages up to the first that holds `text`.
fn wait_for(stderr: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "the command ended without {text:?}: {seen}");
        seen.push_str(&line);
        if line.contains(text) {
            return line;
        }
    }
}

fn stderr_of(child: &mut Running) -> BufReader<std::process::ChildStderr> {
    BufReader::new(child.stderr.take().unwrap())
}

#[test]
fn commands_tell_that_they_wait_for_a_server_and_that_it_is_back() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let any = "127.0.0.1:0".parse().unwrap();
    let (walrus, walrus_port) = cluster.port(any, cluster.walrus_address());
    let (fluvio, fluvio_port) = cluster.port(any, cluster.address());
    let (walrus_url, fluvio_url) = (format!("walrus://{walrus}"), format!("fluvio://{fluvio}"));
    dir.run(&["--url", &fluvio_url, "topic", "create", "t"]).ok();
    dir.feed(&["--url", &walrus_url, "produce", "t"], b"first\n").ok();
    let mut children = [
        dir.start(&["--url", &walrus_url, "consume", "t"]),
        dir.start(&["--url", &fluvio_url, "consume", "t", "--from", "beginning"]),
        dir.start(&["--url", &fluvio_url, "topic", "watch"]),
    ];
    let mut messages = children.each_mut().map(stderr_of);
    // Each command has reached its server once it prints.
    for child in &mut children {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
    }
    let addresses = [walrus, fluvio, fluvio].map(|address| address.to_string());
    walrus_port.abort();
    fluvio_port.abort();
    for (stderr, address) in messages.iter_mut().zip(&addresses) {
        let line = wait_for(stderr, "waiting for the server");
        assert!(line.contains(address) && line.contains("onnection"), "{line}");
    }
    let _ports = [cluster.port(walrus, cluster.walrus_address()), cluster.port(fluvio, cluster.address())];
    for (stderr, address) in messages.iter_mut().zip(&addresses) {
        let line = wait_for(stderr, "the server is back");
        assert!(line.contains(address), "{line}");
    }
}
