//! Topics: create, delete, list, describe, watch; and stored consumer offsets.

use std::sync::Arc;

use futures_util::stream::BoxStream;

use crate::{
    Client, Error, ErrorKind, Result,
    engine::{CommittedOffset, Watermarks},
    topic::{Topic, TopicEvent, TopicInfo, TopicPartition, TopicSpec},
};

/// Administration of an engine; from [`Client::admin`].
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

/// A topic with the state of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// What the topic is like.
    pub info: TopicInfo,
    /// Its partitions in order; empty where the engine has no offsets.
    pub partitions: Vec<PartitionDescription>,
}

/// The state of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Number of the partition.
    pub partition: u32,
    /// First and next offset, and size.
    pub watermarks: Watermarks,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
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

    /// All topics, ordered by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine cannot list.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.require_list()?;
        self.client.engine().topics().await
    }

    /// One topic without the state of its partitions.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`].
    pub async fn topic(&self, name: impl Into<Topic>) -> Result<TopicInfo> {
        self.client.engine().topic(name.into()).await
    }

    /// One topic with watermarks and sizes of its partitions.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`].
    pub async fn describe(&self, name: impl Into<Topic>) -> Result<TopicDescription> {
        let info = self.topic(name).await?;
        let mut partitions = Vec::new();
        if self.client.info().capabilities.offsets {
            for partition in 0..info.partitions {
                let watermarks = self.client.engine().watermarks(info.name.partition(partition)).await?;
                partitions.push(PartitionDescription { partition, watermarks });
            }
        }
        Ok(TopicDescription { info, partitions })
    }

    /// First and next offset of one partition.
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

    /// The topics now, as [`TopicEvent::Updated`], then every change to them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine cannot list topics.
    pub async fn watch(&self) -> Result<BoxStream<'static, Result<TopicEvent>>> {
        self.require_list()?;
        self.client.engine().watch().await
    }

    /// Stored offsets of one group, or of all groups.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine stores no offsets.
    pub async fn committed_offsets(&self, group: Option<&str>) -> Result<Vec<CommittedOffset>> {
        self.require_commits()?;
        self.client.engine().list_committed(group.map(Arc::from)).await
    }

    /// Stores the offset of the next record that a group shall read.
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
        self.client.engine().commit(Arc::from(group), vec![(at, next)]).await
    }

    /// Forgets the stored offset of a group. Forgetting what is not there is success.
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
