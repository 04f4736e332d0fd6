//! Check of the code's own assumptions.

use std::panic::Location;

/// Checks a condition that must hold whatever the input: a violation is a defect of this crate. Logs an error, and
/// panics in debug builds.
macro_rules! invariant {
    ($condition:expr, $rule:literal) => {
        if !$condition {
            $crate::invariant::violated($rule);
        }
    };
}
pub(crate) use invariant;

#[cold]
#[track_caller]
pub(crate) fn violated(rule: &str) {
    tracing::error!(location = %Location::caller(), rule, "invariant violated");
    if cfg!(debug_assertions) {
        panic!("invariant violated: {rule}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_condition_that_holds_passes() {
        invariant!(1 + 1 == 2, "arithmetic works");
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic = "invariant violated: arithmetic works")]
    fn a_violation_panics_in_debug_builds_only() {
        invariant!(1 + 1 == 3, "arithmetic works");
    }
}
