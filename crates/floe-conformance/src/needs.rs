//! Requirements of cases.

use floe::engine::Capabilities;

/// Abilities of a target, against which the requirements of a case are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Capabilities that the engine reports.
    pub capabilities: Capabilities,
    /// Whether data outlives a connection.
    pub persistent: bool,
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident: $test:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name(offer: &Offer) -> bool {
                let test: fn(&Offer) -> bool = $test;
                test(offer)
            }
        )*
    };
}

needs! {
    /// Topics can have several partitions.
    partitions: |offer| offer.capabilities.partitions;
    /// Records have offsets.
    offsets: |offer| offer.capabilities.offsets;
    /// Records have offsets without holes.
    dense_offsets: |offer| offer.capabilities.dense_offsets;
    /// Groups can commit offsets.
    commit_offsets: |offer| offer.capabilities.commit_offsets;
    /// Topics can be listed.
    list_topics: |offer| offer.capabilities.list_topics;
    /// Topics can be deleted.
    delete_topic: |offer| offer.capabilities.delete_topic;
    /// Keys are kept.
    keys: |offer| offer.capabilities.keys;
    /// Headers are kept.
    headers: |offer| offer.capabilities.headers;
    /// Values are any bytes.
    binary: |offer| offer.capabilities.binary;
    /// Appends can have conditions.
    conditional_appends: |offer| offer.capabilities.conditional_appends;
    /// A batch may exceed 2 MiB.
    large_batches: |offer| offer.capabilities.max_batch_bytes > 2 * 1024 * 1024;
    /// Every reader sees every record.
    shared_reads: |offer| !offer.capabilities.consuming_reads;
    /// A read removes the record.
    consuming_reads: |offer| offer.capabilities.consuming_reads && !offer.capabilities.offsets;
    /// Data outlives a connection.
    persistence: |offer| offer.persistent;
    /// At least one capability is missing, so there are calls to refuse.
    missing_capability: |offer| {
        let c = offer.capabilities;
        let topics = c.partitions && c.list_topics && c.delete_topic;
        let records = c.offsets && c.commit_offsets && c.keys && c.headers;
        let servers = c.smartmodules && c.mirrors && c.conditional_appends;
        !(topics && records && servers)
    };
}
