//! The suite on `memory:`.

use floe_conformance::{Target, conformance_tests};

#[path = "extent/mod.rs"]
mod extent;

conformance_tests!(memory, Target::url("memory:"));

#[tokio::test]
async fn the_suite_does_not_shrink() {
    extent::check_tests(memory::TESTS);
    extent::check_skipped(
        &Target::url("memory:"),
        &[
            ("consuming_readers_share", "consuming_reads"),
            ("consuming_readers_end_where_no_record_is_left", "consuming_reads"),
            ("conditional_append_is_retried_across_a_restart", "persistence"),
            ("fences_outlive_the_connection", "persistence"),
            ("records_outlive_the_connection", "persistence"),
            ("offsets_continue_after_reconnecting", "persistence"),
            ("stored_offsets_outlive_the_connection", "persistence"),
            ("topics_outlive_the_connection", "persistence"),
            ("closing_the_client_delivers_and_commits", "persistence"),
        ],
    )
    .await;
}
