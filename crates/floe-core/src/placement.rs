//! Where a partition is: the servers that hold it.

use std::sync::Arc;

/// Servers that hold a partition, by the names that [`NodeHealth`](crate::engine::NodeHealth) has.
///
/// ```
/// use floe_core::engine::Placement;
///
/// let placement = Placement::new(Some("spu-5001".into()), vec!["spu-5001".into(), "spu-5002".into()]);
/// assert_eq!(placement.replicas.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// Server that takes the appends; `None` while there is none.
    pub leader: Option<Arc<str>>,
    /// All servers that hold the partition, the leader included.
    pub replicas: Vec<Arc<str>>,
}

impl Placement {
    /// Creates the placement of a partition.
    #[must_use]
    pub fn new(leader: Option<Arc<str>>, replicas: Vec<Arc<str>>) -> Self {
        Self { leader, replicas }
    }
}
