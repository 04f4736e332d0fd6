//! Generated tables in `docs`. `UPDATE_DOCS=1 cargo test -p floe --test documents` updates them.

use std::path::PathBuf;

use floe::{Effect, ErrorKind, config::reference};

/// The generated part of a page begins after this line.
const GENERATED: &str = "<!-- From here on made from the code: see crates/floe/tests/documents.rs -->\n";

fn check(page: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (written, generated) = text.split_once(GENERATED).expect("the page has a generated part");
    let expected = format!("\n{expected}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{written}{GENERATED}{expected}")).unwrap();
        return;
    }
    assert_eq!(generated, expected, "docs/{page} is out of date: run with UPDATE_DOCS=1");
}

#[test]
fn every_setting_is_described() {
    check("configuration.md", &reference());
}

#[test]
fn every_kind_of_error_is_described() {
    let mut table =
        "| code | kind | retriable | effect | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for kind in ErrorKind::ALL {
        let retriable = if kind.is_retriable() { "yes" } else { "no" };
        let effect = match kind.default_effect() {
            Effect::None => "none",
            Effect::Unknown => "unknown",
        };
        table.push_str(&format!(
            "| `{}` | `{kind:?}` | {retriable} | {effect} | {} |\n",
            kind.as_str(),
            kind.meaning()
        ));
    }
    check("errors.md", &table);
}

/// Checks the message format that docs/errors.md documents.
#[test]
fn error_display_is_one_line_and_debug_several() {
    let cause = std::io::Error::other("socket closed");
    for kind in ErrorKind::ALL {
        let error = floe::Error::new(*kind, "what happened")
            .with_engine("fluvio")
            .with_operation("append")
            .with_topic(&floe::Topic::from("orders"))
            .with_partition(2)
            .with_endpoint("host:9010")
            .with_source(std::io::Error::other("socket closed"));
        let expected =
            format!("append of orders/2 on fluvio at host:9010: what happened ({})", kind.as_str());
        assert_eq!(error.to_string(), expected);
        let debug = format!("{error:?}");
        assert!(debug.starts_with(&format!("{expected}\n  retriable: ")), "{debug}");
        assert!(debug.ends_with(&format!("\n  caused by: {cause}")), "{debug}");
    }
}
