//! Where a request says its modules come from.

use bytes::Bytes;
use floe_wire::fluvio::{ErrorCode, SmartModuleSource};

use crate::{fluvio::controller::smartmodules, node::Node};

/// The module as it was stored or sent, usually compressed.
pub(super) fn find(node: &Node, source: &SmartModuleSource) -> Result<Bytes, ErrorCode> {
    match source {
        SmartModuleSource::AdHoc(sent) => Ok(sent.clone()),
        SmartModuleSource::Predefined(name) => smartmodules::payload(node, name)
            .ok_or_else(|| ErrorCode::SmartModuleNotFound { name: name.clone() }),
    }
}
