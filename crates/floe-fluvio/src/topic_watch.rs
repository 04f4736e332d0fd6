//! Watches for changes to the topics of the cluster.

use std::sync::Arc;

use floe_core::{
    Error, Result,
    topic::{TopicChanges, TopicEvent},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use super::metadata::Metadata;

struct TopicWatch {
    metadata: Arc<Metadata>,
    generation: watch::Receiver<u64>,
    changes: TopicChanges,
    closed: watch::Receiver<bool>,
    ended: bool,
}

/// Returns the present topics, then every change.
pub(super) fn watch(
    metadata: Arc<Metadata>,
    closed: watch::Receiver<bool>,
) -> BoxStream<'static, Result<TopicEvent>> {
    let mut generation = metadata.watch_topics();
    // The first comparison reports all topics.
    generation.mark_changed();
    let watch = TopicWatch { metadata, generation, changes: TopicChanges::default(), closed, ended: false };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl TopicWatch {
    async fn next(&mut self) -> Option<Result<TopicEvent>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.changes.next_event() {
                return Some(Ok(event));
            }
            tokio::select! {
                biased;
                () = async { drop(self.closed.wait_for(|closed| *closed).await) } => {
                    self.ended = true;
                    return Some(Err(Error::closed("engine")));
                }
                changed = self.generation.changed() => {
                    if changed.is_err() {
                        self.ended = true;
                        return Some(Err(Error::closed("engine")));
                    }
                    self.changes.update(self.metadata.cluster().topic_infos());
                }
            }
        }
    }
}
