//! Assignment of replicas to data servers, and of mirrored partitions to clusters.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_enum! {
    /// Assignment of a topic's replicas to data servers.
    pub enum ReplicaAssignment {
        /// Assigned by the creator, partition by partition.
        0 => Assigned(partitions: Vec<PartitionAssignment>),
        /// Assigned by the controller.
        1 => Computed {
            /// Number of partitions.
            partitions: u32,
            /// Number of replicas of each partition.
            replication_factor: u32,
            /// Whether the replicas of a partition may share a rack.
            ignore_rack: bool,
        },
        /// Mirrored between clusters.
        2 => Mirror(assignment: MirrorAssignment),
    }
}

impl Default for ReplicaAssignment {
    fn default() -> Self {
        Self::Computed { partitions: 1, replication_factor: 1, ignore_rack: false }
    }
}

wire_struct! {
    /// The replicas of one partition.
    #[derive(Default)]
    pub struct PartitionAssignment {
        /// Number of the partition.
        pub id: u32,
        /// Ids of data servers; the first is preferred as leader.
        pub replicas: Vec<i32>,
        /// Other end of the partition, if it is mirrored.
        pub mirror: Option<PartitionMirror> [14..],
    }
}

wire_enum! {
    /// Role of this cluster in a mirrored topic.
    pub enum MirrorAssignment {
        /// Remote cluster.
        0 => Remote(remote: RemoteAssignment),
        /// Home cluster.
        1 => Home(home: HomeAssignment),
    }
}

wire_struct! {
    /// Mirrored topic on a remote cluster.
    #[derive(Default)]
    pub struct RemoteAssignment {
        /// Id of the home cluster.
        pub home_cluster: String,
        /// The home cluster's data servers, one for each partition.
        pub home_spus: Vec<HomeSpu>,
        /// Whether records flow from the home cluster to this one.
        pub target: bool [18..],
    }
}

wire_struct! {
    /// A data server of a home cluster.
    #[derive(Default)]
    pub struct HomeSpu {
        /// Id of the data server.
        pub id: i32,
        /// Name of the data server.
        pub key: String,
        /// Address of the data server.
        pub endpoint: String,
    }
}

wire_struct! {
    /// Mirrored topic on its home cluster.
    #[derive(Default)]
    pub struct HomeAssignment {
        /// Mirrored partitions, one for each remote cluster.
        pub partitions: Vec<HomePartition>,
        /// Whether records flow from this cluster to the remote clusters.
        pub source: bool [18..],
    }
}

wire_struct! {
    /// One mirrored partition on its home cluster.
    #[derive(Default)]
    pub struct HomePartition {
        /// Id of the remote cluster.
        pub remote_cluster: String,
        /// Partition on the remote cluster, as `<topic>-<number>`.
        pub remote_replica: String,
        /// Whether records flow from this cluster to the remote one.
        pub source: bool [18..],
    }
}

wire_enum! {
    /// Role of a mirrored partition.
    pub enum PartitionMirror {
        /// Partition of a remote cluster.
        0 => Remote(remote: RemotePartition),
        /// Partition of the home cluster.
        1 => Home(home: HomePartition),
    }
}

wire_struct! {
    /// One mirrored partition on a remote cluster.
    #[derive(Default)]
    pub struct RemotePartition {
        /// Id of the home cluster.
        pub home_cluster: String,
        /// Name of the home data server.
        pub home_spu_key: String,
        /// Id of the home data server.
        pub home_spu_id: i32,
        /// Address of the home data server.
        pub home_spu_endpoint: String,
        /// Whether records flow from the home cluster to this one.
        pub target: bool [18..],
    }
}
