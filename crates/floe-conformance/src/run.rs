//! Running cases and reporting the results.

use std::{fmt, time::Duration};

use crate::{CASES, Case, CaseFailure, Context, Target, needs::Offer};

/// Time limit of a case. Generous, because cases wait for conditions and not for a fixed time.
const HANG: Duration = Duration::from_secs(60);

/// Result of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The engine showed the expected behaviour.
    Passed,
    /// The target lacks this capability.
    Skipped(&'static str),
    /// The engine violated the contract.
    Failed(CaseFailure),
}

/// Results of all cases on one target.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the target.
    pub target: String,
    /// Names of the passed cases.
    pub passed: Vec<&'static str>,
    /// Names of the skipped cases, each with the missing capability.
    pub skipped: Vec<(&'static str, &'static str)>,
    /// Names of the failed cases, each with the failure.
    pub failed: Vec<(&'static str, CaseFailure)>,
}

impl Report {
    /// Returns whether no case failed and at least one passed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }

    /// Returns the names of the failed cases.
    #[must_use]
    pub fn failures(&self) -> Vec<&'static str> {
        self.failed.iter().map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, passed, skipped, failed } = self;
        writeln!(f, "{target}: {} passed, {} skipped, {} failed", passed.len(), skipped.len(), failed.len())?;
        for (name, capability) in skipped {
            writeln!(f, "  skipped {name}: no {capability}")?;
        }
        for (name, failure) in failed {
            writeln!(f, "  FAILED {name}: {failure}")?;
        }
        Ok(())
    }
}

/// Runs every case on `target`, one after another. An unreachable target fails every case.
pub async fn run_suite(target: &Target) -> Report {
    run_cases(target, CASES).await
}

/// Runs these cases on `target`, one after another.
pub async fn run_cases(target: &Target, cases: &[Case]) -> Report {
    let mut report = Report { target: target.name().to_owned(), ..Report::default() };
    for case in cases {
        match run_case(target, case).await {
            Verdict::Passed => report.passed.push(case.name),
            Verdict::Skipped(capability) => report.skipped.push((case.name, capability)),
            Verdict::Failed(failure) => report.failed.push((case.name, failure)),
        }
    }
    report
}

/// Runs one case with its own client and topics. A case that takes a minute counts as hanging and fails.
pub async fn run_case(target: &Target, case: &Case) -> Verdict {
    let context = match Context::new(target, case.name).await {
        Ok(context) => context,
        Err(error) => return Verdict::Failed(CaseFailure::new(format!("no connection: {error:?}"))),
    };
    if let Some(capability) = (case.missing)(&context.offer()) {
        context.clean_up().await;
        return Verdict::Skipped(capability);
    }
    let outcome = tokio::time::timeout(HANG, (case.run)(&context)).await;
    // The result does not depend on the clean-up, in which a hanging engine may hang as well.
    let _ = tokio::time::timeout(HANG, context.clean_up()).await;
    match outcome {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(failure)) => Verdict::Failed(failure),
        Err(_) => Verdict::Failed(CaseFailure::new(format!("hangs: no result within {HANG:?}"))),
    }
}

/// Returns the names of the cases that run on a target with this offer.
#[must_use]
pub fn applicable(offer: &Offer) -> Vec<&'static str> {
    CASES.iter().filter(|case| (case.missing)(offer).is_none()).map(|case| case.name).collect()
}

/// Returns the case with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// Runs one case for [`crate::conformance_tests`].
///
/// # Panics
/// Panics if the case fails or does not exist.
#[doc(hidden)]
pub async fn run_named(target: &Target, name: &str) {
    let Some(case) = find(name) else { panic!("the suite has no case {name}") };
    match run_case(target, case).await {
        Verdict::Passed => {}
        Verdict::Skipped(capability) => println!("skipped on {}: no {capability}", target.name()),
        Verdict::Failed(failure) => panic!("{name} on {}: {failure}", target.name()),
    }
}

/// Expands the list of cases to tests; see [`crate::conformance_tests`].
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$engine:ident $target:expr] $($theme:ident { $($name:ident: $($need:ident)*;)* })*) => {
        mod $engine {
            use super::*;

            /// Names of the tests, for a comparison with the suite.
            pub(super) const TESTS: &[&str] = &[$($(stringify!($name)),*),*];

            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $crate::run_named(&$target, stringify!($name)).await;
                }
            )*)*
        }
    };
}

/// Expands to one test per case: `conformance_tests!(memory, Target::url("memory:"))` expands to
/// `memory::append_assigns_dense_offsets` and so on. The tests need tokio with `rt-multi-thread` and `macros`.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:ident, $target:expr) => {
        $crate::with_every_case!([$crate::__tests] [$engine $target]);
    };
}
