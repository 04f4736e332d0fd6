//! Partitions. The object's name is `<topic>-<number>`: see [`PartitionName`](crate::fluvio::names::PartitionName).

use super::{
    assignment::PartitionMirror,
    topic::{CleanupPolicy, Deduplication, TopicCompression, TopicStorage},
};
use crate::fluvio::wire::{wire_open_enum, wire_struct};

wire_struct! {
    /// What a partition is to be. **Route by `leader`**: the status lags.
    #[derive(Default)]
    pub struct PartitionSpec {
        /// Id of the data server that leads the partition.
        pub leader: i32,
        /// Ids of all data servers that hold it, the leader included.
        pub replicas: Vec<i32>,
        /// As in the topic.
        pub cleanup_policy: Option<CleanupPolicy> [4..],
        /// As in the topic.
        pub storage: Option<TopicStorage> [4..],
        /// As in the topic.
        pub compression: TopicCompression [6..],
        /// As in the topic.
        pub deduplication: Option<Deduplication> [12..],
        /// As in the topic.
        pub system: bool [13..],
        /// If the partition is mirrored, where.
        pub mirror: Option<PartitionMirror> [14..],
    }
}

wire_struct! {
    /// What the controller reports of a partition: advisory, and behind the data servers.
    #[derive(Default)]
    pub struct PartitionStatus {
        /// Whether the partition can be used.
        pub resolution: PartitionResolution,
        /// The leader's replica.
        pub leader: ReplicaStatus,
        /// How many replicas are in sync.
        pub live_replicas: u32,
        /// The followers' replicas.
        pub replicas: Vec<ReplicaStatus>,
        /// Bytes on disk; -1 after an error, -2 if unknown.
        pub size: i64 [5..],
        /// Whether the partition is being deleted.
        pub is_being_deleted: bool,
        /// First offset that is stored.
        pub base_offset: i64 [16..],
    }
}

wire_open_enum! {
    /// Whether a partition can be used.
    #[derive(Default)]
    pub enum PartitionResolution {
        /// There is no leader.
        #[default]
        0 => Offline,
        /// Running.
        1 => Online,
        /// The leader is gone and nobody can follow it.
        2 => LeaderOffline,
        /// A new leader was found.
        3 => ElectionLeaderFound,
        /// The leader's disk is full.
        4 => OutOfStorage,
    }
}

wire_struct! {
    /// One replica, as its data server last reported it.
    #[derive(Copy, Default)]
    pub struct ReplicaStatus {
        /// Id of the data server.
        pub spu: i32,
        /// First offset that not all replicas in sync have.
        pub high_watermark: i64,
        /// Offset of the next record.
        pub log_end_offset: i64,
    }
}
