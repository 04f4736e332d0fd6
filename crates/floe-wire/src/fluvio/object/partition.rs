//! Partitions. The object's name is `<topic>-<number>`: see [`PartitionName`](crate::fluvio::names::PartitionName).

use super::{
    assignment::PartitionMirror,
    topic::{CleanupPolicy, Deduplication, TopicCompression, TopicStorage},
};
use crate::fluvio::wire::{wire_open_enum, wire_struct};

wire_struct! {
    /// Desired state of a partition. **Route by `leader`**: the status lags behind.
    #[derive(Default)]
    pub struct PartitionSpec {
        /// Id of the data server that leads the partition.
        pub leader: i32,
        /// Ids of all data servers that hold a replica, the leader included.
        pub replicas: Vec<i32>,
        /// Cleanup policy of the topic.
        pub cleanup_policy: Option<CleanupPolicy> [4..],
        /// Storage sizes of the topic.
        pub storage: Option<TopicStorage> [4..],
        /// Codecs that the topic allows.
        pub compression: TopicCompression [6..],
        /// Deduplication of the topic.
        pub deduplication: Option<Deduplication> [12..],
        /// Whether the topic is a system topic.
        pub system: bool [13..],
        /// Other end of the partition, if it is mirrored.
        pub mirror: Option<PartitionMirror> [14..],
    }
}

wire_struct! {
    /// Observed state of a partition: advisory, and behind the data servers.
    #[derive(Default)]
    pub struct PartitionStatus {
        /// Whether the partition can be used.
        pub resolution: PartitionResolution,
        /// The leader's replica.
        pub leader: ReplicaStatus,
        /// Number of in-sync replicas.
        pub live_replicas: u32,
        /// The followers' replicas.
        pub replicas: Vec<ReplicaStatus>,
        /// Size on disk in bytes; -1 after an error, -2 if unknown.
        pub size: i64 [5..],
        /// Whether the partition is being deleted.
        pub is_being_deleted: bool,
        /// First stored offset.
        pub base_offset: i64 [16..],
    }
}

wire_open_enum! {
    /// Whether a partition can be used.
    #[derive(Default)]
    pub enum PartitionResolution {
        /// The partition has no leader.
        #[default]
        0 => Offline,
        /// The partition can be used.
        1 => Online,
        /// The leader is offline and no replica can take over.
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
        /// High watermark: first offset that not all in-sync replicas have.
        pub high_watermark: i64,
        /// Offset of the next record.
        pub log_end_offset: i64,
    }
}
