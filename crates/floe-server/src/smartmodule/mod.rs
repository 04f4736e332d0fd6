//! SmartModules: WebAssembly functions that transform records on their way in or out.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `source` | module references, and the lookup of the modules that a request names |
//! | `interface` | encoding of a module's inputs, decoding of its outputs |
//! | `sandbox` | limits of a module: memory, instructions, a few imports |
//! | `instance` | one module, ready to be called |
//! | `chain` | the modules of one request, run one after the other on blocking threads |
//! | `lookback` | records that modules see before the first one they transform |
//! | `runtime` | opens chains |
//! | `disabled` | replaces the runtime when the feature `smartengine` is off |
//!
//! Modules run in the interpreter `wasmi` and not in the platform's own engine: that engine copies its input to the
//! address that the module returns without a bounds check, and it cannot interrupt a module that loops for ever.

#[cfg(feature = "smartengine")]
mod chain;
#[cfg(not(feature = "smartengine"))]
mod disabled;
#[cfg(feature = "smartengine")]
mod instance;
#[cfg(feature = "smartengine")]
mod interface;
#[cfg(feature = "smartengine")]
mod lookback;
#[cfg(feature = "smartengine")]
mod runtime;
#[cfg(feature = "smartengine")]
mod sandbox;
mod source;

use std::sync::Arc;

use floe::{TopicPartition, engine::SharedEngine};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{ErrorCode, SmartModuleFailure, SmartModuleInvocation},
};

#[cfg(feature = "smartengine")]
pub(crate) use self::chain::Chain;
#[cfg(not(feature = "smartengine"))]
pub(crate) use self::disabled::Chain;
#[cfg(not(feature = "smartengine"))]
use self::disabled::Runtime;
#[cfg(feature = "smartengine")]
use self::runtime::Runtime;
pub(crate) use self::source::ModuleReference;
use crate::{limits::ServeLimits, memory::Tenant, registry::Registry, workers::Workers};

/// Opens chains of modules for streams and produce requests.
#[derive(Debug)]
pub(crate) struct SmartModules {
    registry: Arc<Registry>,
    is_enabled: bool,
    runtime: Runtime,
}

impl SmartModules {
    pub(crate) fn new(
        engine: SharedEngine,
        registry: Arc<Registry>,
        is_enabled: bool,
        (limits, workers): (&ServeLimits, Workers),
    ) -> Self {
        Self { registry, is_enabled, runtime: Runtime::new(engine, limits, workers) }
    }

    /// Opens the chain of a request.
    ///
    /// # Errors
    /// The code for the client: a module that is not stored, that cannot be started, or a server that runs no modules.
    pub(crate) async fn open(
        &self,
        tenant: &Tenant,
        invocations: &[SmartModuleInvocation],
        at: &TopicPartition,
        version: i16,
    ) -> Result<Chain, ErrorCode> {
        let sources = invocations.iter().map(|invocation| source::find(&self.registry, &invocation.wasm));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        if !self.is_enabled {
            let message = "this server does not run SmartModules";
            return Err(ErrorCode::SmartModuleChainInitError(message.to_owned()));
        }
        self.runtime.open(tenant, invocations.iter().cloned().zip(sources).collect(), at, version).await
    }
}

/// Result of sending a batch through a chain.
#[derive(Debug)]
pub(crate) struct Transformed {
    /// The output records, with the offsets that the modules gave them; `None` if the modules dropped all of them.
    pub(crate) batch: Option<EncodedBatch>,
    /// The record that a module failed on. Records before it are in `batch`, records after it are not.
    pub(crate) failure: Option<Box<SmartModuleFailure>>,
}
