//! Names of topics and partitions, and the limits of servers on topics.

use std::{fmt, str::FromStr};

/// Longest topic name in bytes.
pub const MAX_TOPIC_NAME_LEN: usize = 63;

/// The system topic that holds the offsets of consumers, in one partition.
pub const CONSUMER_OFFSET_TOPIC: &str = "consumer-offset";

/// Shortest retention time in seconds.
pub const MIN_RETENTION_SECONDS: u32 = 10;

/// Default retention time in seconds: seven days.
pub const DEFAULT_RETENTION_SECONDS: u32 = 7 * 24 * 3600;

/// Least size of a segment, in bytes.
pub const MIN_SEGMENT_SIZE: u32 = 1024;

/// Default size of a segment in bytes.
pub const DEFAULT_SEGMENT_SIZE: u32 = 1 << 30;

/// Least size limit of a partition in bytes; a limit must not be below the size of a segment either.
pub const MIN_PARTITION_SIZE: u64 = 2048;

/// Default size limit of a partition in bytes.
pub const DEFAULT_PARTITION_SIZE: u64 = 100 << 30;

/// Reason why a text is not a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The empty name, which official servers accept although the topic is unusable.
    #[error("a topic name must not be empty")]
    Empty,
    /// A name longer than [`MAX_TOPIC_NAME_LEN`].
    #[error("a topic name has at most {MAX_TOPIC_NAME_LEN} bytes, this one has {0}")]
    TooLong(usize),
    /// A character other than `a` to `z`, `0` to `9` and `-`.
    #[error("a topic name consists of a-z, 0-9 and '-', not {0:?}")]
    Character(char),
    /// A leading or trailing hyphen.
    #[error("a topic name must not begin or end with '-'")]
    Hyphen,
}

/// Checks a topic's name by the rules of official servers, and also refuses the empty name.
///
/// # Errors
/// The rule that the name breaks.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > MAX_TOPIC_NAME_LEN {
        return Err(TopicNameError::TooLong(name.len()));
    }
    let is_allowed = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-');
    if let Some(character) = name.chars().find(|character| !is_allowed(*character)) {
        return Err(TopicNameError::Character(character));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(TopicNameError::Hyphen);
    }
    Ok(())
}

/// The name of a partition object: `<topic>-<number>`.
///
/// ```
/// use floe_wire::fluvio::names::PartitionName;
///
/// let name: PartitionName = "my-topic-12".parse()?;
/// assert_eq!((name.topic.as_str(), name.partition), ("my-topic", 12));
/// assert_eq!(name.to_string(), "my-topic-12");
/// # Ok::<(), floe_wire::fluvio::names::PartitionNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: u32,
}

/// Error for a text that is not of the form `<topic>-<number>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a partition: expected <topic>-<number>")]
pub struct PartitionNameError(String);

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for PartitionName {
    type Err = PartitionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || PartitionNameError(text.to_owned());
        let (topic, number) = text.rsplit_once('-').ok_or_else(refuse)?;
        if topic.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse());
        }
        let partition = number.parse().map_err(|_| refuse())?;
        Ok(Self { topic: topic.to_owned(), partition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_the_servers_rules() {
        for good in ["a", "7", "orders", "a-b--c", &"x".repeat(63)] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", TopicNameError::Empty),
            (&"x".repeat(64)[..], TopicNameError::TooLong(64)),
            ("Orders", TopicNameError::Character('O')),
            ("a_b", TopicNameError::Character('_')),
            ("a.b", TopicNameError::Character('.')),
            ("größe", TopicNameError::Character('ö')),
            ("-a", TopicNameError::Hyphen),
            ("a-", TopicNameError::Hyphen),
        ] {
            assert_eq!(check_topic_name(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn partition_names_are_split_at_the_last_hyphen() {
        for (text, topic, partition) in
            [("t-0", "t", 0), ("a-1-2", "a-1", 2), ("consumer-offset-0", CONSUMER_OFFSET_TOPIC, 0)]
        {
            let name: PartitionName = text.parse().unwrap();
            assert_eq!((name.topic.as_str(), name.partition), (topic, partition));
            assert_eq!(name.to_string(), text);
        }
        for bad in ["", "t", "-1", "t-", "t-x", "t-+1", "t-4294967296", "0"] {
            assert!(bad.parse::<PartitionName>().is_err(), "{bad}");
        }
    }
}
