//! A process that dies at one of the calls of its engine: from then on nothing of it reaches the engine.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::{
    Result,
    engine::BatchReader,
    layer::{Layer, Operation},
};

/// Place of a death.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    /// Number of the call, from 0.
    pub(super) call: usize,
    /// Whether the call has no effect.
    pub(super) before: bool,
}

#[derive(Debug, Default)]
struct Life {
    calls: AtomicUsize,
    dead: AtomicBool,
    died: Notify,
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
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        self.live().await;
        let call = self.life.calls.fetch_add(1, Ordering::SeqCst);
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

    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(MortalReader { reader, layer: self.clone() })
    }
}

#[derive(Debug)]
struct MortalReader {
    reader: Box<dyn BatchReader>,
    layer: CrashLayer,
}

impl BatchReader for MortalReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let next = self.reader.next().await;
            self.layer.live().await;
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
