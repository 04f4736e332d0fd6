//! The suite on models with fewer capabilities: the capabilities determine the skipped cases, and the others pass.

use std::sync::Arc;

use floe::engine::Capabilities;
use floe_conformance::{CASES, Model, Offer, Report, Target, applicable, run_suite};

fn target(capabilities: Capabilities) -> Target {
    Target::engine(
        "limited",
        move || async move { Ok(Arc::new(Model::with_capabilities(capabilities)) as _) },
    )
}

/// Runs the suite and checks that it ran exactly the cases that the capabilities imply.
async fn check(capabilities: Capabilities) -> Report {
    let report = run_suite(&target(capabilities)).await;
    assert!(report.is_success(), "{report}");
    assert_eq!(report.passed, applicable(&Offer { capabilities, persistent: false }));
    assert_eq!(report.passed.len() + report.skipped.len(), CASES.len());
    report
}

fn without(take_away: impl Fn(&mut Capabilities)) -> Capabilities {
    let mut capabilities = Capabilities::FULL;
    take_away(&mut capabilities);
    capabilities
}

#[tokio::test(start_paused = true)]
async fn without_partitions() {
    let report = check(without(|c| c.partitions = false)).await;
    assert!(report.skipped.contains(&("keys_decide_the_partition", "partitions")));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
}

#[tokio::test(start_paused = true)]
async fn without_stored_offsets() {
    let report = check(without(|c| c.commit_offsets = false)).await;
    assert!(report.skipped.contains(&("commit_and_resume", "commit_offsets")));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
}

#[tokio::test(start_paused = true)]
async fn without_lists_and_deletion() {
    let report = check(without(|c| (c.list_topics, c.delete_topic) = (false, false))).await;
    assert!(report.skipped.contains(&("watch_reports_changes", "list_topics")));
    assert!(report.skipped.contains(&("deleted_topic_is_gone", "delete_topic")));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
}

#[tokio::test(start_paused = true)]
async fn without_keys_and_headers() {
    let report = check(without(|c| (c.keys, c.headers) = (false, false))).await;
    assert!(report.skipped.contains(&("keys_are_kept", "keys")));
    assert!(report.skipped.contains(&("headers_are_kept_in_order", "headers")));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
}

#[tokio::test(start_paused = true)]
async fn without_conditional_appends() {
    let report = check(without(|c| c.conditional_appends = false)).await;
    assert!(report.skipped.contains(&("newer_token_fences_older_ones", "conditional_appends")));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
}

#[tokio::test(start_paused = true)]
async fn queue_with_one_cursor() {
    let capabilities = without(|c| {
        (c.partitions, c.offsets, c.dense_offsets, c.commit_offsets) = (false, false, false, false);
        (c.list_topics, c.delete_topic, c.consuming_reads) = (false, false, true);
        c.max_batch_bytes = 64 * 1024;
    });
    let report = check(capabilities).await;
    assert!(report.passed.contains(&"consuming_readers_share"));
    assert!(report.passed.contains(&"missing_capabilities_are_refused_before_io"));
    assert!(report.skipped.contains(&("mebibyte_values_are_kept", "large_batches")));
    assert!(report.skipped.contains(&("start_at_an_offset", "offsets")));
    assert!(report.passed.len() >= 35, "{report}");
}

type TakeAway = fn(&mut Capabilities);

/// Every capability is required by at least one case.
#[test]
fn every_capability_matters() {
    let full = applicable(&Offer { capabilities: Capabilities::FULL, persistent: true });
    assert_eq!(
        full.len(),
        CASES.len() - 3,
        "all cases but those for consuming reads and missing capabilities"
    );
    let fewer: [(&str, TakeAway); 13] = [
        ("partitions", |c| c.partitions = false),
        ("offsets", |c| c.offsets = false),
        ("dense_offsets", |c| c.dense_offsets = false),
        ("commit_offsets", |c| c.commit_offsets = false),
        ("list_topics", |c| c.list_topics = false),
        ("delete_topic", |c| c.delete_topic = false),
        ("keys", |c| c.keys = false),
        ("headers", |c| c.headers = false),
        ("binary", |c| c.binary = false),
        ("consuming_reads", |c| c.consuming_reads = true),
        ("smartmodules", |c| c.smartmodules = false),
        ("mirrors", |c| c.mirrors = false),
        ("conditional_appends", |c| c.conditional_appends = false),
    ];
    assert_eq!(fewer.map(|(name, _)| name), Capabilities::FULL.flags().map(|(name, _)| name));
    for (name, take_away) in fewer {
        let offer = Offer { capabilities: without(take_away), persistent: true };
        let left = applicable(&offer);
        assert_ne!(full, left, "no case needs {name}");
    }
}
