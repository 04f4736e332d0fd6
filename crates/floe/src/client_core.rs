//! The core of a client: the parts that producers, consumers and the admin need, without the client itself.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    Result, WallClock,
    config::Settings,
    engine::{EngineInfo, SharedEngine},
    health::ComponentHealth,
    history::History,
    layer::{Breakers, LastSuccess},
    telemetry::Telemetry,
};

/// The engine of a client with its layers, the settings, the telemetry, and the list of components to close. Cheap to
/// clone; all clones share the parts.
#[derive(Clone)]
pub(crate) struct ClientCore(Arc<EngineOfClient>);

/// The engine that calls go to, and what all engines of a client share.
struct EngineOfClient {
    engine: SharedEngine,
    parts: Arc<CoreParts>,
}

struct CoreParts {
    telemetry: Telemetry,
    history: History,
    breakers: Option<Breakers>,
    last_success: LastSuccess,
    settings: Settings,
    url: String,
    clock: WallClock,
    /// Open producers, consumers, processors and outboxes, which flush and commit on close.
    open: Mutex<Vec<Weak<dyn ClientComponent>>>,
}

/// A part of a client that its health lists, and that is closed before the engine.
pub(crate) trait ClientComponent: Send + Sync {
    /// Flushes or commits until `deadline` at most. Closing twice is success.
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>>;

    /// Returns the use of its memory, its counters and its problems.
    fn health(&self) -> ComponentHealth;
}

impl ClientCore {
    pub(crate) fn new(
        engine: SharedEngine,
        (telemetry, breakers, last_success): (Telemetry, Option<Breakers>, LastSuccess),
        history: History,
        settings: Settings,
        (url, clock): (String, WallClock),
    ) -> Self {
        let open = Mutex::default();
        let parts =
            Arc::new(CoreParts { telemetry, history, breakers, last_success, settings, url, clock, open });
        Self(Arc::new(EngineOfClient { engine, parts }))
    }

    /// Returns the same client with another engine in place of its own, such as that with one more layer.
    pub(crate) fn over(&self, engine: SharedEngine) -> Self {
        Self(Arc::new(EngineOfClient { engine, parts: Arc::clone(&self.0.parts) }))
    }

    /// The engine, layers included.
    pub(crate) fn engine(&self) -> &SharedEngine {
        &self.0.engine
    }

    /// Name and capabilities of the engine.
    pub(crate) fn info(&self) -> EngineInfo {
        self.0.engine.info()
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.parts.telemetry
    }

    pub(crate) fn history(&self) -> &History {
        &self.0.parts.history
    }

    pub(crate) fn breakers(&self) -> Option<&Breakers> {
        self.0.parts.breakers.as_ref()
    }

    pub(crate) fn last_success(&self) -> &LastSuccess {
        &self.0.parts.last_success
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.parts.url
    }

    pub(crate) fn clock(&self) -> &WallClock {
        &self.0.parts.clock
    }

    /// Closes `item` together with the client.
    pub(crate) fn register(&self, item: Weak<dyn ClientComponent>) {
        let mut open = self.0.parts.open.lock();
        // Components come and go; without the sweep the list would grow for the life of the client.
        open.retain(|old| old.strong_count() > 0);
        open.push(item);
    }

    /// Health of all open components.
    pub(crate) fn components(&self) -> Vec<ComponentHealth> {
        let open: Vec<_> = self.0.parts.open.lock().iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|item| item.health()).collect()
    }

    /// Closes all registered components, then the engine. Returns the first failure, after everything is closed.
    pub(crate) async fn close_by(&self, deadline: Instant) -> Result<()> {
        let open = std::mem::take(&mut *self.0.parts.open.lock());
        let mut outcome = Ok(());
        for item in open.iter().filter_map(Weak::upgrade) {
            outcome = outcome.and(item.close_by(deadline).await);
        }
        outcome.and(self.0.engine.close().await)
    }
}

impl fmt::Debug for ClientCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCore")
            .field("url", &crate::url::shown(&self.0.parts.url))
            .finish_non_exhaustive()
    }
}
