//! The suite on every engine in `FLOE_TEST_URLS`, separated by white space or semicolons (a Walrus URL has commas between
//! its hosts), and on one store that every case opens by its URL, like a cluster.

use floe_conformance::{Target, run_suite};

const VARIABLE: &str = "FLOE_TEST_URLS";

async fn check(url: &str) {
    let report = run_suite(&Target::url(url)).await;
    println!("{report}");
    assert!(report.is_success(), "{report}");
}

fn split(urls: &str) -> Vec<&str> {
    urls.split(|c: char| c.is_whitespace() || c == ';').filter(|url| !url.is_empty()).collect()
}

#[test]
fn hosts_of_one_url_stay_together() {
    let urls = split(" walrus://a:1,b:2,c:3;fluvio://h:9003\nmemory: ;");
    assert_eq!(urls, ["walrus://a:1,b:2,c:3", "fluvio://h:9003", "memory:"]);
    assert!(split(" ").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_named_by_the_environment() {
    let urls = std::env::var(VARIABLE).unwrap_or_default();
    let urls = split(&urls);
    if urls.is_empty() {
        println!("{VARIABLE} is not set: no engines besides the temporary store");
    }
    for url in urls {
        check(url).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_store_for_all_cases() {
    let folder = tempfile::tempdir().unwrap();
    check(&format!("embedded:{}", folder.path().join("store").display())).await;
}

#[tokio::test]
async fn unreachable_engine_fails_every_case() {
    let report = run_suite(&Target::url("embedded:/dev/null/no-folder")).await;
    assert!(!report.is_success());
    assert_eq!(report.failed.len(), floe_conformance::CASES.len(), "{report}");
}
