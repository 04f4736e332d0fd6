//! Operations of all protocols, and the rights that they need.

use super::rules::Right;

/// An operation of a client. Clients of both protocols and of HTTP need the same rights for the same effect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// Name in the log.
    pub(crate) name: &'static str,
    /// Any of these rights is enough.
    pub(super) needs: &'static [Right],
}

const fn operation(name: &'static str, needs: &'static [Right]) -> Operation {
    Operation { name, needs }
}

/// Appends records.
pub(crate) const PRODUCE: Operation = operation("produce", &[Right::Write]);
/// Reads records.
pub(crate) const CONSUME: Operation = operation("consume", &[Right::Read]);
/// Learns that a topic exists, its settings and its offsets.
pub(crate) const DESCRIBE: Operation = operation("describe", &[Right::Read, Right::Write, Right::Admin]);
/// Stores the offset of a group.
pub(crate) const STORE_OFFSET: Operation = operation("store offset", &[Right::Read]);
/// Deletes the offset of a group, which has the effect of storing the first one.
pub(crate) const DELETE_OFFSET: Operation = operation("delete offset", &[Right::Read]);
/// Creates a topic.
pub(crate) const CREATE_TOPIC: Operation = operation("create topic", &[Right::Admin]);
/// Deletes a topic.
pub(crate) const DELETE_TOPIC: Operation = operation("delete topic", &[Right::Admin]);
/// Adds partitions to a topic.
pub(crate) const CHANGE_TOPIC: Operation = operation("change topic", &[Right::Admin]);
/// Sees objects that belong to no topic: SmartModules, registered data servers, table formats.
pub(crate) const SEE_CLUSTER: Operation = operation("see cluster", &[Right::Admin]);
/// Creates an object that belongs to no topic.
pub(crate) const CREATE_OBJECT: Operation = operation("create object", &[Right::Admin]);
/// Deletes an object that belongs to no topic.
pub(crate) const DELETE_OBJECT: Operation = operation("delete object", &[Right::Admin]);
/// Sees metrics and the details of health.
pub(crate) const METRICS: Operation = operation("see metrics", &[Right::Metrics]);
