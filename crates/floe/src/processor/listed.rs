//! A running processor in the health of its client.

use std::sync::{Arc, Weak};

use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;

use super::{report::Counters, settings::ProcessorSettings};
use crate::{
    Result,
    client_core::{ClientComponent, ClientCore},
    health::ComponentHealth,
    topic::Topic,
};

/// Topics, group and counters of a processor, listed by its client until it is dropped.
pub(super) struct ListedProcessor {
    from: Topic,
    to: Topic,
    group: Option<Arc<str>>,
    counters: Arc<Counters>,
}

impl ListedProcessor {
    pub(super) fn new(
        client: &ClientCore,
        settings: &ProcessorSettings,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let (from, to, group) = (settings.from.clone(), settings.to.clone(), settings.group.clone());
        let listed = Arc::new(Self { from, to, group, counters });
        let weak: Weak<Self> = Arc::downgrade(&listed);
        client.register(weak);
        listed
    }
}

impl ClientComponent for ListedProcessor {
    /// Does nothing: the client closes the consumer of the processor, which ends it, and its producers.
    fn close_by(&self, _: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn health(&self) -> ComponentHealth {
        let stats = self.counters.stats();
        let mut health = ComponentHealth::new("processor", &self.from);
        health.to = Some(self.to.clone());
        health.group = self.group.clone();
        health.counters = vec![
            ("read", stats.read),
            ("handled", stats.handled),
            ("produced", stats.produced),
            ("retries", stats.retries),
            ("dead letters", stats.dead_letters),
        ];
        health
    }
}
