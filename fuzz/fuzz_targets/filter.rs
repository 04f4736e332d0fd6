//! Parses arbitrary text as a filter and tests a record with it. The input is the filter, a zero, and the value of the
//! record; the value is also its key and a header. A filter and its negation never both select.

#![no_main]

use floe::{consumer::Headers, exchange::RecordFields, filter::Filter};
use libfuzzer_sys::fuzz_target;

/// The time of parsing, so that each run of an input is the same.
const NOW: i64 = 1_769_860_800_000;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (text, value) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let Ok(text) = str::from_utf8(text) else { return };
    let filter = match Filter::parse_at(text, NOW) {
        Ok(filter) => filter,
        Err(error) => {
            // The message points into the text.
            let _ = (error.to_string(), error.pointed());
            return;
        }
    };
    let headers: Headers = [("origin", value), ("odd name", b"1")].into_iter().collect();
    let mut record = RecordFields::new("orders", 3, 7, value);
    (record.key, record.timestamp, record.headers) = (Some(value), Some(NOW), headers.borrowed());
    let selects = filter.matches(&record);
    assert_eq!(selects, filter.matches(&record));
    if let Ok(negation) = Filter::parse_at(&format!("not ({text})"), NOW) {
        assert_ne!(selects, negation.matches(&record), "{text:?} and its negation agree");
    }
    let _ = filter.matches(&RecordFields::new("", 0, 0, value));
});
