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
const SKIPPED: &[(&str, &str)] = &[];
