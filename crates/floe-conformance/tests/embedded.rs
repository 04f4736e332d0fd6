//! The suite on `embedded:`, in a temporary folder per case.

use floe_conformance::{Target, conformance_tests};

#[path = "extent/mod.rs"]
mod extent;

conformance_tests!(embedded, Target::embedded());

#[tokio::test]
async fn the_suite_does_not_shrink() {
    extent::check_tests(embedded::TESTS);
    extent::check_skipped(
        &Target::embedded(),
        &[
            ("consuming_readers_share", "consuming_reads"),
            ("consuming_readers_end_where_no_record_is_left", "consuming_reads"),
        ],
    )
    .await;
}
