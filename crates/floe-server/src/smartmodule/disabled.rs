//! Stands in for the module runtime when the feature `smartengine` is off: every chain is refused.

use bytes::Bytes;
use floe::{TopicPartition, engine::SharedEngine};
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{ErrorCode, SmartModuleInvocation},
};

use super::Transformed;
use crate::{limits::ServeLimits, memory::Tenant, workers::Workers};

#[derive(Debug)]
pub(super) struct Runtime;

impl Runtime {
    #[allow(clippy::needless_pass_by_value, reason = "the signature of the real runtime")]
    pub(super) fn new(_: SharedEngine, _: &ServeLimits, _: Workers) -> Self {
        Self
    }

    #[expect(clippy::unused_async, reason = "the signature of the real runtime")]
    pub(super) async fn open(
        &self,
        _: &Tenant,
        _: Vec<(SmartModuleInvocation, Bytes)>,
        _: &TopicPartition,
        _: i16,
    ) -> Result<Chain, ErrorCode> {
        let message = "this server was built without SmartModules (feature smartengine)";
        Err(ErrorCode::SmartModuleChainInitError(message.to_owned()))
    }
}

/// Uninhabited: no chain can be opened.
#[derive(Debug)]
pub(crate) enum Chain {}

impl Chain {
    #[expect(clippy::unused_async, reason = "the signature of the real chain")]
    pub(crate) async fn transform(&mut self, _: &EncodedBatch, _: i64) -> Result<Transformed, String> {
        match *self {}
    }
}
