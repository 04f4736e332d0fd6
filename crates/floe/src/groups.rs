//! Looking at shared groups, and administering them.

use std::{sync::Arc, time::Duration};

use floe_group::{Evict, GroupPartition, GroupRecord, Reset};

use crate::{
    Error, ErrorKind, Result,
    client_core::ClientCore,
    consumer::group::{GroupLog, Replayed},
    topic::{Topic, TopicPartition},
};

/// The shared groups of a cluster or a store; from [`Client::groups`](crate::Client::groups).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe::{Client, TopicSpec};
///
/// let client = Client::connect("memory:").await?;
/// client.admin().create_topic(TopicSpec::new("orders").partitions(4)).await?;
/// let worker = client.consumer("orders").group("billing").shared().start().await?;
///
/// let billing = client.groups().describe("billing").await?;
/// assert_eq!((billing.members.len(), billing.partitions.len()), (1, 4));
/// worker.close().await?;
/// client.groups().delete("billing").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Groups {
    client: ClientCore,
}

/// A shared group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Name.
    pub name: Arc<str>,
    /// Offset, in the coordination topic, of the last change of members, topics or numbers of partitions.
    pub generation: i64,
    /// The members, ordered by id.
    pub members: Vec<GroupMember>,
    /// The partitions, ordered by topic and number.
    pub partitions: Vec<PartitionAssignment>,
}

/// A member of a shared group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Identity: 32 hexadecimal digits.
    pub id: String,
    /// Name that a restarted process keeps.
    pub instance: Option<String>,
    /// Time without a sign of life after which others take over.
    pub session: Duration,
    /// Time that the member takes at most to release a partition.
    pub drain: Duration,
    /// Share of the partitions in relation to other members.
    pub weight: u16,
    /// Topics that the member reads.
    pub topics: Vec<Topic>,
    /// Time of its last record by its own clock, in milliseconds since the Unix epoch; `None` if that is older than the last
    /// snapshot.
    pub heard_at: Option<i64>,
}

/// A partition of a shared group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionAssignment {
    /// The partition.
    pub at: TopicPartition,
    /// Id of the member that reads it.
    pub member: Option<String>,
    /// Id of the member that gets it next, if that is another one.
    pub moves_to: Option<String>,
    /// Offset, in the coordination topic, of the record that granted the lease.
    pub lease: i64,
    /// Offset of the next record to handle; `None` before the first commit.
    pub next: Option<i64>,
    /// Time of the last commit by the clock of the member, in milliseconds since the Unix epoch; `None` if that is older than
    /// the last snapshot.
    pub committed_at: Option<i64>,
}

impl Groups {
    pub(crate) fn new(client: ClientCore) -> Self {
        Self { client }
    }

    /// Returns all shared groups that have members or positions, ordered by name. Reads the coordination topic from its
    /// beginning.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the engine has no offsets; errors of the engine.
    pub async fn list(&self) -> Result<Vec<GroupDescription>> {
        self.check()?;
        let groups = GroupLog::all(&self.client).await?.into_iter();
        Ok(groups
            .filter(|(_, group)| is_known(group))
            .map(|(name, group)| description(name, &group))
            .collect())
    }

    /// Returns the members and partitions of a group.
    ///
    /// # Errors
    /// [`ErrorKind::NotAMember`] for a group without members and positions; [`ErrorKind::Unsupported`] where the engine has
    /// no offsets; errors of the engine.
    pub async fn describe(&self, group: impl Into<Arc<str>>) -> Result<GroupDescription> {
        let name = group.into();
        let (_, replayed) = self.load(&name).await?;
        Ok(description(name, &replayed))
    }

    /// Sets the offset of the next record of a partition, also backwards. Unless `force` is set, the partition must have no
    /// member; with it, the member that reads the partition begins anew at `next`, and records that it has in hand may be
    /// handled twice.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] for a partition with a member, without `force`; [`ErrorKind::OffsetOutOfRange`]; as
    /// [`Groups::describe`].
    pub async fn reset(
        &self,
        group: impl Into<Arc<str>>,
        at: TopicPartition,
        next: i64,
        force: bool,
    ) -> Result<()> {
        self.check()?;
        let name = group.into();
        let bounds = self.client.engine().watermarks(at.clone()).await?;
        if !(bounds.start..=bounds.high).contains(&next) {
            let message =
                format!("{next}: the partition has the offsets {} to {}", bounds.start, bounds.high);
            return Err(Error::new(ErrorKind::OffsetOutOfRange, message)
                .with_topic(&at.topic)
                .with_partition(at.partition));
        }
        let log = self.log(&name, true).await?;
        let partition = GroupPartition::new(at.topic.as_str(), at.partition);
        if force {
            // A member begins at the new position at once.
            self.client.history().reset(&name, &at, next);
        }
        let record = GroupRecord::Reset(Reset { partition: partition.clone(), next, force });
        let offset = log.append(&record).await?;
        let replayed = log.replay().await?;
        let state = replayed.state.partitions().get(&partition);
        if state.is_none_or(|state| Some(state.lease) < offset) {
            let message = "a member reads the partition: stop it first, or force the reset";
            return Err(Error::new(ErrorKind::Fenced, message)
                .with_topic(&at.topic)
                .with_partition(at.partition));
        }
        if !force {
            self.client.history().reset(&name, &at, next);
        }
        self.client.engine().commit(name, vec![(at, next)]).await
    }

    /// Removes a member, by its id or the name of its instance. One that lives joins anew.
    ///
    /// # Errors
    /// [`ErrorKind::NotAMember`] if the group has no such member; as [`Groups::describe`].
    pub async fn evict(&self, group: impl Into<Arc<str>>, member: &str) -> Result<()> {
        let name = group.into();
        let (log, mut replayed) = self.load(&name).await?;
        let is_wanted = |id: &floe_group::MemberId, of: &floe_group::Member| {
            id.to_string() == member || of.instance.as_deref() == Some(member)
        };
        // A heartbeat that comes in between makes the record void.
        for _ in 0..16 {
            let found = replayed.state.members().iter().find(|(id, of)| is_wanted(id, of));
            let Some((id, found)) = found.map(|(id, of)| (*id, of.clone())) else { break };
            let record = Evict { by: None, member: id, joined: found.joined, sequence: found.sequence };
            log.append(&GroupRecord::Evict(record)).await?;
            replayed = log.replay().await?;
            if replayed.state.members().get(&id).is_none_or(|now| now.joined != found.joined) {
                return Ok(());
            }
        }
        let message = format!("the group {name:?} has no member {member:?}, or it cannot be removed now");
        Err(Error::new(ErrorKind::NotAMember, message))
    }

    /// Forgets all positions of a group without members, those in the stored offsets of the engine too.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] while the group has members; as [`Groups::describe`].
    pub async fn delete(&self, group: impl Into<Arc<str>>) -> Result<()> {
        let name = group.into();
        let (log, replayed) = self.load(&name).await?;
        log.append(&GroupRecord::Delete).await?;
        let after = log.replay().await?;
        if !after.state.members().is_empty() {
            let message =
                format!("the group {name:?} has {} members: stop them first", after.state.members().len());
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        for partition in replayed.state.partitions().keys() {
            let at = Topic::from(partition.topic.as_str()).partition(partition.partition);
            if self.client.engine().committed(Arc::clone(&name), at.clone()).await?.is_some() {
                self.client.engine().forget(Arc::clone(&name), at).await?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let info = self.client.info();
        let able = info.capabilities;
        let has_them = able.offsets && able.dense_offsets && able.commit_offsets;
        if has_them { Ok(()) } else { Err(Error::unsupported("shared groups", info.name)) }
    }

    async fn log(&self, group: &Arc<str>, create: bool) -> Result<GroupLog> {
        GroupLog::open(&self.client, group, create).await?.ok_or_else(|| unknown(group))
    }

    /// Loads a group that has members or positions.
    async fn load(&self, group: &Arc<str>) -> Result<(GroupLog, Replayed)> {
        self.check()?;
        let log = self.log(group, false).await?;
        let replayed = log.replay().await?;
        if is_known(&replayed) { Ok((log, replayed)) } else { Err(unknown(group)) }
    }
}

/// Whether a group has members or positions.
fn is_known(group: &Replayed) -> bool {
    !group.state.members().is_empty() || !group.state.partitions().is_empty()
}

fn unknown(group: &Arc<str>) -> Error {
    let message = format!("there is no shared group {group:?}");
    Error::new(ErrorKind::NotAMember, message)
}

fn description(name: Arc<str>, replayed: &Replayed) -> GroupDescription {
    let members = replayed.state.members().iter().map(|(id, member)| GroupMember {
        id: id.to_string(),
        instance: member.instance.clone(),
        session: Duration::from_millis(member.session_ms.into()),
        drain: Duration::from_millis(member.drain_ms.into()),
        weight: member.weight,
        topics: member.topics.keys().map(|topic| Topic::from(topic.as_str())).collect(),
        heard_at: replayed.heard_at.get(id).copied(),
    });
    let partitions = replayed.state.partitions().iter().map(|(partition, state)| PartitionAssignment {
        at: Topic::from(partition.topic.as_str()).partition(partition.partition),
        member: state.owner.map(|id| id.to_string()),
        moves_to: state.target.filter(|target| Some(*target) != state.owner).map(|id| id.to_string()),
        lease: state.lease,
        next: state.next,
        committed_at: replayed.committed_at.get(partition).copied(),
    });
    GroupDescription {
        name,
        generation: replayed.state.generation(),
        members: members.collect(),
        partitions: partitions.collect(),
    }
}
