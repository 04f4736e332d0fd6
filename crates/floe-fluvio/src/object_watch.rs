//! Watches for changes to objects of the controller.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use floe_core::{Error, Result};
use floe_wire::fluvio::{ChangeKind, Metadata as Described, Object, WatchReply, WatchRequest};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, time::sleep};

use super::{FluvioEngine, server::Link};
use crate::mux::Replies;

/// Pause before another watch is opened, in addition to the back-off of the connection.
const PAUSE: Duration = Duration::from_millis(500);

/// Consecutive watches that may break before their first event: a controller closes the connection if it cannot watch
/// objects of the kind.
const MAX_FAILURES: u32 = 10;

/// A change to an object of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectEvent<O: Object> {
    /// The object exists, or has changed to this. A watch begins with one such event for each object.
    Updated(Described<O>),
    /// The object of this name was deleted.
    Deleted(String),
}

struct ObjectWatch<O: Object> {
    engine: FluvioEngine,
    closed: watch::Receiver<bool>,
    open: Option<(Link, Replies<WatchRequest<O>>)>,
    /// Whether the open watch has sent its first reply, which lists all objects.
    has_all: bool,
    failures: u32,
    known: BTreeMap<String, Described<O>>,
    waiting: VecDeque<ObjectEvent<O>>,
    ended: bool,
}

/// Returns the present objects, then every change. Reconnects when a connection breaks.
pub(super) fn watch<O: Object>(engine: FluvioEngine) -> BoxStream<'static, Result<ObjectEvent<O>>> {
    let watch = ObjectWatch {
        closed: engine.inner.closed.subscribe(),
        engine,
        open: None,
        has_all: false,
        failures: 0,
        known: BTreeMap::new(),
        waiting: VecDeque::new(),
        ended: false,
    };
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }).boxed()
}

impl<O: Object> ObjectWatch<O> {
    async fn next(&mut self) -> Option<Result<ObjectEvent<O>>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(event));
            }
            let mut closing = self.closed.clone();
            let outcome = tokio::select! {
                biased;
                _ = closing.wait_for(|closed| *closed) => {
                    self.ended = true;
                    return Some(Err(Error::closed("engine")));
                }
                outcome = self.reply() => outcome,
            };
            match outcome {
                Ok(reply) => self.apply(reply),
                Err(error) => {
                    self.open = None;
                    self.failures += 1;
                    if !error.is_retriable() || self.failures >= MAX_FAILURES {
                        self.ended = true;
                        return Some(Err(error));
                    }
                    tracing::debug!(kind = O::LABEL, %error, "the watch of objects broke");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn reply(&mut self) -> Result<WatchReply<O>, Error> {
        if self.open.is_none() {
            let link = self.engine.metadata().new_controller_link().await?;
            let version = link.choose::<WatchRequest<O>>()?;
            // A summary leaves out the code of modules, which may be megabytes each.
            let replies = link.mux.stream(&WatchRequest::new(true), version).await?;
            self.open = Some((link, replies));
            self.has_all = false;
        }
        match &mut self.open {
            Some((_, replies)) => replies.next().await,
            None => Err(Error::closed("watch")),
        }
    }

    fn apply(&mut self, reply: WatchReply<O>) {
        // The first reply lists all objects, even if it is empty.
        if !self.has_all || !reply.all.is_empty() {
            let now: BTreeMap<_, _> =
                reply.all.into_iter().map(|object| (object.name.clone(), object)).collect();
            let gone: Vec<_> = self.known.keys().filter(|name| !now.contains_key(*name)).cloned().collect();
            gone.into_iter().for_each(|name| self.delete(name));
            now.into_values().for_each(|object| self.update(object));
        }
        (self.has_all, self.failures) = (true, 0);
        for change in reply.changes {
            match change.kind {
                ChangeKind::Update => self.update(change.object),
                ChangeKind::Delete => self.delete(change.object.name),
            }
        }
    }

    /// Queues an update unless the controller sent the same object before.
    fn update(&mut self, object: Described<O>) {
        if self.known.get(&object.name) != Some(&object) {
            self.known.insert(object.name.clone(), object.clone());
            self.waiting.push_back(ObjectEvent::Updated(object));
        }
    }

    fn delete(&mut self, name: String) {
        if self.known.remove(&name).is_some() {
            self.waiting.push_back(ObjectEvent::Deleted(name));
        }
    }
}
