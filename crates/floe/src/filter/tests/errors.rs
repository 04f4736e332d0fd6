//! Errors: message and place.

use proptest::prelude::*;

use super::{Filter, NOW, record};

#[track_caller]
fn assert_fails(text: &str, position: usize, message: &str) {
    let error = Filter::parse_at(text, NOW).expect_err(text);
    let shown = error.to_string();
    assert!(shown.contains(message), "{text}: {shown}");
    assert_eq!(error.position(), position, "{text}: {shown}");
    assert!(!shown.contains('\n') && !shown.starts_with(char::is_uppercase), "{shown}");
    assert_eq!(error.pointed().lines().count(), 3, "{text}");
}

#[test]
fn wrong_syntax_is_pointed_at() {
    assert_fails("", 0, "expected a condition, such as");
    assert_fails("  ", 2, "expected a condition");
    assert_fails("key = 'a' and", 13, "expected a condition");
    assert_fails("not", 3, "expected a condition");
    assert_fails("kee = 'a'", 0, "unknown field `kee`: use key, value, header.NAME, .json.path, @, offset");
    assert_fails("key = 'a' or kee", 13, "unknown field `kee`");
    assert_fails("header = 'a'", 0, "write header.NAME");
    assert_fails("header. = 'a'", 7, "expected the name of a header");
    assert_fails("key =", 5, "expected a value after `=`");
    assert_fails("key = and", 6, "expected a value after `=`, found `and`");
    assert_fails("key == ada", 7, "expected a value after `==`, found `ada`: text stands in quotes");
    assert_fails("key 'a'", 4, "expected an operator, such as `=`, before `'a'`");
    assert_fails(".a 5", 3, "expected an operator");
    assert_fails("key = 'a' value", 10, "expected `and`, `or` or the end, found `value`");
    assert_fails("key)", 3, "no `(` is open");
    assert_fails("= 5", 0, "expected a field");
    assert_fails("5 = key", 0, "expected a field");
    assert_fails("()", 1, "expected a field");
    assert_fails("key and (value or topic", 8, "unclosed `(`");
    assert_fails("(key value)", 5, "expected `and`, `or` or `)`");
    assert_fails("key = 'ada", 6, "unclosed text");
    assert_fails("key = \"ada\\\"", 6, "unclosed text");
    assert_fails(r"key = 'a\x'", 8, "unknown escape");
    assert_fails(r#"key = "\'""#, 7, "unknown escape");
    assert_fails(r#"key = "a\ud83d!""#, 8, "unknown escape");
    assert_fails("key # 5", 4, "unexpected `#`");
    assert_fails("key & value", 4, "write `&&`");
    assert_fails("key | value", 4, "write `||`");
    assert_fails("key = “ada”", 6, "text stands in");
    assert_fails("[0] = 5", 0, "begins with a point");
}

#[test]
fn wrong_paths_are_pointed_at() {
    assert_fails(".", 1, "expected a key after `.`");
    assert_fails(".a..b", 3, "expected a key");
    assert_fails(".a.", 3, "expected a key");
    assert_fails(".a[", 3, "expected an index");
    assert_fails(".a[x]", 3, "expected an index");
    assert_fails(".a[-1]", 3, "expected an index");
    assert_fails(".a[99999999999]", 3, "expected an index up to");
    assert_fails(&".a".repeat(65), 0, "at most 64 steps");
}

#[test]
fn wrong_literals_are_pointed_at() {
    assert_fails("offset = 1x", 9, "expected a number, found `1x`");
    assert_fails(".a > 1.", 5, "expected a number, found `1.`");
    assert_fails("key = 007", 6, "expected a number, found `007`: text stands in quotes");
    assert_fails("key = 2026-01-31", 6, "text stands in quotes");
    assert_fails("key = -", 6, "after `-`");
    assert_fails("offset = 'a'", 9, "expected a number after `=`");
    assert_fails("partition = null", 12, "expected a number after `=`");
    assert_fails("offset ~ 5", 7, "`~` searches text, and offset is a number: use =");
    assert_fails("@ !~ 5", 2, "`!~` searches text, and @ is a time");
    assert_fails("@ > true", 4, "expected a time");
    assert_fails("@ > 1h", 4, "expected a time: -1h");
    assert_fails("@ > -1y", 4, "the units are");
    assert_fails("@ > 2026-01-31T12:00:00", 4, "with a zone");
    assert_fails("@ < null", 4, "expected a time");
    assert_fails("key < true", 6, "expected a number or text after `<`");
    assert_fails("key ~ null", 6, "expected text after `~`");
    assert_fails(".a ~ 5", 5, "expected text in quotes after `~`");
    assert_fails(".a >= null", 6, "expected a number or text after `>=`");
}

#[test]
fn limits_are_errors() {
    assert_fails(&"(".repeat(65), 64, "too deep");
    assert_fails(&format!("{}key", "!".repeat(65)), 64, "too deep");
    assert_fails(&format!("{}key", "not (".repeat(40)), 160, "too deep");
    assert_fails(&"!".repeat(4096), 64, "too deep");
    assert_fails(&"é".repeat(3000), 4096, "too long: expected at most 4096 bytes, found 6000");
}

#[test]
fn errors_are_safe_to_print() {
    let error = Filter::parse_at("key = \"\n\x1b\" é ? 'x'", NOW).unwrap_err();
    let (message, shown) = (error.to_string(), r#"key = "\n\u{1b}" é ? 'x'"#);
    assert_eq!(error.pointed(), format!("{message}\n{shown}\n{:19}^", ""));
    let error = Filter::parse_at("key '\x1b[2J\u{202e}'", NOW).unwrap_err();
    assert!(!error.to_string().contains(['\x1b', '\u{202e}']), "{error}");
    let long = format!("key '{}'", "x".repeat(500));
    assert!(Filter::parse_at(&long, NOW).unwrap_err().to_string().len() < 120);
}

/// Pieces of expressions, so that random text gets past the lexer.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "key",
        "value",
        "@",
        "offset",
        "header.",
        "header.a",
        ".a",
        ".a[]",
        "[0]",
        "=",
        "!=",
        "<",
        ">=",
        "~",
        "!~",
        "!",
        "(",
        ")",
        " ",
        "and",
        "or",
        "not",
        "&&",
        "||",
        "'x'",
        "\"",
        "'",
        "\\",
        "5",
        "-",
        "-1h",
        "null",
        "true",
        "1e9",
        "2026-01-31",
        "\\u12",
        "é",
        ".",
        "'a\\n'",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_text_panics(text in prop_oneof![".{0,80}", pieces()]) {
        match Filter::parse_at(&text, NOW) {
            Ok(filter) => drop(filter.matches(&record(super::VALUE))),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.position()));
                prop_assert_eq!(error.pointed().lines().count(), 3);
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
