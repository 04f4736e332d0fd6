//! Paths against a naive evaluation of the document that `serde_json` parses.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RecordFields, filter, record};

const KEYS: [&str; 9] = ["a", "b", "c", "ab", "d e", "q\"k", "s/l", "é", "n\\"];
const TEXTS: [&str; 8] =
    ["", "x", "xy", "a\"b", "caf\u{e9}", "tab\t", "5", "back\\slash and a text of forty bytes or so"];

#[derive(Debug, Clone)]
enum NaiveStep {
    Key(&'static str),
    Index(usize),
    Each,
}

fn follow<'v>(value: &'v Value, steps: &[NaiveStep], found: &mut Vec<&'v Value>) {
    let Some((step, rest)) = steps.split_first() else { return found.push(value) };
    let next: Vec<&Value> = match step {
        NaiveStep::Key(key) => value.as_object().and_then(|object| object.get(*key)).into_iter().collect(),
        NaiveStep::Index(index) => value.as_array().and_then(|array| array.get(*index)).into_iter().collect(),
        NaiveStep::Each => value.as_array().into_iter().flatten().collect(),
    };
    next.into_iter().for_each(|value| follow(value, rest, found));
}

fn naive_order(value: &Value, literal: &Value) -> Option<Ordering> {
    let integer = |n: &Value| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (value, literal) {
        (Value::Number(_), Value::Number(_)) => match (integer(value), integer(literal)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => value.as_f64()?.partial_cmp(&literal.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) if a == b => Some(Ordering::Equal),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

fn naive(document: &Value, steps: &[NaiveStep], operator: &str, literal: &Value) -> bool {
    let mut found = Vec::new();
    follow(document, steps, &mut found);
    let any = |test: &dyn Fn(&Value) -> bool| found.iter().any(|value| test(value));
    let order = |test: fn(Ordering) -> bool| any(&|value| naive_order(value, literal).is_some_and(test));
    let equal = || order(Ordering::is_eq) || (literal.is_null() && found.is_empty());
    let contains =
        || any(&|value| value.as_str().is_some_and(|text| text.contains(literal.as_str().unwrap())));
    match operator {
        "" => any(&|value| !matches!(value, Value::Null | Value::Bool(false))),
        "=" => equal(),
        "!=" => !equal(),
        "~" => contains(),
        "!~" => !contains(),
        "<" => order(Ordering::is_lt),
        "<=" => order(Ordering::is_le),
        ">" => order(Ordering::is_gt),
        _ => order(Ordering::is_ge),
    }
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..4).prop_map(Value::from),
        prop::sample::select(vec![
            json!(0.5),
            json!(1.0),
            json!(-1.5),
            json!(1e20),
            json!(2.5e-3),
            json!(u64::MAX),
            json!(u64::MAX - 1),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992_i64),
        ]),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 60, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

fn steps() -> impl Strategy<Value = Vec<NaiveStep>> {
    let step = prop_oneof![
        4 => prop::sample::select(&KEYS[..]).prop_map(NaiveStep::Key),
        1 => (0_usize..3).prop_map(NaiveStep::Index),
        3 => Just(NaiveStep::Each),
    ];
    prop::collection::vec(step, 1..5)
}

/// A path that leads somewhere: at each value, a choice picks the step, and the literal is often what is found there.
fn steps_into(document: &Value, choices: &[(prop::sample::Index, bool)]) -> (Vec<NaiveStep>, Value) {
    let mut steps = Vec::new();
    let mut value = document;
    for (choice, each) in choices {
        match value {
            Value::Array(elements) if !elements.is_empty() => {
                let index = choice.index(elements.len());
                steps.push(if *each { NaiveStep::Each } else { NaiveStep::Index(index) });
                value = &elements[index];
            }
            Value::Object(object) if !object.is_empty() => {
                let (key, next) = object.iter().nth(choice.index(object.len())).unwrap();
                steps.push(NaiveStep::Key(KEYS.iter().find(|known| *known == key).unwrap()));
                value = next;
            }
            _ => break,
        }
    }
    (steps, value.clone())
}

/// A document, a path that leads to something or not, an operator and a literal.
fn cases() -> impl Strategy<Value = (Value, Vec<NaiveStep>, &'static str, Value)> {
    let choices = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6);
    (document(), steps(), choices, comparison(), 0_u8..4).prop_map(
        |(document, steps, choices, test, kind)| {
            let (operator, literal) = test;
            let (into, found) = steps_into(&document, &choices);
            let alike = literal.is_string() == found.is_string() && literal.is_number() == found.is_number();
            match kind {
                0 => (document, steps, operator, literal),
                _ if into.is_empty() => (document, steps, operator, literal),
                1 if alike && !found.is_array() && !found.is_object() => (document, into, operator, found),
                _ => (document, into, operator, literal),
            }
        },
    )
}

/// An operator and a literal that fit each other.
fn comparison() -> impl Strategy<Value = (&'static str, Value)> {
    let text = || prop::sample::select(&TEXTS[..]).prop_map(Value::from);
    prop_oneof![
        Just(("", Value::Null)),
        (prop::sample::select(vec!["=", "!="]), scalar()),
        (prop::sample::select(vec!["<", "<=", ">", ">="]), prop_oneof![number(), text()]),
        (prop::sample::select(vec!["~", "!~"]), text()),
    ]
}

fn expression(steps: &[NaiveStep], operator: &str, literal: &Value) -> String {
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        text += &match step {
            NaiveStep::Key(key) => format!(".{}", json!(key)),
            NaiveStep::Index(index) => format!("{}[{index}]", if at == 0 { "." } else { "" }),
            NaiveStep::Each => format!("{}[]", if at == 0 { "." } else { "" }),
        };
    }
    if operator.is_empty() { text } else { format!("{text} {operator} {literal}") }
}

/// Writes every character of texts and keys as an escape.
fn escaped(json: &str) -> String {
    let mut written = String::new();
    let mut in_text = false;
    let mut chars = json.chars();
    while let Some(character) = chars.next() {
        match character {
            '"' => {
                in_text = !in_text;
                written.push('"');
            }
            '\\' => {
                written.push('\\');
                written.extend(chars.next());
            }
            _ if in_text => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                written += &format!("\\u{unit:04x}");
            }),
            _ => written.push(character),
        }
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn paths_give_what_a_parsed_document_gives(
        (document, steps, operator, literal) in cases(), cut in any::<prop::sample::Index>(),
    ) {
        let expected = naive(&document, &steps, operator, &literal);
        let text = expression(&steps, operator, &literal);
        let filter = filter(&text);
        let compact = document.to_string();
        let pretty = format!(" {}\n", serde_json::to_string_pretty(&document).unwrap());
        let escaped = escaped(&compact);
        prop_assert_eq!(&serde_json::from_str::<Value>(&escaped).unwrap(), &document);
        for json in [&compact, &pretty, &escaped] {
            prop_assert_eq!(filter.matches(&record(json)), expected, "{} of {}", text, json);
        }
        // A document that breaks off has the fields before its end, or none.
        let part = &compact.as_bytes()[..cut.index(compact.len())];
        let missing = naive(&Value::Null, &steps, operator, &literal);
        let found = filter.matches(&RecordFields { value: part, ..record("") });
        let has_each = steps.iter().any(|step| matches!(step, NaiveStep::Each));
        prop_assert!(found == expected || found == missing || has_each, "{text} of {part:?}");
    }

    #[test]
    fn no_value_panics(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(prop::sample::select(&b"{}[]\"\\:,a0-.eunltrfs \n"[..]), 0..60),
        ],
        steps in steps(),
        (operator, literal) in comparison(),
    ) {
        let filter = filter(&expression(&steps, operator, &literal));
        let _ = filter.matches(&RecordFields { value: &value, key: Some(&value), ..record("") });
    }
}
