//! Topics and partitions: names, the specification of a new topic, the description of an existing one.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

pub use crate::topic_name::{Topic, TopicPartition};
use crate::{Codec, Error, ErrorKind, Result, units::parse_duration};

/// Longest topic name in bytes (Fluvio 0.18).
pub const MAX_NAME_LEN: usize = 63;

/// Names that servers keep for themselves: Fluvio and `floe serve` store the offsets of groups there (Fluvio 0.18). A topic
/// of this name in a store could not be reached through a server on top of it.
const RESERVED_NAMES: &[&str] = &["consumer-offset"];

impl Topic {
    /// Checks the rules for a new topic: 1 to 63 bytes, `a-z`, `0-9` and `-`, no `-` at either end. They are Fluvio's
    /// rules and hold on every engine, so that a topic can move.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] that names the broken rule.
    pub fn validate(&self) -> Result<()> {
        let problem = if self.as_str().is_empty() {
            "is empty"
        } else if self.as_str().len() > MAX_NAME_LEN {
            "is longer than 63 bytes"
        } else if self.as_str().starts_with('-') || self.as_str().ends_with('-') {
            "starts or ends with '-'"
        } else if RESERVED_NAMES.contains(&self.as_str()) {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                format!(
                    "topic name {:?} is reserved: servers store the offsets of groups there",
                    self.as_str()
                ),
            ));
        } else if !self.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            "has characters other than a-z, 0-9 and '-'"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::InvalidCommand,
            format!(
                "topic name {:?} {problem}: use 1 to 63 of a-z, 0-9 and '-', not at the ends",
                self.as_str()
            ),
        ))
    }
}

/// When an append to the embedded log is acknowledged. Matching is exhaustive: these are the guarantees that a file
/// system offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the operating system has the bytes: survives the death of the process, not a power loss.
    Os,
    /// As [`Durability::Os`], with a sync at least this often: a power loss takes at most this much.
    Interval(Duration),
    /// After the disk has the bytes: survives a power loss.
    Always,
}

/// As written in a URL or on the command line: `os`, `always`, `interval:100ms`.
impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "os" => Ok(Self::Os),
            None if text == "always" => Ok(Self::Always),
            Some(("interval", wait)) => Ok(Self::Interval(parse_duration(wait)?)),
            _ => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("durability {text:?}: write os, always, or interval:100ms"),
            )),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os => f.write_str("os"),
            Self::Always => f.write_str("always"),
            Self::Interval(wait) => write!(f, "interval:{}ms", wait.as_millis()),
        }
    }
}

/// Specification of a new topic.
///
/// ```
/// use floe_core::TopicSpec;
/// let spec = TopicSpec::new("orders").partitions(3);
/// assert!(spec.validate().is_ok());
/// assert!(TopicSpec::new("No Spaces").validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Name of the topic.
    pub name: Topic,
    /// Number of partitions.
    pub partitions: u32,
    /// When an append is acknowledged; the engine's default where `None`.
    pub durability: Option<Durability>,
    /// Retention by age: older records may be removed. `None`: no limit (embedded), or the server's default.
    pub retention_age: Option<Duration>,
    /// Retention by size: bytes of a partition above which its oldest records are removed.
    pub retention_bytes: Option<u64>,
    /// Size of a segment in bytes.
    pub segment_bytes: Option<u64>,
    /// Servers that keep each partition. `None`: one.
    pub replication_factor: Option<u32>,
    /// The codec that batches must have. `None`: any.
    pub compression: Option<Codec>,
}

impl TopicSpec {
    /// Creates a topic with one partition and the engine's defaults.
    #[must_use]
    pub fn new(name: impl Into<Topic>) -> Self {
        Self {
            name: name.into(),
            partitions: 1,
            durability: None,
            retention_age: None,
            retention_bytes: None,
            segment_bytes: None,
            replication_factor: None,
            compression: None,
        }
    }

    /// Sets the number of partitions. Default 1.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets when an append is acknowledged. Default: [`Durability::Os`] on the embedded engine.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets the age at which retention removes records. Default: never.
    #[must_use]
    pub fn retention_age(mut self, age: Duration) -> Self {
        self.retention_age = Some(age);
        self
    }

    /// Sets the size of a partition, in bytes, at which retention removes its oldest records. Default: never.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: u64) -> Self {
        self.retention_bytes = Some(bytes);
        self
    }

    /// Sets the size of a segment. Default 256 MiB on the embedded engine.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Sets how many servers keep each partition, on clusters. Default: one.
    #[must_use]
    pub fn replication_factor(mut self, servers: u32) -> Self {
        self.replication_factor = Some(servers);
        self
    }

    /// Sets the codec that all batches of the topic must have; the server refuses others. Default: any.
    #[must_use]
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression = Some(codec);
        self
    }

    /// Refuses settings of topics in a cluster, for engines without them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if there are some.
    pub fn refuse_cluster_settings(&self, engine: &'static str) -> Result<()> {
        if self.replication_factor.is_some_and(|servers| servers > 1) {
            return Err(Error::unsupported("replication", engine));
        }
        match self.compression {
            None => Ok(()),
            Some(_) => Err(Error::unsupported("a codec that a topic asks for", engine)),
        }
    }

    /// Checks the name and the number of partitions.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] that names the problem.
    pub fn validate(&self) -> Result<()> {
        self.name.validate()?;
        if self.partitions == 0 || self.partitions > MAX_PARTITIONS {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                format!("{} partitions: a topic has 1 to {MAX_PARTITIONS}", self.partitions),
            ));
        }
        if self.replication_factor == Some(0) {
            return Err(Error::new(ErrorKind::InvalidCommand, "a replication factor of 0: it is at least 1"));
        }
        Ok(())
    }
}

/// Changes to the settings of a topic; settings that it does not name stay.
///
/// ```
/// use std::time::Duration;
/// use floe_core::topic::TopicUpdate;
///
/// let update = TopicUpdate::new().retention_age(Some(Duration::from_secs(3600))).retention_bytes(None);
/// assert_eq!(update.retention_bytes, Some(None));
/// assert_ne!(update, TopicUpdate::new());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TopicUpdate {
    /// Retention by age; `Some(None)` removes the limit.
    pub retention_age: Option<Option<Duration>>,
    /// Retention by size, in bytes of a partition; `Some(None)` removes the limit.
    pub retention_bytes: Option<Option<u64>>,
}

impl TopicUpdate {
    /// Creates an update without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the age at which retention removes records; None is never.
    #[must_use]
    pub fn retention_age(mut self, age: Option<Duration>) -> Self {
        self.retention_age = Some(age);
        self
    }

    /// Changes the size of a partition, in bytes, at which retention removes its oldest records; None is never.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retention_bytes = Some(bytes);
        self
    }
}

/// Largest number of partitions of a new topic. No protocol sets a limit; this one keeps a mistyped number from
/// creating millions of folders.
pub const MAX_PARTITIONS: u32 = 10_000;

/// Description of an existing topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Name of the topic.
    pub name: Topic,
    /// Number of partitions.
    pub partitions: u32,
    /// When it was created, milliseconds since the Unix epoch, where the engine knows.
    pub created_at: Option<i64>,
    /// When an append is acknowledged, where the engine knows.
    pub durability: Option<Durability>,
    /// Retention by age.
    pub retention_age: Option<Duration>,
    /// Retention by size, in bytes of a partition.
    pub retention_bytes: Option<u64>,
    /// For a topic that is mirrored between clusters: the other cluster of each partition, in their order. Empty for
    /// any other topic.
    pub mirrors: Vec<Arc<str>>,
    /// Whether the server drops records that it takes for duplicates, where the engine knows.
    pub deduplicates: bool,
    /// Damage to the stored records that the engine knows of, one finding each, in words. Engines that do not examine their
    /// storage have none.
    pub damage: Vec<Arc<str>>,
}

impl TopicInfo {
    /// Creates a description from the name and the number of partitions.
    #[must_use]
    pub fn new(name: impl Into<Topic>, partitions: u32) -> Self {
        Self {
            name: name.into(),
            partitions,
            created_at: None,
            durability: None,
            retention_age: None,
            retention_bytes: None,
            mirrors: Vec::new(),
            deduplicates: false,
            damage: Vec::new(),
        }
    }
}

/// A change to the topics of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicEvent {
    /// The topic was created or changed. A watch begins with one such event for each existing topic.
    Updated(TopicInfo),
    /// The topic was deleted.
    Deleted(Topic),
}

/// The events of a watch, from lists of the topics, for engines that learn only that something changed.
///
/// ```
/// use floe_core::topic::{TopicChanges, TopicEvent, TopicInfo};
///
/// let mut changes = TopicChanges::default();
/// changes.update([TopicInfo::new("a", 1), TopicInfo::new("b", 1)]);
/// assert_eq!(changes.next_event(), Some(TopicEvent::Updated(TopicInfo::new("a", 1))));
/// changes.update([TopicInfo::new("a", 1)]);
/// assert_eq!(changes.next_event(), Some(TopicEvent::Updated(TopicInfo::new("b", 1))));
/// assert_eq!(changes.next_event(), Some(TopicEvent::Deleted("b".into())));
/// assert_eq!(changes.next_event(), None);
/// ```
#[derive(Debug, Default)]
pub struct TopicChanges {
    known: BTreeMap<Topic, TopicInfo>,
    waiting: VecDeque<TopicEvent>,
}

impl TopicChanges {
    /// Queues the differences to the topics of the last call. Changes that cancel each other out in between are not
    /// reported; a topic that was recreated with other settings is.
    pub fn update(&mut self, topics: impl IntoIterator<Item = TopicInfo>) {
        let now: BTreeMap<_, _> = topics.into_iter().map(|info| (info.name.clone(), info)).collect();
        for name in self.known.keys().filter(|name| !now.contains_key(*name)) {
            self.waiting.push_back(TopicEvent::Deleted(name.clone()));
        }
        for (name, info) in &now {
            if self.known.get(name) != Some(info) {
                self.waiting.push_back(TopicEvent::Updated(info.clone()));
            }
        }
        self.known = now;
    }

    /// Takes the oldest event.
    pub fn next_event(&mut self) -> Option<TopicEvent> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_clusters_are_refused_elsewhere() {
        let kind = |spec: TopicSpec| spec.refuse_cluster_settings("memory").err().map(|error| error.kind());
        assert_eq!(kind(TopicSpec::new("a").replication_factor(1)), None);
        assert_eq!(kind(TopicSpec::new("a").replication_factor(2)), Some(ErrorKind::Unsupported));
        assert_eq!(kind(TopicSpec::new("a").compression(Codec::Lz4)), Some(ErrorKind::Unsupported));
        assert!(TopicSpec::new("a").replication_factor(0).validate().is_err());
    }

    #[test]
    fn names_follow_the_rules() {
        for good in ["a", "orders", "0", "a-b-c", &"x".repeat(63)] {
            assert!(Topic::from(good).validate().is_ok(), "{good}");
        }
        for bad in
            ["", "-a", "a-", "Orders", "a_b", "a b", "ä", "a/b", "..", "consumer-offset", &"x".repeat(64)]
        {
            let error = Topic::from(bad).validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidCommand, "{bad}");
        }
    }

    #[test]
    fn partitions_are_bounded() {
        assert!(TopicSpec::new("a").partitions(0).validate().is_err());
        assert!(TopicSpec::new("a").partitions(MAX_PARTITIONS).validate().is_ok());
        assert!(TopicSpec::new("a").partitions(MAX_PARTITIONS + 1).validate().is_err());
    }
}
