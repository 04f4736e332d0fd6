//! Topics.

use std::{collections::BTreeMap, time::Duration};

use super::assignment::{PartitionMirror, ReplicaAssignment};
use crate::fluvio::wire::{wire_enum, wire_open_enum, wire_struct};

wire_struct! {
    /// What a topic is to be.
    #[derive(Default)]
    pub struct TopicSpec {
        /// How many partitions, and where their replicas are.
        pub replicas: ReplicaAssignment,
        /// When old records are removed; the server's default (seven days) if `None`.
        pub cleanup_policy: Option<CleanupPolicy> [3..],
        /// Sizes of files; the server's defaults if `None`.
        pub storage: Option<TopicStorage> [4..],
        /// Which codecs are allowed.
        pub compression: TopicCompression [6..],
        /// How repeated records are recognised, if at all.
        pub deduplication: Option<Deduplication> [12..],
        /// Hidden from ordinary lists, and deleted only by force.
        pub system: bool [13..],
    }
}

wire_enum! {
    /// When old records are removed.
    #[derive(Copy)]
    pub enum CleanupPolicy {
        /// Whole segments, by age.
        0 => Segment {
            /// Age in seconds; at least 10.
            time_in_seconds: u32,
        },
    }
}

wire_struct! {
    /// Sizes of a topic's files.
    #[derive(Copy, Default)]
    pub struct TopicStorage {
        /// Bytes of one segment; at least 1,024, by default 1 GiB.
        pub segment_size: Option<u32>,
        /// Bytes of one partition; at least 2,048 and one segment, by default 100 GiB.
        pub max_partition_size: Option<u64>,
    }
}

wire_open_enum! {
    /// Which codecs a topic allows. The numbers are **not** those in the attributes of a batch.
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
        /// Whatever the producer chooses.
        #[default]
        4 => Any,
        /// Only zstd.
        5 => Zstd,
    }
}

wire_struct! {
    /// How repeated records are recognised.
    #[derive(Default)]
    pub struct Deduplication {
        /// How many records to remember.
        pub count: u64,
        /// How long to remember them.
        pub age: Option<Duration>,
        /// Name of the SmartModule that does it.
        pub uses: String,
        /// Its parameters.
        pub with: BTreeMap<String, String>,
    }
}

wire_struct! {
    /// What the controller reports of a topic.
    #[derive(Default)]
    pub struct TopicStatus {
        /// Where the topic is in its life.
        pub resolution: TopicResolution,
        /// Data servers of each partition.
        pub replica_map: BTreeMap<u32, Vec<i32>>,
        /// Mirrors of each partition.
        pub mirror_map: BTreeMap<u32, PartitionMirror> [14..],
        /// Why the resolution is what it is.
        pub reason: String,
    }
}

wire_open_enum! {
    /// Where a topic is in its life.
    #[derive(Default)]
    pub enum TopicResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// Valid, waiting for replicas.
        1 => Pending,
        /// There are too few data servers.
        2 => InsufficientResources,
        /// The specification makes no sense.
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
            /// How many more.
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
        /// Whether records flow from home to there.
        pub home_to_mirror: bool,
    }
}
