//! Assumptions of the code about itself.

/// Checks an assumption of the code about itself, never about input.
///
/// A violated invariant panics in debug builds and in the simulation, so that tests find it; a release build logs an
/// error and goes on, so that one wrong assumption does not take a service down. The value is whether the condition
/// held.
///
/// ```
/// # fn take(batches: &mut Vec<u32>) -> Option<u32> {
/// let batch = batches.pop();
/// if !floe_core::invariant!(batch.is_some(), "a full queue holds a batch") {
///     return None;
/// }
/// # batch }
/// # assert_eq!(take(&mut vec![1]), Some(1));
/// ```
#[macro_export]
macro_rules! invariant {
    ($condition:expr, $($what:tt)+) => {{
        let holds = $condition;
        if !holds {
            debug_assert!(holds, $($what)+);
            $crate::__violated(format_args!($($what)+));
        }
        holds
    }};
}

/// Logs a violated invariant. Apart from the check, so that a check costs the hot paths one comparison.
#[doc(hidden)]
#[cold]
#[inline(never)]
#[track_caller]
pub fn violated(what: std::fmt::Arguments<'_>) {
    let location = std::panic::Location::caller();
    tracing::error!(invariant = %what, %location, "an invariant of the code is violated");
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_condition_that_holds_is_its_value() {
        assert!(crate::invariant!(1 + 1 == 2, "arithmetic"));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "queue of 3")]
    fn a_violated_invariant_panics_in_debug_builds() {
        crate::invariant!(false, "queue of {}", 3);
    }
}
