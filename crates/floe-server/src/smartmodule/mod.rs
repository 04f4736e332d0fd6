//! SmartModules: WebAssembly functions that records go through on their way in or out.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `source` | where a request says its modules come from |
//! | `interface` | the bytes that go into a module and come out of it |
//! | `sandbox` | what a module may use: memory, instructions, a few imports |
//! | `instance` | one module, ready to be called |
//! | `chain` | the modules of one request, called one after the other on blocking threads |
//! | `lookback` | the records that modules see before the first one |
//! | `absent` | all there is without the feature `smartengine` |
//!
//! Modules run in the interpreter `wasmi` and not in the platform's own engine: that one copies its input to wherever
//! the module says, unchecked, and cannot be stopped when a module does not end.

#[cfg(not(feature = "smartengine"))]
mod absent;
#[cfg(feature = "smartengine")]
mod chain;
#[cfg(feature = "smartengine")]
mod instance;
#[cfg(feature = "smartengine")]
mod interface;
#[cfg(feature = "smartengine")]
mod lookback;
#[cfg(feature = "smartengine")]
mod sandbox;
mod source;

use floe::TopicPartition;
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{ErrorCode, SmartModuleFailure, SmartModuleInvocation},
};

#[cfg(not(feature = "smartengine"))]
pub(crate) use self::absent::Chain;
#[cfg(feature = "smartengine")]
pub(crate) use self::chain::{Chain, Modules};
use crate::node::Node;

/// Makes the modules of a request ready.
///
/// # Errors
/// What the client is told: a module that is not there, or that cannot begin; that this server runs none.
pub(crate) async fn open(
    node: &Node,
    invocations: &[SmartModuleInvocation],
    at: &TopicPartition,
    version: i16,
) -> Result<Chain, ErrorCode> {
    let sources = invocations.iter().map(|invocation| source::find(node, &invocation.wasm));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    if !node.runs_smartmodules {
        let message = "this server does not run SmartModules";
        return Err(ErrorCode::SmartModuleChainInitError(message.to_owned()));
    }
    Chain::open(node, invocations.iter().cloned().zip(sources).collect(), at, version).await
}

/// What a batch became.
#[derive(Debug)]
pub(crate) struct Transformed {
    /// The records that came out, with the offsets that their modules gave them; `None` if there are none.
    pub(crate) batch: Option<EncodedBatch>,
    /// The record that a module could not handle. Those before it came out, those behind it did not.
    pub(crate) failure: Option<Box<SmartModuleFailure>>,
}
