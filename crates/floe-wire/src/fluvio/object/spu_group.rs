//! Groups of data servers that the cluster manages.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// Desired state of a group.
    #[derive(Default)]
    pub struct SpuGroupSpec {
        /// Number of data servers.
        pub replicas: u16,
        /// Least id of the data servers.
        pub min_id: i32,
        /// Rack of the data servers.
        pub rack: Option<String>,
        /// Replication settings.
        pub replication: Option<ReplicationConfig>,
        /// Storage settings.
        pub storage: Option<StorageConfig>,
        /// Environment variables of the data servers.
        pub env: Vec<EnvironmentVariable>,
    }
}

wire_struct! {
    /// Replication settings of data servers.
    #[derive(Copy, Default)]
    pub struct ReplicationConfig {
        /// Least number of in-sync replicas.
        pub in_sync_replica_min: Option<u16>,
    }
}

wire_struct! {
    /// Storage settings of data servers.
    #[derive(Default)]
    pub struct StorageConfig {
        /// Directory of the log files.
        pub log_dir: Option<String>,
        /// Size limit, as a text with a unit.
        pub size: Option<String>,
    }
}

wire_struct! {
    /// An environment variable.
    #[derive(Default)]
    pub struct EnvironmentVariable {
        /// Name of the variable.
        pub name: String,
        /// Value of the variable.
        pub value: String,
    }
}

wire_struct! {
    /// Observed state of a group.
    #[derive(Default)]
    pub struct SpuGroupStatus {
        /// Resolution of the group.
        pub resolution: SpuGroupResolution,
        /// Reason of the resolution.
        pub reason: Option<String>,
    }
}

wire_enum! {
    /// Resolution of a group.
    #[derive(Copy, Hash, Default)]
    pub enum SpuGroupResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// The specification is invalid.
        1 => Invalid,
        /// In use.
        2 => Reserved,
    }
}
