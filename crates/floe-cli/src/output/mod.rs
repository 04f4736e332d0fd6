//! Printing of results.

pub(crate) mod amount;
pub(crate) mod progress;
pub(crate) mod record;
pub(crate) mod stdout;
pub(crate) mod template;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::{escape, exit::Outcome, format::OutputFormat};

/// Prints a single result.
pub(crate) fn print_document(format: OutputFormat, document: &Value, text: &str) -> Outcome {
    match format {
        OutputFormat::Json => stdout::print_json(&pretty(document)),
        OutputFormat::Jsonl => stdout::print_json(&format!("{document}\n")),
        _ => print_lines(text),
    }
}

/// Prints lines, without characters that act on a terminal.
fn print_lines(text: &str) -> Outcome {
    let printed: String = text.split('\n').map(escape::line).collect::<Vec<_>>().join("\n");
    stdout::print(printed.as_bytes())
}

/// Prints a list.
pub(crate) fn print_list(format: OutputFormat, list: &List) -> Outcome {
    match format {
        OutputFormat::Json => stdout::print_json(&pretty(&Value::Array(list.documents.clone()))),
        OutputFormat::Jsonl => {
            let lines: String = list.documents.iter().map(|document| format!("{document}\n")).collect();
            stdout::print_json(&lines)
        }
        OutputFormat::Table => print_lines(&table(&list.headings, &list.rows)),
        _ => print_lines(&list.text),
    }
}

/// List in every output format.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Headings of the table.
    pub(crate) headings: Vec<&'static str>,
    /// Rows of the table.
    pub(crate) rows: Vec<Vec<String>>,
    /// Entries as JSON.
    pub(crate) documents: Vec<Value>,
    /// Entries as text.
    pub(crate) text: String,
}

/// Aligns `rows` under `headings`, without rules and colours, which a pipe cannot use.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| escape::line(cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_plain_and_aligned() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["orders".to_owned(), "12".to_owned()]];
        assert_eq!(table(&["name", "partitions"], &rows), "NAME    PARTITIONS\na       1\norders  12\n");
        assert_eq!(table(&["name"], &[]), "NAME\n");
        let rows =
            vec![vec!["two\nlines\x1b".to_owned(), "1".to_owned()], vec!["語".to_owned(), "2".to_owned()]];
        let expected = "NAME            N\ntwo\\nlines\\x1b  1\n語              2\n";
        assert_eq!(table(&["name", "n"], &rows), expected);
    }
}
