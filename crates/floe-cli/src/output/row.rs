//! A record as the printer and the `--format` template take it.

/// Borrowed fields of one record.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
}
