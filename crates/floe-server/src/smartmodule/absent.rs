//! A server that cannot run modules says so.

use bytes::Bytes;
use floe::TopicPartition;
use floe_wire::{
    batch::EncodedBatch,
    fluvio::{ErrorCode, SmartModuleInvocation},
};

use super::Transformed;
use crate::node::Node;

/// There is none.
#[derive(Debug)]
pub(crate) enum Chain {}

impl Chain {
    #[expect(clippy::unused_async, reason = "the same as where modules are run")]
    pub(super) async fn open(
        _: &Node,
        _: Vec<(SmartModuleInvocation, Bytes)>,
        _: &TopicPartition,
        _: i16,
    ) -> Result<Self, ErrorCode> {
        let message = "this server was built without SmartModules (feature smartengine)";
        Err(ErrorCode::SmartModuleChainInitError(message.to_owned()))
    }

    #[expect(clippy::unused_async, reason = "the same as where modules are run")]
    pub(crate) async fn transform(&mut self, _: &EncodedBatch, _: i64) -> Result<Transformed, String> {
        match *self {}
    }
}
