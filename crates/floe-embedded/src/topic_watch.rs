//! Tells what changes among the topics of a store.

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

struct Watch {
    store: Arc<Store>,
    changes: TopicWatch,
    /// The generation of the catalog that `known` shows; `None` before the first look.
    seen: Option<u64>,
    known: BTreeMap<Topic, TopicInfo>,
    waiting: VecDeque<TopicEvent>,
    closed: bool,
}

/// The topics now, then every change.
pub(super) fn watch(store: Arc<Store>) -> BoxStream<'static, Result<TopicEvent>> {
    let changes = store.subscribe_topics();
    let watch =
        Watch { store, changes, seen: None, known: BTreeMap::new(), waiting: VecDeque::new(), closed: false };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl Watch {
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

    /// Changes that undo each other between two looks are not seen, except that a topic made anew is.
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
