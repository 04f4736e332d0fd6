//! Produce (key 0 of a data server).

use super::{
    error_code::ErrorCode,
    input::Input,
    isolation::Isolation,
    output::Output,
    record_set::RecordSet,
    request::{Request, SPU_VERSIONS},
    smartmodule::SmartModuleInvocation,
    version_range::VersionRange,
    wire::{Wire, wire_struct},
};
use crate::WireError;

/// Appends record batches to partitions that one data server leads.
///
/// A partition may appear several times, and a topic without partitions is allowed: the reply has one result for each
/// entry, in the same order. Put one batch into an entry unless all are known to be good: an entry fails or succeeds
/// only nearly as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceRequest {
    /// Ignored by servers.
    pub transactional_id: Option<String>,
    /// When the reply is sent: after the leader has written, or after all replicas in sync have.
    pub isolation: Isolation,
    /// How long to wait for replicas with [`Isolation::ReadCommitted`], in milliseconds; not negative.
    pub timeout_ms: i32,
    /// What to append.
    pub topics: Vec<TopicProduceData>,
    /// Modules that every entry goes through before it is stored.
    pub smartmodules: Vec<SmartModuleInvocation>,
}

impl Request for ProduceRequest {
    type Reply = ProduceReply;
    const KEY: u16 = 0;
    const NAME: &'static str = "Produce";
    const VERSIONS: VersionRange = SPU_VERSIONS;
}

impl ProduceRequest {
    fn check_timeout(timeout_ms: i32) -> Result<(), WireError> {
        if timeout_ms >= 0 {
            return Ok(());
        }
        Err(WireError::OutOfRange {
            what: "ProduceRequest.timeout_ms",
            value: i64::from(timeout_ms),
            min: 0,
            max: i64::from(i32::MAX),
        })
    }
}

impl Wire for ProduceRequest {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        Self::check_timeout(self.timeout_ms)?;
        self.transactional_id.encode(output, version)?;
        output.i16(match self.isolation {
            Isolation::ReadUncommitted => 1,
            Isolation::ReadCommitted => -1,
        });
        output.i32(self.timeout_ms);
        self.topics.encode(output, version)?;
        self.smartmodules.encode(output, version)
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        input.enter("ProduceRequest");
        let transactional_id = Wire::decode(input, version)?;
        let isolation = if input.i16()? < 0 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let timeout_ms = input.i32()?;
        Self::check_timeout(timeout_ms)?;
        Ok(Self {
            transactional_id,
            isolation,
            timeout_ms,
            topics: Wire::decode(input, version)?,
            smartmodules: Wire::decode(input, version)?,
        })
    }
}

wire_struct! {
    /// What to append to one topic.
    #[derive(Default)]
    pub struct TopicProduceData {
        /// Name of the topic.
        pub name: String,
        /// Entries, in the order in which they are appended.
        pub partitions: Vec<PartitionProduceData>,
    }
}

wire_struct! {
    /// What to append to one partition.
    #[derive(Default)]
    pub struct PartitionProduceData {
        /// Number of the partition.
        pub partition: u32,
        /// The batches; the server assigns their offsets.
        pub records: RecordSet,
    }
}

wire_struct! {
    /// One result for each entry of the request.
    #[derive(Default)]
    pub struct ProduceReply {
        /// Results by topic, in the order of the request.
        pub topics: Vec<TopicProduceReply>,
        /// Always 0.
        pub throttle_ms: i32 [1..],
    }
}

wire_struct! {
    /// Results for one topic.
    #[derive(Default)]
    pub struct TopicProduceReply {
        /// Name of the topic.
        pub name: String,
        /// Results in the order of the entries.
        pub partitions: Vec<PartitionProduceReply>,
    }
}

wire_struct! {
    /// Result of one entry.
    #[derive(Default)]
    pub struct PartitionProduceReply {
        /// Number of the partition.
        pub partition: u32,
        /// [`ErrorCode::None`] if the batches were written.
        pub error_code: ErrorCode,
        /// Offset of the first record of the first batch. Also 0 when nothing was written because the entry was empty or
        /// a module dropped everything.
        pub base_offset: i64,
        /// Always 0.
        pub log_append_time_ms: i64 [2..],
        /// Always 0.
        pub log_start_offset: i64 [5..],
    }
}
