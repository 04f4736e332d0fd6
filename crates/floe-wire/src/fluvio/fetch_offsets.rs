//! FetchOffsets (key 1002 of a data server): first offset and high watermark of partitions.

use super::{
    error_code::ErrorCode,
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Request for the offsets of partitions that one data server leads.
    #[derive(Default)]
    pub struct FetchOffsetsRequest {
        /// Partitions by topic.
        pub topics: Vec<FetchOffsetsTopic>,
        /// In version 23 only; later clients use [`FetchConsumerOffsetsRequest`](super::FetchConsumerOffsetsRequest).
        pub consumer_id: Option<String> [23..=23],
    }
}

impl FetchOffsetsRequest {
    /// Creates a request for one partition.
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
    /// Reply to a [`FetchOffsetsRequest`].
    #[derive(Default)]
    pub struct FetchOffsetsReply {
        /// Offsets by topic, in the order of the request.
        pub topics: Vec<FetchOffsetsTopicReply>,
    }
}

wire_struct! {
    /// Offsets of one topic.
    #[derive(Default)]
    pub struct FetchOffsetsTopicReply {
        /// Name of the topic.
        pub name: String,
        /// Offsets by partition, in the order of the request.
        pub partitions: Vec<PartitionOffsets>,
    }
}

wire_struct! {
    /// First offset and high watermark of one partition.
    #[derive(Default)]
    pub struct PartitionOffsets {
        /// Error of the partition; the offsets are then 0.
        pub error_code: ErrorCode,
        /// Number of the partition.
        pub partition: u32,
        /// First stored offset.
        pub start_offset: i64,
        /// High watermark: first offset that not all in-sync replicas have.
        pub last_stable_offset: i64,
    }
}
