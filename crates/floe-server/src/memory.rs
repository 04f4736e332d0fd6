//! The memory budget of a server, and the part of one connection in it.

use std::{sync::Arc, time::Duration};

use floe::memory::{MemoryAccount, MemoryPool, MemoryRefused, MemoryReservation};

use floe_wire::WireError;
use tokio::sync::Semaphore;

use crate::limits::ServeLimits;

/// Returns the error of data for which there is no memory.
pub(crate) fn too_large(what: &'static str) -> impl Fn(MemoryRefused) -> WireError {
    move |MemoryRefused { requested: size, limit }| WireError::TooLarge { what, size, limit }
}

/// Streams of a connection that open at a time.
const OPENINGS: usize = 2;

/// The budget: one pool for each class of memory. A request that holds memory of one class waits only for a later class,
/// never for an earlier one, so that no two wait for each other.
#[derive(Debug, Clone)]
pub(crate) struct ServerMemory {
    /// Requests: received bytes and decoded elements, up to the answer.
    pub(crate) requests: MemoryPool,
    /// Instances and code of SmartModules, and batches that are decompressed.
    pub(crate) modules: MemoryPool,
    /// Responses: from before their records are read up to the last byte sent.
    pub(crate) responses: MemoryPool,
}

impl ServerMemory {
    pub(crate) fn new(limits: &ServeLimits) -> Self {
        let quarter = limits.memory_beside_connections() / 4;
        Self {
            requests: MemoryPool::new(quarter),
            modules: MemoryPool::new(quarter * 2),
            responses: MemoryPool::new(quarter),
        }
    }

    /// Returns the pools by the value of the label `class`.
    pub(crate) fn classes(&self) -> [(&'static str, &MemoryPool); 3] {
        [("requests", &self.requests), ("modules", &self.modules), ("responses", &self.responses)]
    }

    /// Opens the accounts of a connection, under the name of its client.
    pub(crate) fn tenant(&self, client: String, limits: &ServeLimits) -> Tenant {
        let client: Arc<str> = client.into();
        Tenant {
            requests: self.requests.account_of(Arc::clone(&client), usize::MAX),
            modules: self.modules.account_of(Arc::clone(&client), usize::MAX),
            responses: self.responses.account_of(Arc::clone(&client), limits.unread_bytes),
            openings: Arc::new(Semaphore::new(OPENINGS)),
            client,
            timeout: limits.memory_timeout,
        }
    }
}

/// The accounts of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) requests: MemoryAccount,
    pub(crate) modules: MemoryAccount,
    pub(crate) responses: MemoryAccount,
    /// Turns of streams that open: a client that opens thousands keeps others waiting for no more than a few.
    pub(crate) openings: Arc<Semaphore>,
    /// Subject and address, for the log.
    pub(crate) client: Arc<str>,
    timeout: Duration,
}

impl Tenant {
    /// Resolves when another client needs the memory that this connection holds and does not move.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn cut_off(&self) {
        tokio::select! {
            () = self.requests.cut_off() => {}
            () = self.modules.cut_off() => {}
            () = self.responses.cut_off() => {}
        }
    }

    /// Reserves memory of the class `modules`, within the timeout of the server.
    pub(crate) async fn reserve_work(&self, bytes: usize) -> Result<MemoryReservation, MemoryRefused> {
        match tokio::time::timeout(self.timeout, self.modules.reserve(bytes)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(MemoryRefused { requested: bytes, limit: self.modules.pool().largest() }),
        }
    }
}
