//! `--output`: the format of results and errors.

use clap::ValueEnum;

/// Format of results on standard output, and of errors on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Plain text
    #[default]
    Text,
    /// One JSON document
    Json,
    /// One JSON object per line
    Jsonl,
    /// Aligned columns with headings
    Table,
    /// Comma-separated values with a heading (consume)
    Csv,
    /// Values, each with a NUL byte behind it (consume)
    Null,
    /// Values, each behind its length in 4 bytes, big-endian (consume)
    LengthPrefixed,
}

impl OutputFormat {
    /// Whether it is a format of records only.
    pub(crate) fn is_of_records(self) -> bool {
        matches!(self, Self::Csv | Self::Null | Self::LengthPrefixed)
    }

    /// Whether a program parses the result, so that errors are JSON too.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}
