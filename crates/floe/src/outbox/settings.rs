//! Settings of an outbox, fixed before it starts.

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{
    Client, Durability, Result, RetryPolicy,
    producer::{Partitioner, ProducerBuilder},
    topic::Topic,
};

/// Policy for a record that finds no room in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenOutboxFull {
    /// The send waits until deliveries have made room, however long that takes.
    #[default]
    Wait,
    /// The send fails with [`ErrorKind::BufferFull`](crate::ErrorKind::BufferFull).
    Fail,
    /// The oldest records are dropped to make room; [`OutboxStats::dropped`](super::OutboxStats::dropped) counts them.
    DropOldest,
}

/// Makes the builder of the producer that delivers, for each session anew.
pub(super) type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<ProducerBuilder>> + Send + Sync>;

/// The client that an outbox has connected itself, and closes itself.
pub(super) type OwnClient = Arc<tokio::sync::Mutex<Option<Client>>>;

/// Settings of accepting and delivering.
pub(super) struct OutboxSettings {
    pub(super) topic: Topic,
    pub(super) when_full: WhenOutboxFull,
    pub(super) max_bytes: u64,
    pub(super) partitioner: Arc<dyn Partitioner>,
    pub(super) connect: Connect,
    pub(super) own_client: OwnClient,
}

/// Settings of the spool.
#[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "no spool reads them"))]
pub(super) struct SpoolOptions {
    pub(super) path: PathBuf,
    /// Disk in place of files.
    #[cfg(all(any(test, feature = "simulation"), feature = "embedded"))]
    pub(super) store: Option<floe_log::StoreConfig>,
    pub(super) durability: Durability,
    pub(super) segment_bytes: u64,
    pub(super) max_record: usize,
    /// Batch size of the producer that delivers, so that it can send whole batches of the spool.
    pub(super) batch_size: usize,
    pub(super) retries: RetryPolicy,
}
