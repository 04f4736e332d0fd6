//! What a case needs before it makes sense.

use floe::engine::Capabilities;

/// What a target has to offer to the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What the engine says it can do.
    pub capabilities: Capabilities,
    /// Whether what was written is there for the next connection.
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
    /// More than one partition.
    partitions: |offer| offer.capabilities.partitions;
    /// Records have offsets.
    offsets: |offer| offer.capabilities.offsets;
    /// Records have offsets without holes.
    dense_offsets: |offer| offer.capabilities.dense_offsets;
    /// Offsets are stored for groups.
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
    /// A batch may have a mebibyte and more.
    large_batches: |offer| offer.capabilities.max_batch_bytes > 2 * 1024 * 1024;
    /// Every reader sees every record.
    shared_reads: |offer| !offer.capabilities.consuming_reads;
    /// A read takes the record away.
    consuming_reads: |offer| offer.capabilities.consuming_reads;
    /// What was written outlives the connection.
    persistence: |offer| offer.persistent;
    /// There is something to refuse.
    missing_capability: |offer| {
        let c = offer.capabilities;
        let topics = c.partitions && c.list_topics && c.delete_topic;
        let records = c.offsets && c.commit_offsets && c.keys && c.headers && c.smartmodules;
        !(topics && records)
    };
}
