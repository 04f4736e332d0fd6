//! Appending: how batches travel from callers to the data server that leads their partition.
//!
//! ```text
//!  append ─► lane of the partition ─► outbox of its leader ─► request with batches of many partitions
//!  append ─► lane of the partition ─┘         ▲ whatever waits at the same moment shares a request
//! ```
//!
//! A [`Lane`] keeps the order of one partition: batches enter it in the order in which their appends were first polled.
//! It hands them to the [`Outbox`] of the leader, one per data server and kind of acknowledgement, which sends several
//! requests ahead over one connection. When a batch fails, those behind it fail as well until the failure was reported:
//! those not sent yet are held back, and those sent already are waited for.

mod partition_appends;
mod spu_sender;

pub(super) use partition_appends::{Lane, Lanes, Routes};
pub(super) use spu_sender::Outbox;
