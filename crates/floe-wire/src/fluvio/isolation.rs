//! Isolation of reads and writes.

use super::wire::wire_enum;

wire_enum! {
    /// Isolation level of a read or write. With one replica, both levels are the same.
    #[derive(Copy, Hash, Default)]
    pub enum Isolation {
        /// Up to the end of the leader's log.
        #[default]
        0 => ReadUncommitted,
        /// Up to the high watermark.
        1 => ReadCommitted,
    }
}
