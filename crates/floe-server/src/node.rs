//! State that all connections of a server share.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use floe::{
    Client, TopicPartition,
    engine::{Acks, AppendAck, AppendRequest, SharedEngine},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::Either;
use tokio::{
    sync::{Semaphore, watch},
    task::{
        JoinError,
        coop::{consume_budget, unconstrained},
    },
};

use crate::{
    access::Gate, catalog::Catalog, door::Door, hosts::AllowedHosts, limits::ServeLimits,
    memory::ServerMemory, metrics::Metrics, options::MoreMetrics, registry::Registry,
    smartmodule::SmartModules, workers::Workers,
};

/// Id of the only data server, which is the first id of a real cluster.
pub(crate) const SPU_ID: i32 = 5001;

/// Name of the only data server.
pub(crate) const SPU_NAME: &str = "floe-spu-5001";

/// Reads at a time of batches of unknown size. More would only wait for the same disk.
pub(crate) const FIRST_READS: usize = 4;

/// Appends that are started before the first of them is awaited.
pub(crate) const APPENDS_AT_ONCE: usize = 512;

/// Address under which clients reach the data server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The server as its connections see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: SharedEngine,
    /// Client whose health `/readyz` reports.
    pub(crate) client: Client,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: ServeLimits,
    pub(crate) memory: ServerMemory,
    /// Threads for work that takes long.
    pub(crate) workers: Workers,
    pub(crate) door: Door,
    /// Turns of reads whose batch may be larger than the memory that is reserved for it.
    pub(crate) first_reads: Semaphore,
    pub(crate) gate: Arc<Gate>,
    /// Host names under which HTTP is served.
    pub(crate) http_hosts: AllowedHosts,
    pub(crate) more_metrics: Option<MoreMetrics>,
    /// Routes of the console, where it is served.
    pub(crate) console: Option<axum::Router>,
    /// Whether Fluvio clients use TLS.
    pub(crate) is_encrypted: bool,
    pub(crate) smartmodules: SmartModules,
    /// `None` when Fluvio is not served.
    pub(crate) data_server: Option<PublicAddress>,
    pub(crate) stopping: AtomicBool,
}

impl Node {
    /// Whether the shutdown has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Logs a task that panicked. A panic ends the connection of the task, not the server.
pub(crate) fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the server panicked");
    }
}

/// Resolves when the flag is set (shutdown or topic deletion) or its sender is dropped.
///
/// # Cancel safety
/// Cancel safe.
pub(crate) async fn until_set(flag: &mut watch::Receiver<bool>) {
    // The returned guard is dropped at once: it must not be held across an await.
    let _ = flag.wait_for(|set| *set).await;
}

/// Appends batches to a partition, in their order, and passes each outcome to `each`. The first [`APPENDS_AT_ONCE`] are
/// consecutive unless other clients append to the partition at the same moment.
///
/// All are started before one is awaited, and then awaited one after the other: a task polls at most 128 channels before it
/// yields, and a joint wait would poll all of them each time to find that it must yield.
pub(crate) async fn append_in_order<E>(
    node: &Node,
    at: &TopicPartition,
    batches: Vec<EncodedBatch>,
    acks: Acks,
    mut each: impl FnMut(floe::Result<AppendAck>) -> Result<(), E>,
) -> Result<(), E> {
    let mut batches = batches.into_iter().peekable();
    while batches.peek().is_some() {
        let mut started = VecDeque::new();
        for batch in batches.by_ref().take(APPENDS_AT_ONCE) {
            let mut append = node.engine.append(AppendRequest::new(at.clone(), batch, acks));
            // The first poll hands the batch to the engine, whatever the task has polled before.
            let polled = unconstrained(poll_fn(|context| Poll::Ready(append.as_mut().poll(context)))).await;
            started.push_back(match polled {
                Poll::Ready(outcome) => Either::Left(outcome),
                Poll::Pending => Either::Right(append),
            });
        }
        for append in started {
            each(match append {
                Either::Left(outcome) => outcome,
                Either::Right(append) => append.await,
            })?;
        }
        consume_budget().await;
    }
    Ok(())
}
