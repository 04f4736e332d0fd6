//! Discovers partitions that are added to a topic while it is read.
//!
//! They are read from their beginning, because all their records are newer than the consumer.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::sleep;

use super::{
    ack_tracker::AckTracker,
    fetch::{Fetch, FetchSettings, Outlet},
    gap::{Gap, GapReason},
    offset_check::OffsetCheck,
    partition::{AbortOnDrop, Partition},
    prefetch_queue::{PrefetchQueue, Prefetched},
    reconnect::may_pass,
    settings::AckMode,
    start_position::{StartAt, StartPosition, resolve},
};
use crate::{
    Error, ErrorKind,
    engine::SharedEngine,
    topic::{Topic, TopicEvent},
};

/// Delay before a retry.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Opens the partitions of a consumer.
#[derive(Debug, Clone)]
pub(super) struct PartitionOpener {
    pub(super) engine: SharedEngine,
    pub(super) queue: Arc<PrefetchQueue>,
    pub(super) topic: Topic,
    pub(super) fetch: FetchSettings,
    pub(super) ack_mode: AckMode,
}

impl PartitionOpener {
    /// Starts the fetch task of one partition, for a queue of this index and generation.
    pub(super) fn open(
        &self,
        (index, generation): (usize, u64),
        number: u32,
        next: i64,
        end: Option<i64>,
    ) -> Partition {
        let at = self.topic.partition(number);
        let holes = self.fetch.holes(self.engine.info().capabilities);
        let check = OffsetCheck::new(next, end, holes);
        let fetch = Fetch::new(Arc::clone(&self.engine), at.clone(), self.fetch.clone(), check);
        let outlet = Outlet { queue: Arc::clone(&self.queue), index, generation };
        let acks = Arc::new(AckTracker::new(self.ack_mode, next));
        let task = Some(AbortOnDrop::spawn(fetch.run(outlet)));
        Partition { at, position: next, end, acks, task }
    }

    /// The gap before the first record of a partition.
    pub(super) fn gap_before(&self, number: u32, position: &StartPosition) -> Option<Prefetched> {
        let from = position.wanted?;
        let at = self.topic.partition(number);
        Some(Prefetched::Gap(Gap::new(at, from..position.next, GapReason::Evicted)))
    }

    /// Watches the topic, of which `known` partitions are open, until the consumer is closed.
    pub(super) async fn discover(self, mut known: u32, group: Option<Arc<str>>) {
        while !self.queue.is_closed() {
            match self.engine.watch().await {
                Ok(mut events) => {
                    while let Some(Ok(event)) = events.next().await {
                        let TopicEvent::Updated(info) = event else { continue };
                        if info.name != self.topic {
                            continue;
                        }
                        while known < info.partitions {
                            self.join(known, group.as_ref()).await;
                            known += 1;
                        }
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unsupported) => return,
                Err(error) => tracing::debug!(topic = %self.topic, %error, "the watch of topics failed"),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Adds one partition.
    async fn join(&self, number: u32, group: Option<&Arc<str>>) {
        let at = self.topic.partition(number);
        let start = if group.is_some() { StartAt::StoredOrBeginning } else { StartAt::Beginning };
        while !self.queue.is_closed() {
            match resolve(&self.engine, &at, start, group).await {
                Ok(position) => {
                    tracing::info!(topic = %at.topic, partition = number, from = position.next, "new partition");
                    let first = self.gap_before(number, &position);
                    self.queue.join(None, first, |index, generation| {
                        self.open((index, generation), number, position.next, None)
                    });
                    return;
                }
                // The new partition may not be known to all nodes yet.
                Err(error) if may_pass(&error) || error.kind() == ErrorKind::PartitionNotFound => {
                    tracing::debug!(topic = %at.topic, partition = number, %error, "new partition not ready");
                    sleep(RETRY_DELAY).await;
                }
                Err(error) => {
                    self.join_failed(number, error);
                    return;
                }
            }
        }
    }

    /// Adds a partition that cannot be read, whose only item is the error.
    fn join_failed(&self, number: u32, error: Error) {
        let at = self.topic.partition(number);
        tracing::warn!(topic = %at.topic, partition = number, %error, "a new partition cannot be read");
        self.queue.join(None, Some(Prefetched::Error(error)), |index, generation| {
            let queue = Arc::clone(&self.queue);
            let task = Some(AbortOnDrop::spawn(async move { queue.end(index, generation, None) }));
            Partition { at, position: 0, end: None, acks: Arc::new(AckTracker::new(self.ack_mode, 0)), task }
        });
    }
}
