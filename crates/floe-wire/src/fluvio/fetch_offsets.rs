//! FetchOffsets (key 1002 of a data server): where partitions begin and end.

use super::{
    error_code::ErrorCode,
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Asks for the offsets of partitions that one data server leads.
    #[derive(Default)]
    pub struct FetchOffsetsRequest {
        /// Which partitions.
        pub topics: Vec<FetchOffsetsTopic>,
        /// In version 23 only; later clients use [`FetchConsumerOffsetsRequest`](super::FetchConsumerOffsetsRequest).
        pub consumer_id: Option<String> [23..=23],
    }
}

impl FetchOffsetsRequest {
    /// Asks for one partition.
    #[must_use]
    pub fn of_partition(topic: impl Into<String>, partition: u32) -> Self {
        Self {
            topics: vec![FetchOffsetsTopic { name: topic.into(), partitions: vec![partition] }],
            consumer_id: None,
        }
    }
}

impl Request for FetchOffsetsRequest {
    type Reply = FetchOffsetsReply;
    const KEY: u16 = 1002;
    const NAME: &'static str = "FetchOffsets";
    const VERSIONS: VersionRange = SPU_VERSIONS;
}

wire_struct! {
    /// Partitions of one topic.
    #[derive(Default)]
    pub struct FetchOffsetsTopic {
        /// Name of the topic.
        pub name: String,
        /// Numbers of the partitions.
        pub partitions: Vec<u32>,
    }
}

wire_struct! {
    /// Offsets by topic.
    #[derive(Default)]
    pub struct FetchOffsetsReply {
        /// In the order of the request.
        pub topics: Vec<FetchOffsetsTopicReply>,
    }
}

wire_struct! {
    /// Offsets of one topic.
    #[derive(Default)]
    pub struct FetchOffsetsTopicReply {
        /// Name of the topic.
        pub name: String,
        /// In the order of the request.
        pub partitions: Vec<PartitionOffsets>,
    }
}

wire_struct! {
    /// Where one partition begins and ends.
    #[derive(Default)]
    pub struct PartitionOffsets {
        /// The offsets are 0 if this is an error.
        pub error_code: ErrorCode,
        /// Number of the partition.
        pub partition: u32,
        /// First offset that is stored.
        pub start_offset: i64,
        /// High watermark: first offset that not all replicas in sync have.
        pub last_stable_offset: i64,
    }
}
