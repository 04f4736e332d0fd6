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
fn a_command_tells_that_the_controller_is_away_while_data_flows() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let any = "127.0.0.1:0".parse().unwrap();
    let (controller, port) = cluster.port(any, cluster.address());
    let url = format!("fluvio://{controller}");
    dir.run(&["--url", &url, "topic", "create", "t"]).ok();
    dir.feed(&["--url", &url, "produce", "t"], b"first\n").ok();
    let mut child = dir.start(&["--url", &url, "consume", "t", "--from", "beginning"]);
    let mut messages = stderr_of(&mut child);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    port.abort();
    let line = wait_for(&mut messages, "waiting for the server");
    assert!(line.contains(&controller.to_string()), "{line}");
    let _port = cluster.port(controller, cluster.address());
    let line = wait_for(&mut messages, "the server is back");
    assert!(line.contains(&controller.to_string()), "{line}");
}

#[test]
fn a_command_tells_that_it_waits_for_a_server_and_that_it_is_back() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let any = "127.0.0.1:0".parse().unwrap();
    let (walrus, port) = cluster.port(any, cluster.walrus_address());
    let url = format!("walrus://{walrus}");
    dir.run(&["--url", &format!("fluvio://{}", cluster.address()), "topic", "create", "t"]).ok();
    dir.feed(&["--url", &url, "produce", "t"], b"first\n").ok();
    let mut child = dir.start(&["--url", &url, "consume", "t"]);
    let mut messages = stderr_of(&mut child);
    // The command has reached its server once it prints.
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    port.abort();
    let line = wait_for(&mut messages, "waiting for the server");
    assert!(line.contains(&walrus.to_string()) && line.contains("onnection"), "{line}");
    let _port = cluster.port(walrus, cluster.walrus_address());
    let line = wait_for(&mut messages, "the server is back");
    assert!(line.contains(&walrus.to_string()), "{line}");
}
