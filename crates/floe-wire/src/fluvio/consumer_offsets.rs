//! Stored offsets of consumers (keys 1006 to 1008 of a data server). Not announced by servers.

use super::{
    error_code::ErrorCode,
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Stores an offset. Must go over the connection of the stream, which must have been opened with a consumer id.
    #[derive(Default)]
    pub struct UpdateConsumerOffsetRequest {
        /// Offset of the last record that is done with; reading resumes one above.
        pub offset: i64,
        /// The number that the replies of the stream carry.
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
        /// Whether it was stored.
        pub error_code: ErrorCode,
    }
}

wire_struct! {
    /// Deletes a stored offset. Goes to the leader of partition 0 of
    /// [`CONSUMER_OFFSET_TOPIC`](super::names::CONSUMER_OFFSET_TOPIC).
    #[derive(Default)]
    pub struct DeleteConsumerOffsetRequest {
        /// Partition that was read.
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
        /// Success also if nothing was stored.
        pub error_code: ErrorCode,
    }
}

wire_struct! {
    /// Lists stored offsets. Goes to the leader of partition 0 of
    /// [`CONSUMER_OFFSET_TOPIC`](super::names::CONSUMER_OFFSET_TOPIC).
    #[derive(Default)]
    pub struct FetchConsumerOffsetsRequest {
        /// Which offsets; all if `None`.
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
    /// Narrows a list of stored offsets.
    #[derive(Default)]
    pub struct ConsumerOffsetFilter {
        /// Only those of this partition.
        pub replica: Option<ReplicaKey>,
        /// Only those of this consumer.
        pub consumer_id: Option<String>,
    }
}

wire_struct! {
    /// The stored offsets.
    #[derive(Default)]
    pub struct FetchConsumerOffsetsReply {
        /// Whether the list is one.
        pub error_code: ErrorCode,
        /// The offsets.
        pub consumers: Vec<ConsumerOffset>,
    }
}

wire_struct! {
    /// One stored offset.
    #[derive(Default)]
    pub struct ConsumerOffset {
        /// Name of the consumer.
        pub consumer_id: String,
        /// Partition that it reads.
        pub replica: ReplicaKey,
        /// Offset of the last record that it is done with.
        pub offset: i64,
        /// When it was stored, in **seconds** since the Unix epoch.
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
