//! Errors of filter expressions.

use std::fmt;

/// Characters of an expression that a message repeats at most.
const SHOWN_CHARS: usize = 40;

/// An expression that is not a filter: what was expected, and where.
///
/// ```
/// use floe::filter::Filter;
///
/// let error = Filter::parse("kee = \"ada\"").unwrap_err();
/// assert_eq!(error.position(), 0);
/// assert!(error.to_string().starts_with("unknown field `kee`: use key, value"));
///
/// let error = Filter::parse("key = ").unwrap_err();
/// assert_eq!(error.pointed(), "expected a value after `=`\nkey = \n      ^");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    message: String,
    text: String,
    position: usize,
}

impl FilterError {
    /// The fault with the expression that has it, of which an overlong rest is dropped.
    pub(super) fn new(fault: FilterFault, text: &str, longest: usize) -> Self {
        let text = text.get(..boundary(text, longest)).unwrap_or_default();
        let position = boundary(text, fault.position);
        Self { message: fault.message, text: text.to_owned(), position }
    }

    /// Returns the place of the error, as the byte offset in the expression.
    ///
    /// The offset is the expression's length if the expression ends too early.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Returns three lines: the message, the expression, and a `^` below the place of the error.
    ///
    /// Control characters of the expression are escaped, so the text is safe to print on a terminal.
    #[must_use]
    pub fn pointed(&self) -> String {
        let (before, after) = self.text.split_at_checked(self.position).unwrap_or((&self.text, ""));
        let before = escaped(before);
        let indent = before.chars().count();
        format!("{}\n{before}{}\n{:indent$}^", self.message, escaped(after), "")
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FilterError {}

/// The last boundary of a character up to `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A message and its place; the expression is added at the end.
#[derive(Debug)]
pub(super) struct FilterFault {
    pub(super) position: usize,
    pub(super) message: String,
}

impl FilterFault {
    pub(super) fn new(position: usize, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

/// The text in backquotes, shortened and escaped, for messages.
pub(super) fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
    let dots = if chars.next().is_some() { "…" } else { "" };
    format!("`{}{dots}`", escaped(&shown))
}

fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Tells whether a terminal obeys the character, or shows text after it in another order.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}
