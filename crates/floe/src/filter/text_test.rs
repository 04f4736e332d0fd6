//! Tests of keys, values, topics and headers.

use memchr::memmem::Finder;

use super::{lexer::FilterOperator, number::FilterNumber};

/// A test of a text that may be missing.
#[derive(Debug)]
pub(super) enum TextTest {
    Present,
    Missing,
    Equal(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    /// The order of the bytes.
    Order(FilterOperator, Box<[u8]>),
    /// The order of the number that the text is.
    Number(FilterOperator, FilterNumber),
}

impl TextTest {
    /// Tells whether the test holds for a text that exists.
    pub(super) fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Missing => false,
            Self::Equal(wanted) => *text == **wanted,
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::Order(operator, bound) => operator.admits(text.cmp(bound)),
            Self::Number(operator, bound) => {
                let order = FilterNumber::parse(text).and_then(|number| number.compare(*bound));
                order.is_some_and(|order| operator.admits(order))
            }
        }
    }

    pub(super) fn holds_for(&self, text: Option<&[u8]>) -> bool {
        text.map_or(matches!(self, Self::Missing), |text| self.holds(text))
    }
}
