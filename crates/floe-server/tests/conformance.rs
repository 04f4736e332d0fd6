//! Conformance suite over both protocols: floe's engines against this server.

use floe_conformance::{Target, run_suite};
use floe_server::testkit::TestServer;

async fn check(url: &str) {
    let report = run_suite(&Target::url(url)).await;
    println!("{report}");
    assert!(report.is_success(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fluvio() {
    let server = TestServer::start().await.unwrap();
    check(&format!("fluvio://{}", server.fluvio_address())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walrus() {
    let server = TestServer::start().await.unwrap();
    // The engine polls, by default at long intervals.
    check(&format!("walrus://{}?poll-max=20ms", server.walrus_address())).await;
}
