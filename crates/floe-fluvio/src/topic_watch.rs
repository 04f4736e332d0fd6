//! Watches for changes to the topics of the cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use floe_core::{
    Error, Result,
    topic::{Topic, TopicEvent, TopicInfo},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use super::metadata::Metadata;

struct TopicWatch {
    metadata: Arc<Metadata>,
    changes: watch::Receiver<u64>,
    known: BTreeMap<Topic, TopicInfo>,
    waiting: VecDeque<TopicEvent>,
    closed: watch::Receiver<bool>,
    ended: bool,
}

/// Returns the present topics, then every change.
pub(super) fn watch(
    metadata: Arc<Metadata>,
    closed: watch::Receiver<bool>,
) -> BoxStream<'static, Result<TopicEvent>> {
    let mut changes = metadata.watch_topics();
    // The first comparison reports all topics.
    changes.mark_changed();
    let (known, waiting) = (BTreeMap::new(), VecDeque::new());
    let watch = TopicWatch { metadata, changes, known, waiting, closed, ended: false };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl TopicWatch {
    async fn next(&mut self) -> Option<Result<TopicEvent>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            tokio::select! {
                biased;
                () = async { drop(self.closed.wait_for(|closed| *closed).await) } => {
                    self.ended = true;
                    return Some(Err(Error::closed("engine")));
                }
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        self.ended = true;
                        return Some(Err(Error::closed("engine")));
                    }
                    self.compare();
                }
            }
        }
    }

    /// Queues the differences since the last call. Changes that cancel each other out in between are not reported; a topic
    /// that was recreated with other settings is.
    fn compare(&mut self) {
        let now = self.metadata.cluster().topic_infos();
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
}
