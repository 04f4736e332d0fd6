//! Records of the coordination partition and their encoding.
//!
//! A value is the version, the kind, and the fields as one MessagePack array; see `docs/formats/groups.md`.

use serde::{Deserialize, Serialize};

use crate::{
    identity::{GroupPartition, Held, MemberId, NEWEST_ALGORITHM, is_name},
    state::{MAX_PARTITIONS, Snapshot},
};

/// Version of the encoding.
const VERSION: u8 = 1;

/// Most bytes of a value. A snapshot of [`MAX_PARTITIONS`] partitions with metadata may need them.
pub const MAX_RECORD_LEN: usize = 16 << 20;

/// Longest metadata of a commit, in bytes.
const MAX_METADATA_LEN: usize = 4096;

/// Most topics of a member.
pub(crate) const MAX_TOPICS: usize = 1000;

/// Largest weight of a member.
const MAX_WEIGHT: u16 = 1000;

/// A member joins, or joins anew with other topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Join {
    /// The member.
    pub member: MemberId,
    /// Name that a restarted process keeps. The member replaces the one that had it.
    pub instance: Option<String>,
    /// Time without a record of the member after which others evict it, in milliseconds.
    pub session_ms: u32,
    /// Time that the member takes at most to finish records before it releases a partition, in milliseconds.
    pub drain_ms: u32,
    /// Topics and the number of partitions that the member sees.
    pub topics: Vec<(String, u32)>,
    /// Share of the partitions in relation to other members, 1 to 1000.
    pub weight: u16,
    /// Newest algorithm of distribution that the member knows.
    pub algorithm: u8,
}

impl Join {
    /// A member with a session of 10 s, 30 s to drain and the weight 1.
    #[must_use]
    pub fn new(member: MemberId) -> Self {
        Self {
            member,
            instance: None,
            session_ms: 10_000,
            drain_ms: 30_000,
            topics: Vec::new(),
            weight: 1,
            algorithm: NEWEST_ALGORITHM,
        }
    }

    /// Adds a topic with the number of its partitions.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>, partitions: u32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }

    /// Sets the name that a restarted process keeps.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Sets the weight.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }
}

/// A position up to which a member has handled a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The partition, and the lease under which it was read.
    pub held: Held,
    /// Offset of the next record.
    pub next: i64,
    /// Text of the application.
    pub metadata: String,
}

/// A sign of life of a member, with its commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The member.
    pub member: MemberId,
    /// Offset of its join.
    pub joined: i64,
    /// Number of the beat, larger than that of the beat before.
    pub sequence: u64,
    /// Positions to store.
    pub commits: Vec<Commit>,
    /// Topics that the member reads from now on, or that have more partitions than before, with that number; 0 for a topic that
    /// it reads no more.
    pub topics: Vec<(String, u32)>,
}

impl Beat {
    /// A beat without commits.
    #[must_use]
    pub fn new(member: MemberId, joined: i64, sequence: u64) -> Self {
        Self { member, joined, sequence, commits: Vec::new(), topics: Vec::new() }
    }

    /// Adds a commit.
    #[must_use]
    pub fn commit(mut self, held: Held, next: i64) -> Self {
        self.commits.push(Commit { held, next, metadata: String::new() });
        self
    }

    /// Adds a topic with the number of its partitions, or 0 if the member reads it no more.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>, partitions: u32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }
}

/// A beat that also gives up partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The beat.
    pub beat: Beat,
    /// Partitions to give up.
    pub partitions: Vec<Held>,
}

/// Removal of a member that was not heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    /// The member that saw the silence and the offset of its join; None for an administrator.
    pub by: Option<(MemberId, i64)>,
    /// The member to remove.
    pub member: MemberId,
    /// Offset of its join.
    pub joined: i64,
    /// Number of its last beat that was seen. A later beat makes the removal void.
    pub sequence: u64,
}

/// Forced move of a partition whose owner did not release it in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// The partition, and the lease to end.
    pub held: Held,
    /// The member that asks for it.
    pub by: MemberId,
}

/// New position of a partition, set by an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The partition.
    pub partition: GroupPartition,
    /// Offset of the next record.
    pub next: i64,
    /// Resets also a partition that has an owner, which gets a new lease.
    pub force: bool,
}

/// Record of the coordination partition. The key of the record is the name of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupRecord {
    /// A member joins.
    Join(Join),
    /// A member lives and commits.
    Beat(Beat),
    /// A member gives up partitions.
    Release(Release),
    /// A member gives up everything and goes.
    Leave(Beat),
    /// A silent member is removed.
    Evict(Evict),
    /// A partition is taken from its owner.
    Revoke(Revoke),
    /// An administrator sets a position.
    Reset(Reset),
    /// The state, for newcomers.
    Snapshot(Box<Snapshot>),
    /// An administrator forgets the positions of a group without members.
    Delete,
}

/// Reason why bytes are no record. Readers pass over them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The value is shorter than version and kind, or longer than [`MAX_RECORD_LEN`].
    #[error("a group record of {0} bytes")]
    Length(usize),
    /// A later version wrote it.
    #[error("a group record of version {0}")]
    Version(u8),
    /// A later version added this kind.
    #[error("a group record of the unknown kind {0}")]
    Kind(u8),
    /// The fields do not decode, or exceed a limit.
    #[error("a malformed group record: {0}")]
    Malformed(String),
}

impl GroupRecord {
    /// Encodes the record as a value.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] or [`DecodeError::Length`] if readers would refuse it.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.check()?;
        let mut bytes = vec![VERSION, self.kind()];
        let written = match self {
            Self::Join(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Beat(fields) | Self::Leave(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Release(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Evict(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Revoke(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Reset(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Snapshot(fields) => rmp_serde::encode::write(&mut bytes, fields),
            Self::Delete => rmp_serde::encode::write(&mut bytes, &[(); 0]),
        };
        written.map_err(|error| DecodeError::Malformed(error.to_string()))?;
        if bytes.len() > MAX_RECORD_LEN { Err(DecodeError::Length(bytes.len())) } else { Ok(bytes) }
    }

    /// Decodes a value. Fields that a later version adds at the end are skipped.
    ///
    /// # Errors
    /// The reason why the bytes are no record of this version.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let [version, kind, fields @ ..] = value else { return Err(DecodeError::Length(value.len())) };
        if value.len() > MAX_RECORD_LEN {
            return Err(DecodeError::Length(value.len()));
        }
        if *version != VERSION {
            return Err(DecodeError::Version(*version));
        }
        let record = match *kind {
            0 => Self::Join(read(fields)?),
            1 => Self::Beat(read(fields)?),
            2 => Self::Release(read(fields)?),
            3 => Self::Leave(read(fields)?),
            4 => Self::Evict(read(fields)?),
            5 => Self::Revoke(read(fields)?),
            6 => Self::Reset(read(fields)?),
            7 => Self::Snapshot(Box::new(read(fields)?)),
            8 => Self::Delete,
            kind => return Err(DecodeError::Kind(kind)),
        };
        record.check()?;
        Ok(record)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Join(_) => 0,
            Self::Beat(_) => 1,
            Self::Release(_) => 2,
            Self::Leave(_) => 3,
            Self::Evict(_) => 4,
            Self::Revoke(_) => 5,
            Self::Reset(_) => 6,
            Self::Snapshot(_) => 7,
            Self::Delete => 8,
        }
    }

    /// Verifies the limits.
    fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Join(join) => check_join(join),
            Self::Beat(beat) | Self::Leave(beat) => check_beat(beat),
            Self::Release(release) => {
                release.partitions.iter().try_for_each(|held| check_partition(&held.partition))?;
                check_beat(&release.beat)
            }
            Self::Evict(_) | Self::Delete => Ok(()),
            Self::Revoke(revoke) => check_partition(&revoke.held.partition),
            Self::Reset(reset) => {
                refuse_if(reset.next < 0, "a negative position")?;
                check_partition(&reset.partition)
            }
            Self::Snapshot(snapshot) => {
                refuse_if(!snapshot.state.is_consistent(), "a snapshot that no records lead to")
            }
        }
    }
}

fn read<'a, T: Deserialize<'a>>(fields: &'a [u8]) -> Result<T, DecodeError> {
    rmp_serde::from_slice(fields).map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn refuse_if(is_wrong: bool, problem: &str) -> Result<(), DecodeError> {
    if is_wrong { Err(DecodeError::Malformed(problem.to_owned())) } else { Ok(()) }
}

fn check_partition(partition: &GroupPartition) -> Result<(), DecodeError> {
    let is_valid = is_name(&partition.topic) && (partition.partition as usize) < MAX_PARTITIONS;
    refuse_if(!is_valid, "a partition that no topic has")
}

fn check_topics(topics: &[(String, u32)]) -> Result<(), DecodeError> {
    refuse_if(topics.len() > MAX_TOPICS, "too many topics")?;
    let is_valid = |(name, count): &(String, u32)| is_name(name) && *count as usize <= MAX_PARTITIONS;
    refuse_if(!topics.iter().all(is_valid), "a topic name or a number of partitions out of range")
}

fn check_join(join: &Join) -> Result<(), DecodeError> {
    refuse_if(join.instance.as_deref().is_some_and(|name| !is_name(name)), "an instance name out of range")?;
    refuse_if(!(1..=MAX_WEIGHT).contains(&join.weight), "a weight out of range")?;
    refuse_if(join.algorithm == 0, "no algorithm")?;
    check_topics(&join.topics)
}

fn check_beat(beat: &Beat) -> Result<(), DecodeError> {
    for commit in &beat.commits {
        check_partition(&commit.held.partition)?;
        refuse_if(commit.next < 0, "a negative position")?;
        refuse_if(commit.metadata.len() > MAX_METADATA_LEN, "metadata that is too long")?;
    }
    check_topics(&beat.topics)
}
