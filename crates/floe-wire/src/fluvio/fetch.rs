//! Fetch (key 1 of a data server): one reply at once, whatever there is. Official clients use
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
    /// Asks for records of partitions that one data server leads.
    #[derive(Default)]
    pub struct FetchRequest {
        /// Ignored by servers: they answer at once.
        pub max_wait_ms: i32,
        /// Ignored by servers.
        pub min_bytes: i32,
        /// Most bytes of records for each partition; the last batch is cut there.
        pub max_bytes: i32 [3..],
        /// How far to read.
        pub isolation: Isolation [4..],
        /// What to read.
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
    /// What to read of one topic.
    #[derive(Default)]
    pub struct FetchTopic {
        /// Name of the topic.
        pub name: String,
        /// What to read of its partitions.
        pub partitions: Vec<FetchPartition>,
    }
}

wire_struct! {
    /// What to read of one partition.
    #[derive(Default)]
    pub struct FetchPartition {
        /// Number of the partition.
        pub partition: u32,
        /// Ignored by servers.
        pub current_leader_epoch: i32 [9..],
        /// First offset wanted; the reply begins with the batch that holds it.
        pub fetch_offset: i64,
        /// Ignored by servers.
        pub log_start_offset: i64 [5..],
        /// Ignored by servers, which use the limit of the request.
        pub max_bytes: i32,
    }
}

wire_struct! {
    /// Partitions to leave out of a session; servers have no sessions.
    #[derive(Default)]
    pub struct ForgottenTopic {
        /// Name of the topic.
        pub name: String [7..],
        /// Numbers of the partitions.
        pub partitions: Vec<i32> [7..],
    }
}

wire_struct! {
    /// The records that were there.
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
        /// Records may come with an error: deliver them, then raise it.
        pub error_code: ErrorCode,
        /// First offset that not all replicas in sync have.
        pub high_watermark: i64,
        /// Above 0 if modules were at work: the offset to acknowledge in place of the end of the last batch.
        pub next_filter_offset: i64 [11..],
        /// First offset that is stored.
        pub log_start_offset: i64,
        /// Always none.
        pub aborted: Option<Vec<AbortedTransaction>>,
        /// The batches; the first may begin below the offset wanted, the last may be cut anywhere.
        pub records: RecordSet,
    }
}

wire_struct! {
    /// Of transactions, which servers do not have.
    #[derive(Default)]
    pub struct AbortedTransaction {
        /// Whose transaction.
        pub producer_id: i64,
        /// Its first offset.
        pub first_offset: i64,
    }
}
