//! Starts a consumer of a shared group.

use std::sync::Arc;

use super::{
    super::{
        Consumer, ConsumerCore,
        group::{self, MemberHandle, MemberSettings, Sharing},
        partition_discovery::PartitionOpener,
        prefetch_queue::PrefetchQueue,
        start_position::StartAt,
    },
    Commits, ConsumerSpec,
};
use crate::{Error, ErrorKind, Result, engine::Capabilities};

/// Longest name of a shared group, in bytes.
const MAX_GROUP_LEN: usize = 255;

impl Sharing {
    /// The way to read another topic as the member of this consumer.
    pub(crate) fn of<C>(consumer: &Consumer<C>) -> Self {
        Self::With(consumer.member().map(MemberHandle::link).cloned())
    }
}

impl ConsumerSpec {
    pub(super) fn check_shared(
        &self,
        sharing: &Sharing,
        engine: &'static str,
        capabilities: Capabilities,
    ) -> Result<()> {
        let invalid = |problem: &'static str| Err(Error::new(ErrorKind::InvalidConfig, problem));
        if !capabilities.offsets || !capabilities.dense_offsets || !capabilities.commit_offsets {
            return Err(Error::unsupported("shared groups", engine).with_topic(&self.topic));
        }
        let Some(group) = self.group.as_deref() else {
            return invalid("a shared consumer needs a group");
        };
        if group.len() > MAX_GROUP_LEN {
            return invalid("the name of a shared group has at most 255 bytes");
        }
        if self.partitions.is_some() || self.mirror.is_some() {
            return invalid("the group assigns the partitions of a shared consumer: it cannot choose them");
        }
        if self.stop_at_end {
            return invalid("a shared consumer has no end: its partitions come and go");
        }
        match sharing {
            Sharing::Alone(membership) => membership.check(),
            Sharing::With(_) if self.tasks.is_some() => {
                invalid("a processor that handles its records exactly once is a member of its own")
            }
            Sharing::With(None) => {
                invalid("the other consumer is no member of a shared group: start it with `shared`")
            }
            Sharing::With(Some(link)) if !link.is_of(group, self.client.engine()) => {
                invalid("a member has one group and one client: take those of the other consumer")
            }
            Sharing::With(Some(_)) => Ok(()),
        }
    }

    /// Joins a shared group. The partitions come later, through the queue.
    pub(super) async fn start_shared(
        self,
        sharing: Sharing,
        count: usize,
        start: StartAt,
    ) -> Result<ConsumerCore> {
        let queue = PrefetchQueue::open_ended(self.prefetch_bytes, self.prefetch_records);
        let opener = PartitionOpener {
            engine: Arc::clone(self.client.engine()),
            queue: Arc::clone(&queue),
            topic: self.topic.clone(),
            fetch: self.settings.fetch.clone(),
            ack_mode: self.settings.ack_mode,
            history: self.history(),
        };
        let settings = MemberSettings {
            group: self.group.clone().unwrap_or_else(|| Arc::from("")),
            commit: self.settings.commit,
            start,
            partitions: u32::try_from(count).unwrap_or(u32::MAX),
            tasks: self.tasks.as_deref().cloned(),
        };
        let member = group::start(self.client.clone(), opener, (sharing, settings)).await?;
        Ok(self.assemble(queue, Vec::new(), Commits::Member(member), None))
    }
}
