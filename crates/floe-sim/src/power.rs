//! The reach of a member of a shared group: nothing after its crash, and the coordination topic only while that is not away.

use floe::{
    engine::BatchReader,
    layer::{Layer, Operation},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{misdeed, store::COORDINATION};

/// Way of a member to the coordination topic, which may be away while the rest is there.
#[derive(Debug, Clone)]
pub(crate) struct CoordinationWay(watch::Sender<bool>);

impl Default for CoordinationWay {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl CoordinationWay {
    pub(crate) fn set_open(&self, open: bool) {
        self.0.send_replace(open);
    }

    async fn passes(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// Power of one life of a member: without it nothing is sent, and nothing is read. Calls fail then, so that the tasks of the
/// crashed process end.
#[derive(Debug, Clone)]
pub(crate) struct Power {
    on: watch::Sender<bool>,
    way: CoordinationWay,
    ignores_evictions: bool,
}

impl Power {
    pub(crate) fn new(way: CoordinationWay, ignores_evictions: bool) -> Self {
        Self { on: watch::Sender::new(true), way, ignores_evictions }
    }

    pub(crate) fn off(&self) {
        self.on.send_replace(false);
    }

    /// Waits until the power is off.
    async fn is_off(&self) {
        // The sender lives in `self`.
        let _ = self.on.subscribe().wait_for(|on| !on).await;
    }

    /// Passes on what comes before the power is off.
    async fn powered<T>(
        &self,
        coordinates: bool,
        work: impl Future<Output = floe::Result<T>>,
    ) -> floe::Result<T> {
        let through = async {
            if coordinates {
                self.way.passes().await;
            }
            let outcome = work.await;
            if coordinates {
                self.way.passes().await;
            }
            outcome
        };
        tokio::select! {
            biased;
            () = self.is_off() => Err(floe::Error::closed("process")),
            outcome = through => outcome,
        }
    }
}

fn coordinates(operation: &Operation) -> bool {
    operation.topic.as_ref().is_some_and(|topic| topic.as_str() == COORDINATION)
}

impl Layer for Power {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> floe::Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, floe::Result<T>> + Send + Sync,
    {
        self.powered(coordinates(operation), attempt()).await
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(Powered { reader, power: self.clone(), coordinates: coordinates(operation) })
    }
}

#[derive(Debug)]
struct Powered {
    reader: Box<dyn BatchReader>,
    power: Power,
    coordinates: bool,
}

impl BatchReader for Powered {
    fn next(&mut self) -> BoxFuture<'_, floe::Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let Self { reader, power, coordinates } = self;
            let ignores = *coordinates && power.ignores_evictions;
            power
                .powered(*coordinates, async {
                    loop {
                        match reader.next().await {
                            Ok(Some(batch)) if ignores && misdeed::evicts(&batch) => {}
                            next => return next,
                        }
                    }
                })
                .await
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}
