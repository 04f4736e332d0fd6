//! Stored offsets of consumers (keys 1006 to 1008 of a data server). Servers do not announce these APIs.

use super::{
    error_code::ErrorCode,
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Request to store an offset. Must be sent on the connection of the stream, which needs a consumer id.
    #[derive(Default)]
    pub struct UpdateConsumerOffsetRequest {
        /// Offset of the last processed record; the consumer resumes one above.
        pub offset: i64,
        /// Number of the stream, from its replies.
        pub stream_id: u32,
    }
}

impl Request for UpdateConsumerOffsetRequest {
    type Reply = UpdateConsumerOffsetReply;
    const KEY: u16 = 1006;
    const NAME: &'static str = "UpdateConsumerOffset";
    const VERSIONS: VersionRange = SPU_VERSIONS;
    const ANNOUNCED: bool = false;
}

wire_struct! {
    /// Result of an [`UpdateConsumerOffsetRequest`].
    #[derive(Default)]
    pub struct UpdateConsumerOffsetReply {
        /// The offset of the request.
        pub offset: i64,
        /// Outcome of the request.
        pub error_code: ErrorCode,
    }
}

wire_struct! {
    /// Request to delete a stored offset. Sent to the leader of partition 0 of
    /// [`CONSUMER_OFFSET_TOPIC`](super::names::CONSUMER_OFFSET_TOPIC).
    #[derive(Default)]
    pub struct DeleteConsumerOffsetRequest {
        /// Partition of the offset.
        pub replica: ReplicaKey,
        /// Name of the consumer.
        pub consumer_id: String,
    }
}

impl Request for DeleteConsumerOffsetRequest {
    type Reply = DeleteConsumerOffsetReply;
    const KEY: u16 = 1007;
    const NAME: &'static str = "DeleteConsumerOffset";
    const VERSIONS: VersionRange = SPU_VERSIONS;
    const ANNOUNCED: bool = false;
}

wire_struct! {
    /// Result of a [`DeleteConsumerOffsetRequest`].
    #[derive(Default)]
    pub struct DeleteConsumerOffsetReply {
        /// Outcome of the request; success also if no offset was stored.
        pub error_code: ErrorCode,
    }
}

wire_struct! {
    /// Request to list stored offsets. Sent to the leader of partition 0 of
    /// [`CONSUMER_OFFSET_TOPIC`](super::names::CONSUMER_OFFSET_TOPIC).
    #[derive(Default)]
    pub struct FetchConsumerOffsetsRequest {
        /// Offsets to list; all if `None`.
        pub filter: Option<ConsumerOffsetFilter> [24..],
    }
}

impl Request for FetchConsumerOffsetsRequest {
    type Reply = FetchConsumerOffsetsReply;
    const KEY: u16 = 1008;
    const NAME: &'static str = "FetchConsumerOffsets";
    const VERSIONS: VersionRange = SPU_VERSIONS;
    const ANNOUNCED: bool = false;
}

wire_struct! {
    /// Filter of a list of stored offsets.
    #[derive(Default)]
    pub struct ConsumerOffsetFilter {
        /// Only offsets of this partition.
        pub replica: Option<ReplicaKey>,
        /// Only offsets of this consumer.
        pub consumer_id: Option<String>,
    }
}

wire_struct! {
    /// Reply to a [`FetchConsumerOffsetsRequest`].
    #[derive(Default)]
    pub struct FetchConsumerOffsetsReply {
        /// Outcome of the request.
        pub error_code: ErrorCode,
        /// The stored offsets.
        pub consumers: Vec<ConsumerOffset>,
    }
}

wire_struct! {
    /// One stored offset.
    #[derive(Default)]
    pub struct ConsumerOffset {
        /// Name of the consumer.
        pub consumer_id: String,
        /// Partition of the offset.
        pub replica: ReplicaKey,
        /// Offset of the last processed record.
        pub offset: i64,
        /// Time of the last change, in **seconds** since the Unix epoch.
        pub modified_time: u64,
    }
}

wire_struct! {
    /// A partition of a topic.
    #[derive(PartialOrd, Ord, Hash, Default)]
    pub struct ReplicaKey {
        /// Name of the topic.
        pub topic: String,
        /// Number of the partition.
        pub partition: u32,
    }
}
