//! Topics: desired state, observed state and changes.

use std::{collections::BTreeMap, time::Duration};

use super::assignment::{PartitionMirror, ReplicaAssignment};
use crate::fluvio::wire::{wire_enum, wire_open_enum, wire_struct};

wire_struct! {
    /// Desired state of a topic.
    #[derive(Default)]
    pub struct TopicSpec {
        /// Partitions, and the assignment of their replicas.
        pub replicas: ReplicaAssignment,
        /// Retention of old records; the server's default (seven days) if `None`.
        pub cleanup_policy: Option<CleanupPolicy> [3..],
        /// Size limits; the server's defaults if `None`.
        pub storage: Option<TopicStorage> [4..],
        /// Allowed codecs.
        pub compression: TopicCompression [6..],
        /// Deduplication settings, if the topic deduplicates.
        pub deduplication: Option<Deduplication> [12..],
        /// Whether the topic is hidden from ordinary lists and deleted only by force.
        pub system: bool [13..],
    }
}

wire_enum! {
    /// Retention of old records.
    #[derive(Copy)]
    pub enum CleanupPolicy {
        /// Removal of whole segments by age.
        0 => Segment {
            /// Age in seconds; at least 10.
            time_in_seconds: u32,
        },
    }
}

wire_struct! {
    /// Size limits of a topic.
    #[derive(Copy, Default)]
    pub struct TopicStorage {
        /// Size of one segment in bytes; at least 1,024, by default 1 GiB.
        pub segment_size: Option<u32>,
        /// Size limit of one partition in bytes; at least 2,048 and one segment, by default 100 GiB.
        pub max_partition_size: Option<u64>,
    }
}

wire_open_enum! {
    /// Codecs that a topic allows. The numbers are **not** those in the attributes of a batch.
    #[derive(Default)]
    pub enum TopicCompression {
        /// Only uncompressed batches.
        0 => None,
        /// Only gzip.
        1 => Gzip,
        /// Only snappy.
        2 => Snappy,
        /// Only lz4.
        3 => Lz4,
        /// Any codec.
        #[default]
        4 => Any,
        /// Only zstd.
        5 => Zstd,
    }
}

wire_struct! {
    /// Deduplication settings.
    #[derive(Default)]
    pub struct Deduplication {
        /// Number of records to remember.
        pub count: u64,
        /// Time to remember a record.
        pub age: Option<Duration>,
        /// Name of the SmartModule that detects duplicates.
        pub uses: String,
        /// Parameters of the SmartModule.
        pub with: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// Observed state of a topic.
    #[derive(Default)]
    pub struct TopicStatus {
        /// Stage of the topic's life cycle.
        pub resolution: TopicResolution,
        /// Ids of the data servers of each partition.
        pub replica_map: BTreeMap<u32, Vec<i32>>,
        /// Mirrors of each partition.
        pub mirror_map: BTreeMap<u32, PartitionMirror> [14..],
        /// Reason of the resolution.
        pub reason: String,
    }
}

wire_open_enum! {
    /// Stage of a topic's life cycle.
    #[derive(Default)]
    pub enum TopicResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// Valid, waiting for replicas.
        1 => Pending,
        /// The cluster has too few data servers.
        2 => InsufficientResources,
        /// The specification is invalid.
        3 => InvalidConfig,
        /// All replicas are assigned.
        4 => Provisioned,
        /// Being deleted.
        5 => Deleting,
    }
}

wire_enum! {
    /// A change to an existing topic.
    pub enum TopicUpdate {
        /// More partitions; only for [`ReplicaAssignment::Computed`].
        0 => AddPartition {
            /// Number of partitions to add.
            count: u32,
        },
        /// One more remote cluster.
        1 => AddMirror(mirror: AddMirror),
    }
}

wire_struct! {
    /// A remote cluster to add to a mirrored topic.
    #[derive(Default)]
    pub struct AddMirror {
        /// Id of the remote cluster.
        pub remote_cluster: String,
        /// Whether records flow from the home cluster to the remote one.
        pub home_to_mirror: bool,
    }
}
