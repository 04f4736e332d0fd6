//! One case, and the list of all of them.

use futures_util::future::LocalBoxFuture;

use crate::{Context, Outcome, needs::Offer};

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// The theme, which is also the file it is in.
    pub theme: &'static str,
    /// What the engine is expected to do.
    pub name: &'static str,
    /// The first capability that the case needs and the target does not have.
    pub missing: fn(&Offer) -> Option<&'static str>,
    /// Runs it.
    pub run: for<'a> fn(&'a Context) -> LocalBoxFuture<'a, Outcome>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

/// Turns the list of cases into a constant.
macro_rules! constant {
    ([] $($theme:ident { $($name:ident: $($need:ident)*;)* })*) => {
        /// Every case, in the order in which they run.
        pub const CASES: &[Case] = &[$($(
            Case {
                theme: stringify!($theme),
                name: stringify!($name),
                missing: |offer| {
                    let needs: &[(&'static str, fn(&Offer) -> bool)] =
                        &[$((stringify!($need), crate::needs::$need)),*];
                    needs.iter().find(|(_, met)| !met(offer)).map(|(name, _)| *name)
                },
                run: |context| Box::pin(crate::cases::$theme::$name(context)),
            },
        )*)*];
    };
}

crate::with_every_case!([constant] []);

/// Turns the list of cases into tests; see [`crate::conformance_tests`].
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$engine:ident $target:expr] $($theme:ident { $($name:ident: $($need:ident)*;)* })*) => {
        mod $engine {
            use super::*;

            /// The tests that exist here, to be compared with the suite.
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

/// Makes one test for each case: `conformance_tests!(memory, Target::url("memory:"))` expands to
/// `memory::append_assigns_dense_offsets` and so on. They need tokio with `rt-multi-thread` and `macros`.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:ident, $target:expr) => {
        $crate::with_every_case!([$crate::__tests] [$engine $target]);
    };
}
