//! Each operator on each kind of field.

use super::{BorrowedHeaders, NOW, RecordFields, VALUE, assert_rejects, assert_selects, record};

fn bare() -> RecordFields<'static> {
    RecordFields {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp: None,
        key: None,
        value: b"",
        headers: BorrowedHeaders::default(),
    }
}

fn keyed(key: &str) -> RecordFields<'_> {
    RecordFields { key: Some(key.as_bytes()), ..bare() }
}

#[test]
fn keys() {
    let ada = keyed("ada");
    assert_selects(
        &ada,
        &["key", "key = 'ada'", "key == 'ada'", "key != 'bob'", "key ~ 'd'", "key !~ 'x'", "key != null"],
    );
    assert_selects(
        &ada,
        &["key < 'adb'", "key <= 'ada'", "key > 'a'", "key >= 'ada'", "key < 'b'", "key != 5"],
    );
    assert_rejects(
        &ada,
        &["key = 'ad'", "key != 'ada'", "key ~ 'x'", "key !~ 'ad'", "key = null", "key < 5", "key > 5"],
    );
    assert_rejects(&ada, &["key < 'ada'", "key > 'ada'", "not key", "key = 'ADA'"]);
    assert_selects(&keyed(""), &["key", "key = ''", "key != null", "key ~ ''"]);
    assert_selects(&bare(), &["not key", "key = null", "key != 'ada'", "key !~ 'a'", "key != ''"]);
    assert_rejects(
        &bare(),
        &["key", "key = ''", "key != null", "key ~ ''", "key < 'x'", "key >= ''", "key < 5"],
    );
}

#[test]
fn unquoted_numbers_compare_text_or_numbers() {
    let key = keyed("42");
    assert_selects(
        &key,
        &["key = 42", "key ~ 4", "key > 5", "key >= 42.0", "key < 1e2", "key < '5'", "key != 42.0"],
    );
    assert_rejects(&key, &["key = 42.0", "key = 4", "key !~ 2", "key < 5", "key > 42"]);
    assert_selects(&keyed("true"), &["key = true", "key ~ true", "key != false"]);
    assert_selects(&keyed("-1.5"), &["key < -1", "key = -1.5", "key > -2"]);
    assert_rejects(&keyed(" 42"), &["key = 42", "key > 1"]);
}

#[test]
fn values_as_text() {
    let coffee = RecordFields { value: b"one coffee", ..bare() };
    assert_selects(
        &coffee,
        &["value", "'coffee'", "value ~ 'one'", "value = 'one coffee'", "value !~ 'tea'"],
    );
    assert_selects(&coffee, &["value > 'one'", "value != 'x'", "value != null", "not 'tea'"]);
    assert_rejects(&coffee, &["'tea'", "value = 'one'", "value < 'a'", "value = null"]);
    assert_selects(
        &bare(),
        &["not value", "value = null", "value = ''", "''", "value != 'x'", "value < 'x'"],
    );
    assert_rejects(&bare(), &["value", "value != null", "value != ''", "'x'", "value > 1"]);
    assert_selects(&RecordFields { value: b"17", ..bare() }, &["value > 5", "value = 17"]);
    assert_selects(&RecordFields { value: b"\xff coffee \xfe", ..bare() }, &["'coffee'", "value > 'z'"]);
}

#[test]
fn topics_partitions_and_offsets() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &["topic", "topic = 'orders'", "topic ~ 'ord'", "topic != 'x'", "topic < 'p'", "topic !~ 'x'"],
    );
    assert_rejects(&record, &["topic = 'order'", "topic = null", "not topic"]);
    assert_selects(
        &record,
        &["partition", "partition = 3", "partition != 2", "partition < 4", "partition >= 3.0"],
    );
    assert_rejects(
        &record,
        &["partition = 2", "partition > 3", "partition != 3", "not partition", "partition = -3"],
    );
    assert_selects(
        &record,
        &["offset", "offset = 7", "offset < 7.5", "offset <= 7", "offset > -1", "offset != 1e30"],
    );
    assert_rejects(&record, &["offset = 8", "offset > 7", "offset < 7", "offset != 7"]);
    let last = RecordFields { offset: i64::MAX, ..bare() };
    assert_selects(&last, &["offset = 9223372036854775807", "offset > 9223372036854775806"]);
}

#[test]
fn headers() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &[
            "header.origin",
            "header.origin = 'web'",
            "header.origin = 'app'",
            "header.origin ~ 'we'",
            "header.size = 12",
        ],
    );
    assert_selects(
        &record,
        &["header.size > 5", "header.size < '5'", "header.origin != 'x'", "header.origin !~ 'x'"],
    );
    assert_selects(
        &record,
        &["not header.none", "header.none = null", "header.none != 'x'", "header.none !~ 'x'"],
    );
    assert_rejects(
        &record,
        &["header.none", "header.none = 'x'", "header.none != null", "header.none < 'x'"],
    );
    assert_rejects(&record, &["header.origin != 'app'", "header.origin !~ 'we'", "header.origin = null"]);
    assert_rejects(&record, &["header.Origin", "header.origin > 1"]);
}

#[test]
fn times() {
    let record = record(VALUE);
    assert_eq!(record.timestamp, Some(NOW - 1000));
    assert_selects(
        &record,
        &[
            "@",
            "@ > -1h",
            "@ >= -1s",
            "@ < -999ms",
            "@ = -1s",
            "@ != -2s",
            "@ > 2026-01-31",
            "@ > '2026-01-31'",
        ],
    );
    assert_selects(
        &record,
        &["@ < 2026-01-31T12:00:00Z", "@ = 1769860799", "@ = 1769860799000", "@ > -1h30m"],
    );
    assert_rejects(&record, &["@ < -1h", "@ = null", "@ > 2026-01-31T12:00:00+00:00", "@ != -1s"]);
    assert_selects(&bare(), &["not @", "@ = null", "@ != -1h"]);
    assert_rejects(&bare(), &["@", "@ < -1h", "@ > -1h", "@ != null"]);
}

#[test]
fn paths() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &[
            ".order",
            ".order.paid",
            ".order.total",
            ".empty",
            ".none",
            ".items[1].tags[0]",
            ".items[]",
            ".items[2]",
        ],
    );
    assert_rejects(
        &record,
        &[".order.gift", ".order.discount", ".order.x", ".x", ".items[3]", ".none[]", ".order[0]"],
    );
    assert_selects(
        &record,
        &[".order.total = 12.5", ".order.total = 1.25e1", ".order.total > 12", ".order.total <= 13"],
    );
    assert_selects(
        &record,
        &[".order.total != '12.5'", ".order.total != 12", ".order.total !~ '2'", ".text < 'd'"],
    );
    assert_selects(
        &record,
        &[".order.id = 9007199254740993", ".order.id > 9007199254740992", ".text ~ 'off'"],
    );
    assert_rejects(
        &record,
        &[".order.total = '12.5'", ".order.total > 'a'", ".text > 5", ".text = 5", ".text ~ 'x'"],
    );
    assert_selects(
        &record,
        &[".order.paid = true", ".order.paid != false", ".order.gift = false", ".x != true"],
    );
    assert_selects(&record, &[".order.discount = null", ".x = null", ".x.y = null", ".order.gift != null"]);
    assert_rejects(
        &record,
        &[".order.discount != null", ".x != null", ".order.paid = null", ".order = null"],
    );
    assert_selects(
        &record,
        &[".items[].sku = 't-2'", ".items[0].sku = 'c-1'", ".items[].n = 1", ".items[] = 7"],
    );
    assert_selects(
        &record,
        &[".items[].tags[] = 'café'", ".items[1].tags[1] ~ 'fé'", ".items[].tags[] >= 'new'"],
    );
    assert_rejects(
        &record,
        &[".items[1].sku = 'c-1'", ".items[].sku != 'c-1'", ".items[].sku = 'x'", ".items = 7"],
    );
    assert_selects(
        &record,
        &[".items[].x = null", ".none[] = null", ".items[].sku != 'x'", ".items[].sku !~ 'x'"],
    );
}

#[test]
fn arrays_at_the_top() {
    let record = record(r#"[{"a": 1}, {"a": [2, [3, 4]]}, 5]"#);
    assert_selects(
        &record,
        &[".[0].a = 1", ".[].a = 1", ".[2] = 5", ".[].a[1][0] = 3", ".[].a[][] = 4", ".[1].a[0] = 2"],
    );
    assert_rejects(&record, &[".a", ".[3]", ".[].a = 2", ".[][]"]);
}

#[test]
fn values_that_are_not_json_have_no_paths() {
    for value in [
        "",
        "coffee",
        "5",
        "\"a\"",
        "{a: 1}",
        "{\"b\" 1}",
        "[1 2]",
        "{\"b\": x, \"a\": 1}",
        "{\"a\":",
        "{\"a\": 1",
        "{\"a\": 1x}",
    ] {
        let record = record(value);
        assert_rejects(&record, &[".a", ".a = 1", ".a > 0", ".[1] = 2", ".a != null"]);
        assert_selects(&record, &[".a != 1", ".a !~ 'x'", ".a = null", "not .a"]);
    }
}

#[test]
fn only_the_way_to_the_field_must_be_json() {
    assert_selects(&record(r#"{"a": 1, "b": oops"#), &[".a = 1", ".b = null"]);
    assert_rejects(&record(r#"{"b": {"x": 5, "a": 1"#), &[".a", ".b.a"]);
    assert_selects(&record(r#"{"a": 1, "a": 2}"#), &[".a = 1", ".a != 2"]);
    let deep = format!(r#"{{"deep": {}{}, "a": 1}}"#, "[".repeat(500), "]".repeat(500));
    assert_rejects(&record(&deep), &[".a", ".deep[0][0] = 1"]);
    let allowed = format!(r#"{{"deep": {}{}, "a": 1}}"#, "[".repeat(126), "]".repeat(126));
    assert_selects(&record(&allowed), &[".a = 1", ".deep[0][0]"]);
}

#[test]
fn escapes_do_not_hide_keys_and_texts() {
    let record =
        record(r#"{"\u0061b": 1, "c\/d": "e\/f", "g\"h": "\ud83d\ude00", "n\\": "\n", "bad": "\ud83d"}"#);
    assert_selects(
        &record,
        &[".ab = 1", ".'c/d' = 'e/f'", ".'c/d' ~ '/'", ".'g\"h' = '😀'", ".'n\\\\' = '\\n'"],
    );
    assert_selects(&record, &[".bad", ".bad != 'x'", ".'g\"h' ~ '😀'", ".'n\\\\' < 'a'"]);
    assert_rejects(&record, &[".bad = ''", ".bad ~ ''", ".'u0061b'"]);
    // The escaped quote of the first key is not the end of a key that ends with a backslash.
    assert_selects(&super::record(r#"{"n\"": 5, "n\\": 6}"#), &[".'n\\\\' = 6", ".'n\"' = 5"]);
}
