//! Coordinates of a record, written as text in a header.

use std::{fmt, str::FromStr};

use crate::{
    Error, ErrorKind, Message,
    topic::{Topic, TopicPartition},
};

/// Header in which a processor names the record that a record was made from.
pub(crate) const PROCESSED: &str = "floe-origin";

/// Coordinates of the record that a record was made from: `TOPIC/PARTITION/OFFSET`, and `#N` for further records made from
/// the same one.
///
/// ```
/// use floe::dead_letter::RecordOrigin;
/// let origin: RecordOrigin = "orders/2/17#1".parse()?;
/// assert_eq!((origin.at.partition, origin.offset, origin.index), (2, 17, 1));
/// assert_eq!(origin.to_string(), "orders/2/17#1");
/// # Ok::<(), floe::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordOrigin {
    /// The partition.
    pub at: TopicPartition,
    /// The offset in the partition.
    pub offset: i64,
    /// Index among the records made from the one there, from 0.
    pub index: u32,
}

impl RecordOrigin {
    pub(crate) fn of_message<V>(message: &Message<V>) -> Self {
        Self { at: message.topic.partition(message.partition), offset: message.offset, index: 0 }
    }

    /// Returns the origin of a record that a [processor](crate::processor) wrote. Duplicates after a crash have the same
    /// origin.
    #[must_use]
    pub fn of<V>(message: &Message<V>) -> Option<Self> {
        str::from_utf8(message.headers.get(PROCESSED)?).ok()?.parse().ok()
    }
}

impl fmt::Display for RecordOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.offset)?;
        if self.index > 0 {
            write!(f, "#{}", self.index)?;
        }
        Ok(())
    }
}

impl FromStr for RecordOrigin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (coordinates, index) = match text.split_once('#') {
                Some((coordinates, index)) => (coordinates, index.parse().ok()?),
                None => (text, 0),
            };
            let mut parts = coordinates.rsplitn(3, '/');
            let offset = parts.next()?.parse().ok()?;
            let partition = parts.next()?.parse().ok()?;
            let at = Topic::from(parts.next().filter(|topic| !topic.is_empty())?).partition(partition);
            Some(Self { at, offset, index })
        };
        parse().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidCommand,
                format!("{text:?} is not an origin of the form TOPIC/PARTITION/OFFSET"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_origins_are_refused() {
        for text in
            ["", "orders", "orders/1", "/1/2", "orders/x/2", "orders/1/y", "orders/1/2#", "orders/-1/2"]
        {
            assert_eq!(text.parse::<RecordOrigin>().unwrap_err().kind(), ErrorKind::InvalidCommand, "{text}");
        }
        assert_eq!("a/b/1/2".parse::<RecordOrigin>().unwrap().at.topic.as_str(), "a/b");
    }
}
