//! Assignment of replicas to data servers, and of mirrored partitions to clusters.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_enum! {
    /// How replicas of a topic are assigned to data servers.
    pub enum ReplicaAssignment {
        /// By the creator, partition by partition.
        0 => Assigned(partitions: Vec<PartitionAssignment>),
        /// By the controller.
        1 => Computed {
            /// How many partitions.
            partitions: u32,
            /// How many replicas of each.
            replication_factor: u32,
            /// Whether all replicas may share a rack.
            ignore_rack: bool,
        },
        /// As a copy between clusters.
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
        /// If the partition is mirrored, where.
        pub mirror: Option<PartitionMirror> [14..],
    }
}

wire_enum! {
    /// Which end of a mirror this cluster is.
    pub enum MirrorAssignment {
        /// The far end.
        0 => Remote(remote: RemoteAssignment),
        /// The near end.
        1 => Home(home: HomeAssignment),
    }
}

wire_struct! {
    /// The far end of a mirrored topic.
    #[derive(Default)]
    pub struct RemoteAssignment {
        /// Id of the home cluster.
        pub home_cluster: String,
        /// The home cluster's data servers, one for each partition.
        pub home_spus: Vec<HomeSpu>,
        /// Whether records flow from home to here.
        pub target: bool [18..],
    }
}

wire_struct! {
    /// A data server of a home cluster.
    #[derive(Default)]
    pub struct HomeSpu {
        /// Its id.
        pub id: i32,
        /// Its name.
        pub key: String,
        /// Its address.
        pub endpoint: String,
    }
}

wire_struct! {
    /// The near end of a mirrored topic.
    #[derive(Default)]
    pub struct HomeAssignment {
        /// One for each remote cluster.
        pub partitions: Vec<HomePartition>,
        /// Whether records flow from here to the remote clusters.
        pub source: bool [18..],
    }
}

wire_struct! {
    /// The near end of one mirrored partition.
    #[derive(Default)]
    pub struct HomePartition {
        /// Id of the remote cluster.
        pub remote_cluster: String,
        /// Partition there, as `<topic>-<number>`.
        pub remote_replica: String,
        /// Whether records flow from here to there.
        pub source: bool [18..],
    }
}

wire_enum! {
    /// Which end of a mirror a partition is.
    pub enum PartitionMirror {
        /// The far end.
        0 => Remote(remote: RemotePartition),
        /// The near end.
        1 => Home(home: HomePartition),
    }
}

wire_struct! {
    /// The far end of one mirrored partition.
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
        /// Whether records flow from home to here.
        pub target: bool [18..],
    }
}
