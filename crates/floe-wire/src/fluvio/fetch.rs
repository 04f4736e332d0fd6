//! Fetch (key 1 of a data server): one immediate reply with the available records. Official clients use
//! [`StreamFetch`](super::stream_fetch) instead.

use super::{
    error_code::ErrorCode,
    isolation::Isolation,
    record_set::RecordSet,
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Request for records of partitions that one data server leads.
    #[derive(Default)]
    pub struct FetchRequest {
        /// Ignored by servers, which reply at once.
        pub max_wait_ms: i32,
        /// Ignored by servers.
        pub min_bytes: i32,
        /// Most bytes of records for each partition; the last batch is cut there.
        pub max_bytes: i32 [3..],
        /// Whether to read beyond the high watermark.
        pub isolation: Isolation [4..],
        /// Topics to read.
        pub topics: Vec<FetchTopic>,
        /// Ignored by servers.
        pub forgotten: Vec<ForgottenTopic> [7..],
    }
}

impl Request for FetchRequest {
    type Reply = FetchReply;
    const KEY: u16 = 1;
    const NAME: &'static str = "Fetch";
    const VERSIONS: VersionRange = SPU_VERSIONS;
}

wire_struct! {
    /// Partitions to read of one topic.
    #[derive(Default)]
    pub struct FetchTopic {
        /// Name of the topic.
        pub name: String,
        /// Partitions to read.
        pub partitions: Vec<FetchPartition>,
    }
}

wire_struct! {
    /// Position to read from in one partition.
    #[derive(Default)]
    pub struct FetchPartition {
        /// Number of the partition.
        pub partition: u32,
        /// Ignored by servers.
        pub current_leader_epoch: i32 [9..],
        /// First requested offset; the reply begins with the batch that holds it.
        pub fetch_offset: i64,
        /// Ignored by servers.
        pub log_start_offset: i64 [5..],
        /// Ignored by servers, which use the limit of the request.
        pub max_bytes: i32,
    }
}

wire_struct! {
    /// Partitions to remove from a fetch session; servers have no sessions.
    #[derive(Default)]
    pub struct ForgottenTopic {
        /// Name of the topic.
        pub name: String [7..],
        /// Numbers of the partitions.
        pub partitions: Vec<i32> [7..],
    }
}

wire_struct! {
    /// Reply to a [`FetchRequest`].
    #[derive(Default)]
    pub struct FetchReply {
        /// Always 0.
        pub throttle_ms: i32,
        /// Error of the request as a whole; partitions have their own.
        pub error_code: ErrorCode,
        /// Always 0.
        pub session_id: i32,
        /// Records by topic.
        pub topics: Vec<FetchTopicReply>,
    }
}

wire_struct! {
    /// Records of one topic.
    #[derive(Default)]
    pub struct FetchTopicReply {
        /// Name of the topic.
        pub name: String,
        /// Records by partition.
        pub partitions: Vec<PartitionRecords>,
    }
}

wire_struct! {
    /// Records of one partition, in replies to fetches and in streams.
    #[derive(Default)]
    pub struct PartitionRecords {
        /// Number of the partition.
        pub partition: u32,
        /// Error of the partition. Records may accompany it and are delivered first.
        pub error_code: ErrorCode,
        /// High watermark: first offset that not all in-sync replicas have.
        pub high_watermark: i64,
        /// Above 0 if SmartModules ran: the offset to acknowledge instead of the end of the last batch.
        pub next_filter_offset: i64 [11..],
        /// First stored offset.
        pub log_start_offset: i64,
        /// Always none.
        pub aborted: Option<Vec<AbortedTransaction>>,
        /// The batches; the first may begin below the requested offset, the last may be truncated anywhere.
        pub records: RecordSet,
    }
}

wire_struct! {
    /// An aborted transaction; servers have no transactions.
    #[derive(Default)]
    pub struct AbortedTransaction {
        /// Producer of the transaction.
        pub producer_id: i64,
        /// First offset of the transaction.
        pub first_offset: i64,
    }
}
