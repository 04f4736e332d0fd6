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

/// Request to append record batches to partitions that one data server leads.
///
/// A partition may appear several times, and a topic without partitions is allowed: the reply has one result for each
/// entry, in the same order. An entry is not atomic: if one of its batches is refused, batches before it may be
/// written. So an entry should hold one batch, unless all its batches are known to be valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProduceRequest {
    /// Ignored by servers.
    pub transactional_id: Option<String>,
    /// Time of the reply: after the leader has written, or after all in-sync replicas have.
    pub isolation: Isolation,
    /// Time to wait for replicas with [`Isolation::ReadCommitted`], in milliseconds; not negative.
    pub timeout_ms: i32,
    /// Batches by topic.
    pub topics: Vec<TopicProduceData>,
    /// SmartModules that process every entry before it is stored.
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
    /// Batches for one topic.
    #[derive(Default)]
    pub struct TopicProduceData {
        /// Name of the topic.
        pub name: String,
        /// Entries, in the order of appending.
        pub partitions: Vec<PartitionProduceData>,
    }
}

wire_struct! {
    /// Batches for one partition.
    #[derive(Default)]
    pub struct PartitionProduceData {
        /// Number of the partition.
        pub partition: u32,
        /// The batches; the server assigns their offsets.
        pub records: RecordSet,
    }
}

wire_struct! {
    /// Reply to a [`ProduceRequest`]: one result for each entry.
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
        /// Offset of the first record of the first batch. Also 0 when nothing was written because the entry was empty
        /// or a SmartModule dropped all records.
        pub base_offset: i64,
        /// Always 0.
        pub log_append_time_ms: i64 [2..],
        /// Always 0.
        pub log_start_offset: i64 [5..],
    }
}
