//! Tests of records.

use std::cmp::Ordering;

use super::{json_test::JsonPathTest, lexer::FilterOperator, number::FilterNumber, text_test::TextTest};
use crate::exchange::RecordFields;

impl FilterOperator {
    /// Tells whether a field that is so ordered before its literal passes.
    pub(super) const fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Contains | Self::NotContains => false,
        }
    }
}

/// A part of the record that is text.
#[derive(Debug, Clone, Copy)]
pub(super) enum FilterPart {
    Key,
    Value,
    Topic,
}

/// A part of the record that is an integer and always exists.
#[derive(Debug, Clone, Copy)]
pub(super) enum FilterInteger {
    Partition,
    Offset,
}

/// The tree that is evaluated for each record.
#[derive(Debug)]
pub(super) enum FilterTest {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Always,
    Text(FilterPart, TextTest),
    Header(String, TextTest),
    Integer(FilterInteger, FilterOperator, FilterNumber),
    TimePresent,
    /// Unix milliseconds.
    Time(FilterOperator, i64),
    Json(Box<JsonPathTest>),
}

impl FilterTest {
    /// Tells whether the record passes. The recursion is as deep as the tree, which the parser limits.
    pub(super) fn holds(&self, record: &RecordFields<'_>) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(record)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(record)),
            Self::Not(test) => !test.holds(record),
            Self::Always => true,
            Self::Text(part, test) => test.holds_for(part.of(record)),
            Self::Header(name, TextTest::Missing) => !record.headers.iter().any(|(own, _)| own == name),
            Self::Header(name, test) => {
                record.headers.iter().any(|(own, text)| own == name && test.holds(text))
            }
            Self::Integer(field, operator, bound) => {
                field.of(record).compare(*bound).is_some_and(|order| operator.admits(order))
            }
            Self::TimePresent => record.timestamp.is_some(),
            Self::Time(operator, bound) => {
                record.timestamp.is_some_and(|time| operator.admits(time.cmp(bound)))
            }
            Self::Json(test) => test.holds(record.value),
        }
    }

    /// Orders tests by the time they take.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Self::All(tests) | Self::Any(tests) => tests.iter().map(Self::cost).max().unwrap_or(0),
            Self::Not(test) => test.cost(),
            Self::Always | Self::Integer(..) | Self::TimePresent | Self::Time(..) => 0,
            Self::Text(FilterPart::Key | FilterPart::Topic, _) => 1,
            Self::Header(..) => 2,
            Self::Text(FilterPart::Value, _) => 3,
            Self::Json(_) => 4,
        }
    }
}

impl FilterPart {
    fn of<'r>(self, record: &RecordFields<'r>) -> Option<&'r [u8]> {
        match self {
            Self::Key => record.key,
            Self::Value => Some(record.value),
            Self::Topic => Some(record.topic.as_bytes()),
        }
    }
}

impl FilterInteger {
    fn of(self, record: &RecordFields<'_>) -> FilterNumber {
        FilterNumber::Integer(match self {
            Self::Partition => i128::from(record.partition),
            Self::Offset => i128::from(record.offset),
        })
    }
}
