//! Records that a command selects.

use clap::Args;
use floe::filter::Filter;

use crate::exit::{Failure, Outcome};

/// The language of --where, at the end of the help of each command that has it.
pub(crate) const FILTER_HELP: &str = r#"Expressions of --where:
  key = "ada"                  the key is this text; also !=
  value ~ "coffee"             the value contains this text; also !~
  .order.total > 10            the value is JSON with such a number; also >=, < and <=
  .items[].sku = "c-1"         one of the elements has this field
  header.origin = "web"        a header has this value
  @ > -1h, @ < 2026-01-01      by time
  partition = 3, offset < 100  by place
  key                          there is a key; the same with a path or a header
  A and B, A or B, not A, (A)  several of them"#;

/// Parses the expression of --where.
///
/// # Errors
/// Fails for an expression that does not parse, and points at the place.
pub(crate) fn parse_filter(text: &str) -> Outcome<Filter> {
    Filter::parse(text).map_err(|error| {
        let place = format!("at byte {} of --where: {error}", error.position());
        Failure::usage(place).with_hint(error.pointed().replace('\n', " | "))
    })
}

/// Options that select records.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Print only the records that this expression selects, such as 'key = "ada" and .order.total > 10'
    #[arg(long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Print only the records whose value contains this text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    grep: Option<String>,
}

impl SelectionArgs {
    /// Returns the filter of the options.
    ///
    /// # Errors
    /// As [`parse_filter`].
    pub(crate) fn filter(&self) -> Outcome<Option<Filter>> {
        // Each is parsed alone, so that the place of a mistake is that in the option.
        let expression = self.expression.as_deref().map(parse_filter).transpose()?;
        let Some(text) = &self.grep else { return Ok(expression) };
        let text = format!("value ~ {}", serde_json::Value::from(text.as_str()));
        match expression {
            None => Ok(Some(parse_filter(&text)?)),
            Some(filter) => Ok(Some(parse_filter(&format!("({}) and {text}", filter.text()))?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use floe::exchange::RecordFields;

    use super::*;

    #[test]
    fn both_options_must_hold() {
        let filter = |expression: Option<&str>, grep: Option<&str>| {
            let [expression, grep] = [expression, grep].map(|text| text.map(str::to_owned));
            SelectionArgs { expression, grep }.filter()
        };
        let record = RecordFields::new("orders", 0, 7, b"say \"hi\"");
        let both = filter(Some("offset = 1 or offset = 7"), Some("\"hi\"")).unwrap().unwrap();
        assert!(both.matches(&record));
        assert!(!filter(Some("offset = 1 or offset = 8"), Some("hi")).unwrap().unwrap().matches(&record));
        assert!(filter(None, None).unwrap().is_none());
        let failure = filter(Some("key = "), None).unwrap_err();
        assert!(failure.exit_code() == 2 && failure.message().contains("byte 6"), "{}", failure.message());
    }

    #[test]
    fn expressions_of_the_help_are_in_the_language() {
        for line in FILTER_HELP.lines().skip(1) {
            let examples = line.trim().split("  ").next().unwrap();
            for example in examples.split(", ") {
                let words = example.split(' ').map(|word| match word.trim_matches(['(', ')']) {
                    "A" | "B" => word.replace(['A', 'B'], "key"),
                    _ => word.to_owned(),
                });
                let expression = words.collect::<Vec<_>>().join(" ");
                assert!(Filter::parse(&expression).is_ok(), "{expression:?} of {line:?}");
            }
        }
    }
}
