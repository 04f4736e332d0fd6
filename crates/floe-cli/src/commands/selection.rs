//! Records that a command selects.

use clap::Args;
use floe::filter::Filter;

use crate::exit::{Failure, Outcome};

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
    /// Only records for which the expression holds, such as 'key = "ada" and .order.total > 10'; docs/console.md has the
    /// language
    #[arg(long = "where", value_name = "EXPR")]
    expression: Option<String>,
    /// Only records whose value contains the text
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
}
