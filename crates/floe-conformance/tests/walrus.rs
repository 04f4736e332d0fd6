//! The suite on `walrus://`, over TCP to a scripted node with the protocol of distributed Walrus.

use std::sync::LazyLock;

use floe_conformance::{Target, conformance_tests, run_suite};
use floe_testkit::walrus::Cluster;

#[path = "extent/mod.rs"]
mod extent;

static ADDRESS: LazyLock<String> = LazyLock::new(|| Cluster::new(1).listen());

fn target(options: &str) -> Target {
    Target::url(&format!("walrus://{}?poll-max=20ms&{options}", *ADDRESS))
}

conformance_tests!(packed, target(""));
conformance_tests!(pipelined, target("window=8&balance=consistent-hash"));

#[tokio::test]
async fn the_suite_does_not_shrink() {
    extent::check_tests(packed::TESTS);
    extent::check_skipped(&target(""), SKIPPED).await;
}

/// Plain framing fails the cases with values that text cannot carry (empty ones, trailing white space) and with
/// timestamps, and passes all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_keeps_everything_that_text_can_carry() {
    let report = run_suite(&target("framing=plain")).await;
    assert_eq!(report.failures(), PLAIN_FAILS, "{report}");
}

const PLAIN_FAILS: [&str; 4] = [
    "every_codec_round_trips",
    "empty_values_are_kept",
    "timestamps_are_kept",
    "default_timestamp_is_the_time_of_sending",
];

/// Cases that need a capability that Walrus lacks.
const SKIPPED: &[(&str, &str)] = &[
    ("every_partition_is_described", "partitions"),
    ("topics_are_listed_by_name", "list_topics"),
    ("trimmed_records_are_gone_and_the_others_stay", "offsets"),
    ("partitions_are_added", "partitions"),
    ("unknown_partition_is_reported", "partitions"),
    ("deleted_topic_is_gone", "delete_topic"),
    ("recreated_topic_starts_empty", "delete_topic"),
    ("deletion_removes_stored_offsets", "delete_topic"),
    ("watch_reports_changes", "list_topics"),
    ("append_assigns_dense_offsets", "dense_offsets"),
    ("acknowledged_offset_holds_that_record", "offsets"),
    ("acknowledged_records_are_readable_at_once", "offsets"),
    ("keys_decide_the_partition", "partitions"),
    ("same_key_goes_to_the_same_partition", "partitions"),
    ("keyless_records_reach_every_partition", "partitions"),
    ("chosen_partition_is_obeyed", "partitions"),
    ("compressed_batches_stay_compressed", "offsets"),
    ("flush_waits_for_every_record", "offsets"),
    ("start_at_the_beginning", "offsets"),
    ("start_at_an_offset", "offsets"),
    ("start_in_the_middle_of_a_batch", "offsets"),
    ("start_after_the_beginning", "offsets"),
    ("start_before_the_end", "offsets"),
    ("start_at_the_end_offset_waits_for_the_next", "offsets"),
    ("start_at_the_end", "offsets"),
    ("earliest_and_latest_positions", "offsets"),
    ("start_at_a_time", "offsets"),
    ("offset_of_a_time_is_found", "offsets"),
    ("offset_beyond_the_end_is_refused", "offsets"),
    ("all_waiting_readers_wake", "shared_reads"),
    ("readers_are_independent", "shared_reads"),
    ("stopping_at_the_end", "offsets"),
    ("one_stream_of_all_partitions", "partitions"),
    ("only_the_chosen_partitions", "partitions"),
    ("added_partitions_are_read", "partitions"),
    ("paused_partitions_wait", "partitions"),
    ("seeking_moves_the_reader", "offsets"),
    ("fetching_by_offset", "offsets"),
    ("watermarks_follow_the_records", "partitions"),
    ("lag_counts_unread_records", "offsets"),
    ("whole_batches_hold_the_same_records", "offsets"),
    ("deletion_ends_readers", "delete_topic"),
    ("deletion_ends_waiting_readers", "delete_topic"),
    ("commit_and_resume", "commit_offsets"),
    ("no_offset_is_stored_without_a_commit", "commit_offsets"),
    ("commits_never_run_ahead", "commit_offsets"),
    ("commit_for_every_record", "commit_offsets"),
    ("commit_at_intervals", "commit_offsets"),
    ("acknowledged_records_are_committed_in_order", "commit_offsets"),
    ("closing_commits_finished_records", "commit_offsets"),
    ("stored_or_end_without_a_stored_offset", "commit_offsets"),
    ("groups_are_separate", "commit_offsets"),
    ("partitions_are_committed_separately", "commit_offsets"),
    ("stored_offsets_are_listed_and_forgotten", "commit_offsets"),
    ("stored_offset_can_be_set", "commit_offsets"),
    ("shared_members_divide_the_partitions", "commit_offsets"),
    ("shared_members_take_over_when_one_leaves", "commit_offsets"),
    ("shared_members_of_two_topics_keep_the_numbers_together", "commit_offsets"),
    ("shared_positions_outlast_the_members", "commit_offsets"),
    ("shared_groups_are_administered", "commit_offsets"),
    ("records_of_a_key_stay_in_order", "partitions"),
    ("concurrent_appends_are_total_and_unique", "offsets"),
    ("batches_are_read_one_by_one_and_whole", "dense_offsets"),
    ("conditional_appends_need_the_expected_end", "conditional_appends"),
    ("one_of_concurrent_conditional_appends_gets_each_offset", "conditional_appends"),
    ("retried_conditional_append_is_stored_once", "conditional_appends"),
    ("conditional_append_is_retried_across_a_restart", "conditional_appends"),
    ("newer_token_fences_older_ones", "conditional_appends"),
    ("records_of_a_task_are_stored_once", "conditional_appends"),
    ("fences_outlive_the_connection", "conditional_appends"),
    ("mebibyte_values_are_kept", "large_batches"),
    ("lost_replies_store_no_duplicates", "offsets"),
    ("refused_appends_keep_the_order", "offsets"),
    ("layers_change_nothing", "offsets"),
    ("offsets_continue_after_reconnecting", "offsets"),
    ("stored_offsets_outlive_the_connection", "commit_offsets"),
    ("topics_outlive_the_connection", "delete_topic"),
    ("closing_the_client_delivers_and_commits", "commit_offsets"),
    ("processor_resumes_where_it_stopped", "commit_offsets"),
    ("recorded_outputs_are_those_of_one_call", "commit_offsets"),
    ("outbox_restarts_lose_and_duplicate_nothing", "offsets"),
];
