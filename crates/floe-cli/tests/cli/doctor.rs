//! `floe doctor`: each step, and where it ends.

use floe_server::testkit::TestServer;

use crate::support::Dir;

#[test]
fn a_store_passes_all_steps_and_is_left_as_it_was() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.run(&["doctor"]).ok();
    let told = String::from_utf8(run.stdout).unwrap();
    let steps: Vec<_> = told.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(steps, ["address", "open", "health", "metadata", "create", "record", "delete"], "{told}");
    assert!(told.lines().all(|line| line.starts_with("ok ")), "{told}");
    dir.run(&["topic", "list"]).ok().prints("t\n");
    let read_only = dir.run(&["doctor", "--read-only", "-o", "json"]).ok().json();
    assert_eq!(read_only["steps"].as_array().unwrap().len(), 4);
    assert_eq!(read_only["steps"][3]["detail"], "1 topic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_resolved_and_connected_to() {
    let server = TestServer::start().await.unwrap();
    for url in
        [format!("fluvio://{}", server.fluvio_address()), format!("walrus://{}", server.walrus_address())]
    {
        let told = String::from_utf8(Dir::new().run(&["--url", &url, "doctor"]).ok().stdout).unwrap();
        for step in ["resolve", "connect", "open", "record"] {
            assert!(told.lines().any(|line| line.starts_with("ok ") && line.contains(step)), "{url} {told}");
        }
    }
    server.stop().await.unwrap();
}

#[test]
fn the_step_that_fails_is_named_with_what_to_do() {
    let dir = Dir::new();
    // The port is free again, so that nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = dir.run(&["--url", &format!("fluvio://{free}"), "doctor"]);
    let told = String::from_utf8(run.stdout.clone()).unwrap();
    assert!(told.lines().last().unwrap().starts_with("FAILED  connect"), "{told}");
    run.mentions("refused").mentions("hint:");
    let run = dir.run(&["--url", "fluvio://no-such-host.invalid:9003", "doctor"]);
    assert!(String::from_utf8(run.stdout.clone()).unwrap().contains("FAILED  resolve"));
    run.mentions("has no address");
    dir.run(&["--url", "nonsense://x", "doctor"]).mentions("hint:");
}
