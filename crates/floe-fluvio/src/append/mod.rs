//! Appends: how batches travel from callers to the data server that leads their partition.
//!
//! ```text
//!  append ─► PartitionAppends ─► SpuSender of the leader ─► request with batches of many partitions
//!  append ─► PartitionAppends ─┘    ▲ batches that wait at the same moment share a request
//! ```
//!
//! [`PartitionAppends`](partition_appends::PartitionAppends) keeps the order of one partition: batches enter it in the order in which their appends were first
//! polled. It hands them to the [`SpuSender`] of the leader, one per data server and kind of acknowledgement, which
//! pipelines requests over one connection. After a batch failed, the sender drops later ones of the same
//! [epoch](floe_core::append_epoch::AppendEpoch) from its queue; their producer resends them in order.

mod partition_appends;
mod spu_sender;

pub(super) use partition_appends::{AppendsByPartition, BatchSender, Routes};
pub(super) use spu_sender::SpuSender;
