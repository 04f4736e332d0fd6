//! Syntax: precedence, keywords, names and literals.

use super::{RecordFields, VALUE, assert_rejects, assert_selects, record};

#[test]
fn not_binds_closest_then_and_then_or() {
    let record = record(VALUE);
    // `key` holds and `.absent` does not.
    assert_selects(
        &record,
        &[
            "key or .absent and .absent",
            ".absent and .absent or key",
            "not .absent and key",
            "not .absent or .absent",
            "not (key and .absent)",
            "key and (.absent or key)",
            "not not key",
            "not(.absent)and(key)",
        ],
    );
    assert_rejects(
        &record,
        &[
            "(key or .absent) and .absent",
            "not (.absent or key)",
            "not .absent and .absent",
            "not key or .absent",
        ],
    );
}

#[test]
fn keywords_have_signs_and_any_case() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &[
            "key AND Not .absent",
            "key&&!.absent",
            ".absent||key",
            ".absent OR key",
            "!(!key)",
            "!!key",
            "!.absent",
        ],
    );
    assert_selects(&record, &[".order.paid = TRUE", ".order.gift = False", ".order.discount = NULL"]);
}

#[test]
fn white_space_is_free() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &["key='ada'", "  key  ==\t'ada'\n", "offset<8&&key", "(key)and(value)", "\u{a0}key"],
    );
}

#[test]
fn texts_have_escapes_and_two_kinds_of_quotes() {
    let value = "say \"hi\", it's a\\b\n\u{e9}\u{1f600}";
    let record = RecordFields { key: Some(value.as_bytes()), ..record(value) };
    assert_selects(
        &record,
        &[
            r#""say \"hi\"""#,
            r#"'say "hi"'"#,
            r#""it's""#,
            r"'it\'s'",
            r#""a\\b\n""#,
            r#""\u00e9""#,
            "'é'",
            r#""\ud83d\ude00""#,
            "'😀'",
            "''",
            r#"key = "say \"hi\", it's a\\b\n\u00E9😀""#,
        ],
    );
}

#[test]
fn names_of_headers_and_keys_may_be_quoted() {
    let record = record(VALUE);
    assert_selects(
        &record,
        &[
            "header.\"odd name\" = 'x'",
            "header.'odd name'",
            ".\"odd key\".x = 'a\"b'",
            ".'odd key'.\"x\"",
            ".\"order\".total > 1",
            "header.a.b = null",
            "header.trace-id = null",
            "header.and = null",
            ".and.or.not = null",
            ".$schema = null",
            ".a-b_c = null",
            ".ä = null",
        ],
    );
}

#[test]
fn nesting_is_allowed_up_to_the_limit() {
    let record = record(VALUE);
    let parentheses = format!("{}key{}", "(".repeat(64), ")".repeat(64));
    let negations = format!("{}key", "!".repeat(64));
    assert_selects(&record, &[&parentheses, &negations]);
    let chain = vec!["key"; 500].join(" and ");
    assert_selects(&record, &[&chain]);
}

#[test]
fn the_longest_filter_is_parsed() {
    let text = format!("'{}' or key", "x".repeat(super::super::MAX_FILTER_LEN - 9));
    assert_eq!(text.len(), super::super::MAX_FILTER_LEN);
    assert_selects(&record(VALUE), &[&text]);
}
