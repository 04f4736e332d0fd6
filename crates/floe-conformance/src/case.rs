//! The type of a case, and the list of all cases.

use futures_util::future::LocalBoxFuture;

use crate::{Context, Outcome, needs::Offer};

/// One case of the suite: a behaviour that an engine must show.
#[derive(Clone, Copy)]
pub struct Case {
    /// Theme, which is also the name of the source file.
    pub theme: &'static str,
    /// Name, which states the expected behaviour.
    pub name: &'static str,
    /// Returns the first capability that the case needs and the target lacks.
    pub missing: fn(&Offer) -> Option<&'static str>,
    /// Runs the case.
    pub run: for<'a> fn(&'a Context) -> LocalBoxFuture<'a, Outcome>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

/// Expands the list of cases to a constant.
macro_rules! constant {
    ([] $($theme:ident { $($name:ident: $($need:ident)*;)* })*) => {
        /// All cases, in the order in which they run.
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
