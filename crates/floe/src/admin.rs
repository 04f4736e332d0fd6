//! Administration: topics (create, delete, list, describe, watch) and stored consumer offsets.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::{
    Error, ErrorKind, Result,
    client_core::ClientCore,
    engine::{CommittedOffset, Placement, Watermarks},
    topic::{MAX_PARTITIONS, Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec, TopicUpdate},
};

/// Administration of an engine; from [`Client::admin`](crate::Client::admin).
#[derive(Debug, Clone)]
pub struct Admin {
    client: ClientCore,
}

/// Concurrent lookups of [`Admin::describe`].
const DESCRIBED_AT_ONCE: usize = 32;

/// A topic with the state of its partitions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Name, partitions and settings of the topic.
    pub info: TopicInfo,
    /// Its partitions in order; empty where the engine has no offsets.
    pub partitions: Vec<PartitionDescription>,
}

/// The state of one partition.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Number of the partition.
    pub partition: u32,
    /// First and next offset, and size; or why they are unavailable, such as damaged data or a missing leader.
    pub watermarks: Result<Watermarks>,
    /// Servers that hold it, where the engine has servers and knows them.
    pub placement: Option<Placement>,
}

impl Admin {
    pub(crate) fn new(client: ClientCore) -> Self {
        Self { client }
    }

    /// Creates a topic. Records can be sent as soon as this returns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] for a name or a number of partitions that breaks the rules,
    /// [`ErrorKind::TopicAlreadyExists`], [`ErrorKind::Unsupported`] where the engine lacks what the spec asks for.
    pub async fn create_topic(&self, spec: TopicSpec) -> Result<()> {
        spec.validate()?;
        let info = self.client.info();
        if spec.partitions > 1 && !info.capabilities.partitions {
            return Err(Error::unsupported("partitions", info.name).with_topic(&spec.name));
        }
        self.client.engine().create_topic(spec).await
    }

    /// Creates a topic unless it exists. Returns whether this call created it. Idempotent; a topic that exists keeps its
    /// partitions and settings, whatever `spec` says.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// let client = floe::Client::connect("memory:").await?;
    /// assert!(client.admin().ensure_topic(floe::TopicSpec::new("orders")).await?);
    /// assert!(!client.admin().ensure_topic(floe::TopicSpec::new("orders")).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Admin::create_topic`], except [`ErrorKind::TopicAlreadyExists`].
    pub async fn ensure_topic(&self, spec: TopicSpec) -> Result<bool> {
        match self.create_topic(spec).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TopicAlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Raises the number of partitions of a topic to `total`. Idempotent. Records can be sent to the new partitions as soon
    /// as this returns. Running producers use them within 5 minutes, or when a record names one; consumers of all
    /// partitions read them once the engine announces them.
    ///
    /// Existing records stay where they are, so later records of a key may go to another partition than earlier ones.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// let client = floe::Client::connect("memory:").await?;
    /// client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// client.admin().add_partitions("orders", 3).await?;
    /// assert_eq!(client.admin().topic("orders").await?.partitions, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] for fewer than the topic has, or more than [`MAX_PARTITIONS`];
    /// [`ErrorKind::TopicNotFound`]; [`ErrorKind::Unsupported`] where topics have one partition.
    pub async fn add_partitions(&self, name: impl Into<Topic>, total: u32) -> Result<()> {
        let (name, info) = (name.into(), self.client.info());
        if !info.capabilities.partitions {
            return Err(Error::unsupported("partitions", info.name).with_topic(&name));
        }
        if total > MAX_PARTITIONS {
            let message = format!("{total} partitions: a topic has at most {MAX_PARTITIONS}");
            return Err(Error::new(ErrorKind::InvalidCommand, message).with_topic(&name));
        }
        self.client.engine().add_partitions(name, total).await
    }

    /// Removes the records of a partition before an offset, which becomes its start. Idempotent. Groups that stand before it
    /// continue there, and their consumers report the gap.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// let client = floe::Client::connect("memory:").await?;
    /// client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// client.producer("orders").start().await?.send_all(["one", "two", "three"]).await?;
    /// let orders = floe::Topic::from("orders").partition(0);
    /// client.admin().trim(orders.clone(), 2).await?;
    /// assert_eq!(client.admin().watermarks(orders).await?.start, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::OffsetOutOfRange`] beyond the high watermark; [`ErrorKind::TopicNotFound`],
    /// [`ErrorKind::PartitionNotFound`]; [`ErrorKind::Unsupported`] where retention alone removes records.
    pub async fn trim(&self, at: TopicPartition, before: i64) -> Result<()> {
        self.client.engine().trim(at, before).await
    }

    /// Changes settings of a topic; those that `update` does not name stay. All changes are made or none. Idempotent.
    /// A shorter retention removes records within seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use floe::topic::TopicUpdate;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// let client = floe::Client::connect("memory:").await?;
    /// client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// let week = Duration::from_secs(7 * 24 * 3600);
    /// client.admin().update_topic("orders", TopicUpdate::new().retention_age(Some(week))).await?;
    /// assert_eq!(client.admin().topic("orders").await?.retention_age, Some(week));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; [`ErrorKind::Unsupported`] where topics keep the settings of their creation, as on
    /// clusters.
    pub async fn update_topic(&self, name: impl Into<Topic>, update: TopicUpdate) -> Result<()> {
        self.client.engine().update_topic(name.into(), update).await
    }

    /// Deletes a topic with all its records and the offsets stored for it.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; [`ErrorKind::Unsupported`] where the engine cannot delete.
    pub async fn delete_topic(&self, name: impl Into<Topic>) -> Result<()> {
        let info = self.client.info();
        if !info.capabilities.delete_topic {
            return Err(Error::unsupported("deletion of topics", info.name));
        }
        self.client.engine().delete_topic(name.into()).await
    }

    /// Lists all topics, ordered by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine cannot list.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.require_list()?;
        self.client.engine().topics().await
    }

    /// Returns one topic, without the state of its partitions.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`].
    pub async fn topic(&self, name: impl Into<Topic>) -> Result<TopicInfo> {
        self.client.engine().topic(name.into()).await
    }

    /// Returns one topic with the watermarks and sizes of its partitions. A partition whose lookup fails carries its error
    /// and does not affect the others.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`], also if the topic is deleted meanwhile.
    pub async fn describe(&self, name: impl Into<Topic>) -> Result<TopicDescription> {
        let mut info = self.topic(name).await?;
        if !self.client.info().capabilities.offsets {
            return Ok(TopicDescription { info, partitions: Vec::new() });
        }
        let name = &info.name;
        let partitions: Vec<_> = stream::iter(0..info.partitions)
            .map(|partition| async move {
                let at = name.partition(partition);
                let watermarks = self.client.engine().watermarks(at.clone()).await;
                // The lookup before it has asked the engine for the leader.
                let placement = self.client.engine().placement(&at);
                PartitionDescription { partition, watermarks, placement }
            })
            .buffered(DESCRIBED_AT_ONCE)
            .collect()
            .await;
        let gone = |one: &PartitionDescription| {
            one.watermarks.as_ref().err().filter(|error| error.kind() == ErrorKind::TopicNotFound).cloned()
        };
        match partitions.iter().find_map(gone) {
            Some(error) => Err(error),
            None => {
                // The engine may find damage only when it opens a partition, for its watermarks.
                info.damage = self.topic(info.name.clone()).await?.damage;
                Ok(TopicDescription { info, partitions })
            }
        }
    }

    /// Returns the first and next offset of one partition.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`], [`ErrorKind::PartitionNotFound`]; [`ErrorKind::Unsupported`] where the engine has
    /// no offsets.
    pub async fn watermarks(&self, at: TopicPartition) -> Result<Watermarks> {
        let info = self.client.info();
        if !info.capabilities.offsets {
            return Err(Error::unsupported("offsets", info.name));
        }
        self.client.engine().watermarks(at).await
    }

    /// Streams the current topics as [`TopicEvent::Updated`], then all changes to them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine cannot list topics.
    pub async fn watch(&self) -> Result<BoxStream<'static, Result<TopicEvent>>> {
        self.require_list()?;
        self.client.engine().watch().await
    }

    /// Lists the stored offsets of one group, or of all groups.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine stores no offsets.
    pub async fn committed_offsets(&self, group: Option<&str>) -> Result<Vec<CommittedOffset>> {
        self.require_commits()?;
        let mut found = self.client.engine().list_committed(group.map(Arc::from)).await?;
        found.sort_by(|one, other| (&one.group, &one.at).cmp(&(&other.group, &other.at)));
        Ok(found)
    }

    /// Stores the offset of the next record that a group reads.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine stores no offsets; [`ErrorKind::OffsetOutOfRange`] outside the
    /// records that the partition holds.
    pub async fn set_committed_offset(&self, group: &str, at: TopicPartition, next: i64) -> Result<()> {
        self.require_commits()?;
        let bounds = self.client.engine().watermarks(at.clone()).await?;
        if next < bounds.start || next > bounds.high {
            return Err(Error::new(
                ErrorKind::OffsetOutOfRange,
                format!("offset {next} is outside {} to {}", bounds.start, bounds.high),
            )
            .with_topic(&at.topic)
            .with_partition(at.partition));
        }
        self.client.history().reset(group, &at, next);
        self.client.engine().commit(Arc::from(group), vec![(at, next)]).await
    }

    /// Deletes the stored offset of a group. Idempotent.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine stores no offsets.
    pub async fn forget_committed_offset(&self, group: &str, at: TopicPartition) -> Result<()> {
        self.require_commits()?;
        self.client.engine().forget(Arc::from(group), at).await
    }

    fn require_list(&self) -> Result<()> {
        let info = self.client.info();
        if info.capabilities.list_topics {
            Ok(())
        } else {
            Err(Error::unsupported("list of topics", info.name))
        }
    }

    fn require_commits(&self) -> Result<()> {
        let info = self.client.info();
        if info.capabilities.commit_offsets {
            Ok(())
        } else {
            Err(Error::unsupported("stored consumer offsets", info.name))
        }
    }
}
