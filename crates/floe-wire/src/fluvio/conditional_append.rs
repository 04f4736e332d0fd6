//! ConditionalAppend (key 0x710e of a data server): an extension that `floe serve` announces and Fluvio does not have.

use super::{
    error_code::ErrorCode, isolation::Isolation, record_set::RecordSet, request::Request,
    version_range::VersionRange, wire::wire_struct,
};

wire_struct! {
    /// Request to append one batch to a partition that ends at an offset.
    #[derive(Default)]
    pub struct ConditionalAppendRequest {
        /// Name of the topic.
        pub topic: String,
        /// Number of the partition.
        pub partition: u32,
        /// End that the partition must have, unless the batch is stored already.
        pub expected_end: i64,
        /// Time of the reply: after the leader has written, or after all in-sync replicas have.
        pub isolation: Isolation,
        /// Time to wait for replicas with [`Isolation::ReadCommitted`], in milliseconds; not negative.
        pub timeout_ms: i32,
        /// The batch, which names its producer; the server assigns its offset.
        pub records: RecordSet,
    }
}

impl Request for ConditionalAppendRequest {
    type Reply = ConditionalAppendReply;
    const KEY: u16 = 0x710e;
    const NAME: &'static str = "ConditionalAppend";
    const VERSIONS: VersionRange = VersionRange::new(0, 0);
}

wire_struct! {
    /// Reply to a [`ConditionalAppendRequest`].
    #[derive(Default)]
    pub struct ConditionalAppendReply {
        /// [`ErrorCode::None`] if the batch was written, and if the partition ends elsewhere.
        pub error_code: ErrorCode,
        /// Offset of the first record; -1 if nothing was written.
        pub base_offset: i64,
        /// End of a partition that ends elsewhere; otherwise -1.
        pub actual_end: i64,
    }
}
