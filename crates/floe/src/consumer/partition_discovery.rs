//! Discovers partitions that are added to a topic while it is read.
//!
//! They are read from their beginning, because all their records are newer than the consumer.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt};
use tokio::{sync::mpsc, time::sleep};

use super::{
    ack_tracker::AckTracker,
    fetch::{Fetch, FetchSettings, Outlet},
    gap::{Gap, GapReason},
    offset_check::OffsetCheck,
    partition::{AbortOnDrop, Partition},
    prefetch_queue::{PrefetchQueue, Prefetched},
    reconnect::may_pass,
    settings::AckMode,
    start_position::{StartAt, StartPosition, resolve, resolve_stored},
    task_facts::TaskFacts,
};
use crate::{
    Error, ErrorKind, Result,
    engine::SharedEngine,
    history::ReaderHistory,
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
    pub(super) history: ReaderHistory,
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
        self.open_for((index, generation), number, (next, end), None)
    }

    /// As [`PartitionOpener::open`], for a task.
    fn open_for(
        &self,
        (index, generation): (usize, u64),
        number: u32,
        (next, end): (i64, Option<i64>),
        task: Option<TaskFacts>,
    ) -> Partition {
        let at = self.topic.partition(number);
        let holes = self.fetch.holes(self.engine.info().capabilities);
        let check = OffsetCheck::new(next, end, holes);
        let fetch = Fetch::new(Arc::clone(&self.engine), at.clone(), self.fetch.clone(), check);
        let outlet = Outlet { queue: Arc::clone(&self.queue), index, generation };
        let acks =
            AckTracker::new(self.ack_mode, next).with_history(self.history.partition(&at)).for_task(task);
        let acks = Arc::new(acks);
        let task = Some(AbortOnDrop::spawn(fetch.run(outlet)));
        Partition { at, position: next, end, acks, task }
    }

    /// The gap before the first record of a partition.
    pub(super) fn gap_before(&self, number: u32, position: &StartPosition) -> Option<Prefetched> {
        let from = position.wanted?;
        let at = self.topic.partition(number);
        Some(Prefetched::Gap(Gap::new(at, from..position.next, GapReason::Evicted)))
    }

    /// Reads the partitions that are added to the topic, of which `known` are open, until the consumer is closed.
    pub(super) async fn discover(self, mut known: u32, group: Option<Arc<str>>) {
        let start = if group.is_some() { StartAt::StoredOrBeginning } else { StartAt::Beginning };
        let (counts, mut news) = mpsc::channel(1);
        let _announcing = AbortOnDrop::spawn(self.clone().announce(counts));
        while let Some(news) = news.recv().await {
            while news.as_ref().is_ok_and(|count| known < *count) {
                let Some(found) = self.find_start(known, start, group.as_ref(), None).await else { return };
                if let Ok(position) = &found {
                    let (topic, from) = (&self.topic, position.next);
                    tracing::info!(%topic, partition = known, from, "new partition");
                }
                self.join(None, known, found, None);
                known += 1;
            }
        }
    }

    /// Announces the number of partitions of the topic each time that it changes, and its deletion as an error. Ends with the
    /// consumer or the receiver, and where topics cannot be watched.
    pub(super) async fn announce(self, counts: mpsc::Sender<Result<u32>>) {
        while !self.queue.is_closed() && !counts.is_closed() {
            match self.engine.watch().await {
                Ok(mut events) => {
                    while let Some(event) = or_closed(&counts, events.next()).await {
                        let news = match event {
                            Ok(TopicEvent::Updated(info)) if info.name == self.topic => Ok(info.partitions),
                            Ok(TopicEvent::Deleted(name)) if name == self.topic => {
                                let error = Error::new(ErrorKind::TopicNotFound, "the topic was deleted");
                                Err(error.with_topic(&self.topic))
                            }
                            Ok(_) => continue,
                            Err(_) => break,
                        };
                        // A receiver that is gone ends the watch with the next look.
                        let _ = counts.send(news).await;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unsupported) => return,
                Err(error) => tracing::debug!(topic = %self.topic, %error, "the watch of topics failed"),
            }
            or_closed(&counts, sleep(RETRY_DELAY).map(Some)).await;
        }
    }

    /// Looks up where reading begins: at `next` if there is one, else as `start` and the stored offset of the group say.
    /// Retries failures that pass. `None` once the consumer is closed.
    pub(super) async fn find_start(
        &self,
        number: u32,
        start: StartAt,
        group: Option<&Arc<str>>,
        next: Option<i64>,
    ) -> Option<Result<StartPosition>> {
        let at = self.topic.partition(number);
        while !self.queue.is_closed() {
            let found = match next {
                Some(_) => resolve_stored(&self.engine, &at, StartAt::StoredOrBeginning, next).await,
                None => resolve(&self.engine, &at, start, group).await,
            };
            match found {
                // A new partition may not be known to all nodes yet.
                Err(error) if may_pass(&error) || error.kind() == ErrorKind::PartitionNotFound => {
                    tracing::debug!(topic = %at.topic, partition = number, %error, "partition not ready");
                    sleep(RETRY_DELAY).await;
                }
                found => return Some(found),
            }
        }
        None
    }

    /// Gives a partition to the consumer, under a new index or the one that it had before. Without a start its only item is
    /// the error. Returns the index, and the acknowledgements of a partition that can be read.
    pub(super) fn join(
        &self,
        again: Option<usize>,
        number: u32,
        found: Result<StartPosition>,
        task: Option<TaskFacts>,
    ) -> (Option<usize>, Option<Arc<AckTracker>>) {
        let at = self.topic.partition(number);
        let position = match found {
            Ok(position) => position,
            Err(error) => {
                tracing::warn!(topic = %at.topic, partition = number, %error, "a partition cannot be read");
                let unreadable = |index, generation| {
                    let queue = Arc::clone(&self.queue);
                    let task = Some(AbortOnDrop::spawn(async move { queue.end(index, generation, None) }));
                    let acks = Arc::new(AckTracker::new(self.ack_mode, 0));
                    Partition { at, position: 0, end: None, acks, task }
                };
                return (self.queue.join(again, Some(Prefetched::Error(error)), unreadable), None);
            }
        };
        let mut acks = None;
        let index = self.queue.join(again, self.gap_before(number, &position), |index, generation| {
            let partition = self.open_for((index, generation), number, (position.next, None), task);
            acks = Some(Arc::clone(&partition.acks));
            partition
        });
        (index, acks)
    }
}

/// Waits for a result, or for the end of the receiver.
async fn or_closed<T>(
    counts: &mpsc::Sender<Result<u32>>,
    wanted: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = counts.closed() => None,
        wanted = wanted => wanted,
    }
}
