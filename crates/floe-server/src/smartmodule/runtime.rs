//! Opens chains: starts their modules, then lets them look back.

use std::sync::Arc;

use bytes::Bytes;
use floe::{TopicPartition, engine::SharedEngine};
use floe_wire::fluvio::{ErrorCode, SmartModuleInvocation};

use super::{
    chain::{Chain, ModulePool},
    lookback,
};
use crate::{limits::ServeLimits, memory::Tenant, workers::Workers};

/// The engine that look-back reads from, and the pool that runs modules.
#[derive(Debug)]
pub(super) struct Runtime {
    engine: SharedEngine,
    pool: Arc<ModulePool>,
}

impl Runtime {
    pub(super) fn new(engine: SharedEngine, limits: &ServeLimits, workers: Workers) -> Self {
        Self { engine, pool: Arc::new(ModulePool::new(limits, workers)) }
    }

    /// Starts the modules and shows them the records that they asked to look back on.
    pub(super) async fn open(
        &self,
        tenant: &Tenant,
        sources: Vec<(SmartModuleInvocation, Bytes)>,
        at: &TopicPartition,
        version: i16,
    ) -> Result<Chain, ErrorCode> {
        let mut chain = Chain::start(Arc::clone(&self.pool), tenant, sources, version).await?;
        lookback::run(&self.engine, &mut chain, at).await.map_err(ErrorCode::SmartModuleLookBackError)?;
        Ok(chain)
    }
}
