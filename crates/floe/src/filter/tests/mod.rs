//! Tests of the filter language.

mod differential;
mod errors;
mod grammar;
mod operators;

use std::sync::LazyLock;

use super::Filter;
use crate::{
    consumer::{BorrowedHeaders, Headers},
    exchange::RecordFields,
};

/// 2026-01-31T12:00:00Z
const NOW: i64 = 1_769_860_800_000;

static HEADERS: LazyLock<Headers> = LazyLock::new(|| {
    let headers = [("origin", "web"), ("origin", "app"), ("size", "12"), ("odd name", "x")];
    headers.into_iter().map(|(name, value)| (name, value.as_bytes())).collect()
});

const VALUE: &str = r#"{"order": {"total": 12.5, "id": 9007199254740993, "paid": true, "gift": false, "discount": null},
    "items": [{"sku": "c-1", "n": 1}, {"sku": "t-2", "tags": ["new", "caf\u00e9"]}, 7], "odd key": {"x": "a\"b"},
    "empty": {}, "none": [], "text": "coffee"}"#;

/// A record with every part.
fn record(value: &str) -> RecordFields<'_> {
    RecordFields {
        topic: "orders",
        partition: 3,
        offset: 7,
        timestamp: Some(NOW - 1000),
        key: Some(b"ada"),
        value: value.as_bytes(),
        headers: HEADERS.borrowed(),
    }
}

fn filter(text: &str) -> Filter {
    Filter::parse_at(text, NOW).unwrap_or_else(|error| panic!("{}", error.pointed()))
}

#[track_caller]
fn assert_selects(record: &RecordFields<'_>, filters: &[&str]) {
    for text in filters {
        assert!(filter(text).matches(record), "does not select: {text}");
    }
}

#[track_caller]
fn assert_rejects(record: &RecordFields<'_>, filters: &[&str]) {
    for text in filters {
        assert!(!filter(text).matches(record), "selects: {text}");
    }
}

#[test]
fn filters_are_shared_between_threads() {
    fn is_shared<T: Clone + std::fmt::Debug + Send + Sync + 'static>(_: &T) {}
    let filter = filter("key = 'ada'");
    is_shared(&filter);
    assert_eq!(filter.clone().text(), "key = 'ada'");
    assert_eq!(filter.to_string(), "key = 'ada'");
    assert_eq!(format!("{filter:?}"), r#"Filter("key = 'ada'")"#);
}
