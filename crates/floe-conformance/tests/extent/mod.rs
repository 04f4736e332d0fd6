//! Whether an engine runs exactly the cases that it should.

use floe_conformance::{CASES, Target, Verdict, run_case};

/// Every case of the suite became a test.
pub(crate) fn check_tests(tests: &[&str]) {
    let all: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(tests, all);
    assert!(all.len() >= 100, "the suite has only {} cases", all.len());
}

/// Exactly these cases are skipped, for the want of these capabilities.
pub(crate) async fn check_skipped(target: &Target, expected: &[(&str, &str)]) {
    let mut skipped = Vec::new();
    for case in CASES {
        // Whether a case is skipped is decided before it runs: this runs none of them.
        let case = floe_conformance::Case { run: |_| Box::pin(async { Ok(()) }), ..*case };
        match run_case(target, &case).await {
            Verdict::Passed => {}
            Verdict::Skipped(capability) => skipped.push((case.name, capability)),
            Verdict::Failed(failure) => panic!("{failure}"),
        }
    }
    assert_eq!(skipped, expected);
}
