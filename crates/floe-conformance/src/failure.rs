//! Failures of cases, and the macros that report them.

use std::fmt;

/// Result of a case.
pub type Outcome = Result<(), CaseFailure>;

/// CaseFailure of a case: the expected and the actual behaviour, and the location in the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFailure {
    message: String,
}

impl CaseFailure {
    /// Creates a failure with this message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CaseFailure {}

impl From<floe::Error> for CaseFailure {
    fn from(error: floe::Error) -> Self {
        Self::new(format!("unexpected error: {error:?}"))
    }
}

impl From<floe::engine::WireError> for CaseFailure {
    fn from(error: floe::engine::WireError) -> Self {
        Self::new(format!("invalid batch: {error}"))
    }
}

/// Fails the case with the message unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            let message = format!($($message)+);
            return Err($crate::CaseFailure::new(format!("{}:{}: {message}", file!(), line!())));
        }
    };
}

/// Fails the case unless both values are equal; the first one is the actual value.
macro_rules! check_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {{
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            let message = format!($($message)+);
            let found = $crate::failure::shortened(found);
            let expected = $crate::failure::shortened(expected);
            return Err($crate::CaseFailure::new(format!(
                "{}:{}: {message}\n    actual {found}\n  expected {expected}",
                file!(),
                line!(),
            )));
        }
    }};
}

/// Fails the case unless the result is an error of one of these kinds.
macro_rules! check_refused {
    ($result:expr, $($kind:ident)|+, $($message:tt)+) => {
        match $result {
            Err(error) => check!(
                matches!(error.kind(), $(floe::ErrorKind::$kind)|+),
                "{}: unexpected kind of error: {error}",
                format_args!($($message)+)
            ),
            Ok(_) => check!(false, "{}: accepted, although it must be refused", format_args!($($message)+)),
        }
    };
}

pub(crate) use {check, check_eq, check_refused};

/// Formats a value for a failure. Payloads may be megabytes, so long values are cut.
pub(crate) fn shortened(value: &(impl fmt::Debug + ?Sized)) -> String {
    const SHOWN: usize = 600;
    let mut text = format!("{value:?}");
    if let Some((cut, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(cut);
        text.push('…');
    }
    text
}
