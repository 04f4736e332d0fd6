//! Takes up the partitions that a topic gets while it is read.
//!
//! They are read from their beginning: everything in them came after the consumer had started.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::time::sleep;

use super::{
    AckMode, Gap, GapReason, Partition, StartAt,
    ack_tracker::AckTracker,
    fetch::{AbortOnDrop, Fetch, FetchSettings, Outlet},
    offset_check::OffsetCheck,
    prefetch_queue::{PrefetchQueue, Prefetched},
    reconnect::may_pass,
    start_position::{StartPosition, resolve},
};
use crate::{
    Error, ErrorKind,
    engine::SharedEngine,
    topic::{Topic, TopicEvent},
};

/// Before something that failed is tried again.
const REST: Duration = Duration::from_secs(1);

/// How the partitions of a consumer are read.
#[derive(Debug, Clone)]
pub(super) struct PartitionOpener {
    pub(super) engine: SharedEngine,
    pub(super) queue: Arc<PrefetchQueue>,
    pub(super) topic: Topic,
    pub(super) fetch: FetchSettings,
    pub(super) ack_mode: AckMode,
}

impl PartitionOpener {
    /// Begins to read one partition.
    pub(super) fn open(&self, index: usize, number: u32, next: i64, end: Option<i64>) -> Partition {
        let at = self.topic.partition(number);
        let holes = self.fetch.holes(self.engine.info().capabilities);
        let check = OffsetCheck::new(next, end, holes);
        let fetch = Fetch::new(Arc::clone(&self.engine), at.clone(), self.fetch.clone(), check);
        let outlet = Outlet { queue: Arc::clone(&self.queue), index, generation: 0 };
        let acks = Arc::new(AckTracker::new(self.ack_mode, next));
        let task = AbortOnDrop::spawn(fetch.run(outlet));
        Partition { at, position: next, end, acks, task }
    }

    /// What the application is told before the first record of a partition.
    pub(super) fn gap_before(&self, number: u32, place: &StartPosition) -> Option<Prefetched> {
        let from = place.wanted?;
        let at = self.topic.partition(number);
        Some(Prefetched::Gap(Gap { at, from, to: place.next, reason: GapReason::Evicted }))
    }

    /// Follows the topic, of which `known` partitions are read, until nothing more is wanted.
    pub(super) async fn follow(self, mut known: u32, group: Option<Arc<str>>) {
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
                Err(error) => tracing::debug!(topic = %self.topic, %error, "no news of topics"),
            }
            sleep(REST).await;
        }
    }

    /// Takes up one partition.
    async fn join(&self, number: u32, group: Option<&Arc<str>>) {
        let at = self.topic.partition(number);
        let start = if group.is_some() { StartAt::StoredOrBeginning } else { StartAt::Beginning };
        while !self.queue.is_closed() {
            match resolve(&self.engine, &at, start, group).await {
                Ok(place) => {
                    tracing::info!(topic = %at.topic, partition = number, from = place.next, "new partition");
                    let first = self.gap_before(number, &place);
                    self.queue.join(first, |index| self.open(index, number, place.next, None));
                    return;
                }
                // The partition that was announced may not be everywhere yet.
                Err(error) if may_pass(&error) || error.kind() == ErrorKind::PartitionNotFound => {
                    tracing::debug!(topic = %at.topic, partition = number, %error, "new partition not ready");
                    sleep(REST).await;
                }
                Err(error) => {
                    self.join_failed(number, error);
                    return;
                }
            }
        }
    }

    /// A partition that cannot be read, which the application is told.
    fn join_failed(&self, number: u32, error: Error) {
        let at = self.topic.partition(number);
        tracing::warn!(topic = %at.topic, partition = number, %error, "a new partition cannot be read");
        self.queue.join(Some(Prefetched::Error(error)), |index| {
            let queue = Arc::clone(&self.queue);
            let task = AbortOnDrop::spawn(async move { queue.end(index, 0, None) });
            Partition { at, position: 0, end: None, acks: Arc::new(AckTracker::new(self.ack_mode, 0)), task }
        });
    }
}
