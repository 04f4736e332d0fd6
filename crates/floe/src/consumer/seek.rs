//! Moves a consumer within one partition.

use std::sync::Arc;

use super::{
    Consumer,
    fetch::{Fetch, Outlet},
    gap::{Gap, GapReason},
    offset_check::OffsetCheck,
    partition::AbortOnDrop,
    prefetch_queue::Prefetched,
    start_position::{StartAt, resolve},
};
use crate::{Error, ErrorKind, Result};

impl<C> Consumer<C> {
    /// Continues elsewhere in one partition, also in one that has ended. Drops the prefetched records of the partition.
    /// Acknowledgements of records that were handed out before have no effect any more. Records that were finished before
    /// are committed first, unless the policy is [`CommitPolicy::Manual`](super::CommitPolicy::Manual); only
    /// [`Consumer::commit`] moves the stored offset back.
    ///
    /// # Errors
    /// [`ErrorKind::PartitionNotFound`] for a partition that this consumer does not read, [`ErrorKind::OffsetOutOfRange`],
    /// [`ErrorKind::Unsupported`] where the engine has no offsets, [`ErrorKind::Closed`]. The position is unchanged then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the position unchanged.
    pub async fn seek(&mut self, partition: u32, to: StartAt) -> Result<()> {
        let core = &mut self.core;
        let info = core.shared.engine.info();
        if !info.capabilities.offsets {
            return Err(Error::unsupported("offsets", info.name));
        }
        if to.needs_group() && core.group.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidCommand,
                "the consumer has no group with a stored offset",
            ));
        }
        let Some(index) = core.indexes.get(&partition).copied() else {
            return Err(Error::new(
                ErrorKind::PartitionNotFound,
                format!("the consumer does not read partition {partition}"),
            ));
        };
        if core.shared.queue.is_closed() {
            return Err(Error::closed("consumer"));
        }
        let at = core.shared.topic.partition(partition);
        core.shared.commit_by_policy().await?;
        let position = resolve(&core.shared.engine, &at, to, core.group.as_ref()).await?;

        let queue = Arc::clone(&core.shared.queue);
        let generation = queue.restart(index);
        core.current.take_if(|(current, _)| *current == index);
        core.handed_out.take_if(|(handed_out, _)| *handed_out == index);
        core.chunk.forget(index);
        core.ended = false;
        if let Some(from) = position.wanted {
            let gap = Gap::new(at.clone(), from..position.next, GapReason::Evicted);
            queue.push(index, generation, Prefetched::Gap(gap));
        }
        core.telemetry.stands_at(index, position.next);
        let engine = Arc::clone(&core.shared.engine);
        let settings = core.settings.fetch.clone();
        if let Some(partition) = core.partition(index) {
            partition.acks.restart(position.next);
            partition.acks.history().begins(position.next, true);
            partition.position = position.next;
            let check = OffsetCheck::new(position.next, partition.end, settings.holes(info.capabilities));
            let fetch = Fetch::new(engine, at, settings, check);
            partition.task = Some(AbortOnDrop::spawn(fetch.run(Outlet { queue, index, generation })));
        }
        Ok(())
    }
}
