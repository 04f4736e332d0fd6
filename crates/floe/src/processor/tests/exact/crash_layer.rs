//! A process that dies at one of the calls of its engine: from then on nothing of it reaches the engine.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    Error, ErrorKind, Result,
    engine::BatchReader,
    layer::{Layer, Operation, OperationKind},
    topic::Topic,
};

/// Number of a call, and what happens before it.
type Happening = (usize, Box<dyn Fn() + Send>);

/// Place of a death.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    /// Number of the call, from 0.
    pub(super) call: usize,
    /// Whether the call has no effect.
    pub(super) before: bool,
}

#[derive(Default)]
struct Life {
    calls: AtomicUsize,
    dead: AtomicBool,
    died: Notify,
    /// Topic whose partitions the process does not reach.
    away: Mutex<Option<Topic>>,
    /// Error of appends to a topic, and whether it is that of the next one alone.
    refused: Mutex<Option<(Topic, Error, bool)>>,
    happening: Mutex<Option<Happening>>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("dead", &self.dead).finish_non_exhaustive()
    }
}

/// Counts the calls of a process, and lets it die.
#[derive(Debug, Clone)]
pub(super) struct CrashLayer {
    crash: Option<Crash>,
    life: Arc<Life>,
}

impl CrashLayer {
    pub(super) fn new(crash: Option<Crash>) -> Self {
        Self { crash, life: Arc::default() }
    }

    pub(super) fn calls(&self) -> usize {
        self.life.calls.load(Ordering::SeqCst)
    }

    pub(super) fn kill(&self) {
        self.life.dead.store(true, Ordering::SeqCst);
        self.life.died.notify_waiters();
    }

    /// Lets calls and reads of a topic fail, or work again.
    pub(super) fn cut_off(&self, topic: &str, away: bool) {
        *self.life.away.lock() = away.then(|| Topic::from(topic));
    }

    /// Lets something happen right before a call.
    pub(super) fn before_call(&self, call: usize, happens: impl Fn() + Send + 'static) {
        *self.life.happening.lock() = Some((call, Box::new(happens)));
    }

    /// Refuses the next append to a topic, or all.
    pub(super) fn refuse_appends(&self, topic: &str, error: Error, once: bool) {
        *self.life.refused.lock() = Some((Topic::from(topic), error, once));
    }

    fn reach(&self, topic: Option<&Topic>) -> Result<()> {
        match &*self.life.away.lock() {
            Some(away) if topic == Some(away) => Err(Error::new(ErrorKind::NetworkError, "away")),
            _ => Ok(()),
        }
    }

    /// Waits for the death.
    pub(super) async fn died(&self) {
        let died = self.life.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    fn is_dead(&self) -> bool {
        self.life.dead.load(Ordering::SeqCst)
    }

    /// Never returns if the process is dead.
    async fn live(&self) {
        if self.is_dead() {
            pending().await
        }
    }
}

impl Layer for CrashLayer {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        self.live().await;
        self.reach(operation.topic.as_ref())?;
        if operation.kind == OperationKind::Append {
            let mut refused = self.life.refused.lock();
            if let Some((_, error, once)) =
                refused.clone().filter(|(topic, ..)| operation.topic.as_ref() == Some(topic))
            {
                if once {
                    *refused = None;
                }
                return Err(error);
            }
        }
        let call = self.life.calls.fetch_add(1, Ordering::SeqCst);
        if let Some((_, happens)) = self.life.happening.lock().take_if(|(at, _)| *at == call) {
            happens();
        }
        let dies = self.crash.filter(|crash| crash.call == call);
        if dies.is_some_and(|crash| crash.before) {
            self.kill();
        }
        self.live().await;
        let outcome = attempt().await;
        if dies.is_some() {
            self.kill();
        }
        self.live().await;
        outcome
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(MortalReader { reader, layer: self.clone(), topic: operation.topic.clone() })
    }
}

#[derive(Debug)]
struct MortalReader {
    reader: Box<dyn BatchReader>,
    layer: CrashLayer,
    topic: Option<Topic>,
}

impl BatchReader for MortalReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let next = self.reader.next().await;
            self.layer.live().await;
            self.layer.reach(self.topic.as_ref())?;
            next
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}
