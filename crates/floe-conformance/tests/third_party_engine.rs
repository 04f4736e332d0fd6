//! The suite on an engine that is written only against the public contract.

use floe_conformance::conformance_tests;

#[path = "extent/mod.rs"]
mod extent;
#[path = "../examples/folder_engine.rs"]
#[allow(dead_code, reason = "the example has a main function")]
mod folder_engine;

use folder_engine::target;

conformance_tests!(folder, target());

#[tokio::test]
async fn the_suite_does_not_shrink() {
    extent::check_tests(folder::TESTS);
    extent::check_skipped(&target(), SKIPPED).await;
}

/// Cases that need a capability that the engine lacks.
const SKIPPED: &[(&str, &str)] = &[
    ("every_partition_is_described", "partitions"),
    ("partitions_are_added", "partitions"),
    ("unknown_partition_is_reported", "partitions"),
    ("deletion_removes_stored_offsets", "commit_offsets"),
    ("keys_decide_the_partition", "partitions"),
    ("same_key_goes_to_the_same_partition", "partitions"),
    ("keyless_records_reach_every_partition", "partitions"),
    ("chosen_partition_is_obeyed", "partitions"),
    ("consuming_readers_share", "consuming_reads"),
    ("consuming_readers_end_where_no_record_is_left", "consuming_reads"),
    ("one_stream_of_all_partitions", "partitions"),
    ("only_the_chosen_partitions", "partitions"),
    ("added_partitions_are_read", "partitions"),
    ("paused_partitions_wait", "partitions"),
    ("watermarks_follow_the_records", "partitions"),
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
    ("conditional_appends_need_the_expected_end", "conditional_appends"),
    ("one_of_concurrent_conditional_appends_gets_each_offset", "conditional_appends"),
    ("retried_conditional_append_is_stored_once", "conditional_appends"),
    ("conditional_append_is_retried_across_a_restart", "conditional_appends"),
    ("newer_token_fences_older_ones", "conditional_appends"),
    ("records_of_a_task_are_stored_once", "conditional_appends"),
    ("fences_outlive_the_connection", "conditional_appends"),
    ("stored_offsets_outlive_the_connection", "commit_offsets"),
    ("closing_the_client_delivers_and_commits", "commit_offsets"),
    ("processor_resumes_where_it_stopped", "commit_offsets"),
    ("recorded_outputs_are_those_of_one_call", "commit_offsets"),
];
