//! Watches for changes to the topics of a store.

use std::{collections::BTreeMap, collections::VecDeque, future::poll_fn, sync::Arc};

use floe_core::{
    Result,
    topic::{Topic, TopicEvent, TopicInfo},
};
use floe_log::{Store, TopicWatch};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{EmbeddedEngine, errors::log_error};

struct StoreWatch {
    store: Arc<Store>,
    changes: TopicWatch,
    /// The generation of the catalog that `known` reflects; `None` before the first comparison.
    seen: Option<u64>,
    known: BTreeMap<Topic, TopicInfo>,
    waiting: VecDeque<TopicEvent>,
    closed: bool,
}

/// Returns the present topics, then every change.
pub(super) fn watch(store: Arc<Store>) -> BoxStream<'static, Result<TopicEvent>> {
    let changes = store.subscribe_topics();
    let watch = StoreWatch {
        store,
        changes,
        seen: None,
        known: BTreeMap::new(),
        waiting: VecDeque::new(),
        closed: false,
    };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl StoreWatch {
    async fn next(&mut self) -> Option<Result<TopicEvent>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            if self.closed {
                return None;
            }
            match self.changed().await {
                Ok(generation) => self.compare(generation),
                Err(error) => {
                    self.closed = true;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn changed(&self) -> Result<u64> {
        let Some(seen) = self.seen else {
            return Ok(self.changes.generation());
        };
        poll_fn(|cx| self.changes.poll_changed(seen, cx)).await.map_err(log_error)
    }

    /// Queues the differences since the last call. Changes that cancel each other out in between are not reported; a
    /// recreated topic is.
    fn compare(&mut self, generation: u64) {
        self.seen = Some(generation);
        let now: BTreeMap<_, _> = EmbeddedEngine::describe_all(&self.store)
            .into_iter()
            .map(|info| (info.name.clone(), info))
            .collect();
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
