//! Watches for changes to the topics of a store.

use std::{future::poll_fn, sync::Arc};

use floe_core::{
    Result,
    topic::{TopicChanges, TopicEvent},
};
use floe_log::{Store, TopicWatch};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{EmbeddedEngine, errors::log_error};

struct StoreWatch {
    store: Arc<Store>,
    catalog: TopicWatch,
    /// The generation of the catalog that `changes` reflects; `None` before the first comparison.
    seen: Option<u64>,
    changes: TopicChanges,
    closed: bool,
}

/// Returns the present topics, then every change.
pub(super) fn watch(store: Arc<Store>) -> BoxStream<'static, Result<TopicEvent>> {
    let catalog = store.subscribe_topics();
    let watch = StoreWatch { store, catalog, seen: None, changes: TopicChanges::default(), closed: false };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl StoreWatch {
    async fn next(&mut self) -> Option<Result<TopicEvent>> {
        loop {
            if let Some(event) = self.changes.next_event() {
                return Some(Ok(event));
            }
            if self.closed {
                return None;
            }
            match self.changed().await {
                Ok(generation) => {
                    self.seen = Some(generation);
                    self.changes.update(EmbeddedEngine::describe_all(&self.store));
                }
                Err(error) => {
                    self.closed = true;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn changed(&self) -> Result<u64> {
        let Some(seen) = self.seen else {
            return Ok(self.catalog.generation());
        };
        poll_fn(|cx| self.catalog.poll_changed(seen, cx)).await.map_err(log_error)
    }
}
