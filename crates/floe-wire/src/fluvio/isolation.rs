//! How far readers see, and what producers wait for.

use super::wire::wire_enum;

wire_enum! {
    /// Whether records count before all replicas in sync have them. With one replica there is no difference.
    #[derive(Copy, Hash, Default)]
    pub enum Isolation {
        /// Up to the end of the leader's log.
        #[default]
        0 => ReadUncommitted,
        /// Up to the high watermark.
        1 => ReadCommitted,
    }
}
