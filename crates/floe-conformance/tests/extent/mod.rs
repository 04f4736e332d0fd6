//! Checks that an engine runs exactly the expected cases.

use floe_conformance::{CASES, Target, Verdict, run_case};

/// Checks that every case of the suite is a test.
pub(crate) fn check_tests(tests: &[&str]) {
    let all: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(tests, all);
    assert!(all.len() >= 100, "the suite has only {} cases", all.len());
}

/// Checks that exactly these cases are skipped, each because of this missing capability.
pub(crate) async fn check_skipped(target: &Target, expected: &[(&str, &str)]) {
    let mut skipped = Vec::new();
    for case in CASES {
        // An empty body: skipping is decided before a case runs.
        let case = floe_conformance::Case { run: |_| Box::pin(async { Ok(()) }), ..*case };
        match run_case(target, &case).await {
            Verdict::Passed => {}
            Verdict::Skipped(capability) => skipped.push((case.name, capability)),
            Verdict::Failed(failure) => panic!("{failure}"),
        }
    }
    assert_eq!(skipped, expected);
}
