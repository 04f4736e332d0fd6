//! Pages in `docs` that list what the code has. `UPDATE_DOCS=1 cargo test -p floe --test documents` writes them anew.

use std::path::PathBuf;

use floe::{Effect, ErrorKind, config::reference};

/// Everything from this line on is made from the code.
const GENERATED: &str = "<!-- From here on made from the code: see crates/floe/tests/documents.rs -->\n";

fn check(page: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (written, generated) =
        text.split_once(GENERATED).expect("the page has a part that is made from the code");
    let expected = format!("\n{expected}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{written}{GENERATED}{expected}")).unwrap();
        return;
    }
    assert_eq!(generated, expected, "docs/{page} does not say what the code has");
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

/// What the page of errors promises about messages.
#[test]
fn an_error_is_one_line_for_logs_and_several_for_people() {
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
