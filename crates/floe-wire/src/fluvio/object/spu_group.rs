//! Groups of data servers that the cluster runs by itself.

use crate::fluvio::wire::{wire_enum, wire_struct};

wire_struct! {
    /// What a group is to be.
    #[derive(Default)]
    pub struct SpuGroupSpec {
        /// How many data servers.
        pub replicas: u16,
        /// Least id of them.
        pub min_id: i32,
        /// The rack they are in.
        pub rack: Option<String>,
        /// How they replicate.
        pub replication: Option<ReplicationConfig>,
        /// Where they store.
        pub storage: Option<StorageConfig>,
        /// Their environment.
        pub env: Vec<EnvironmentVariable>,
    }
}

wire_struct! {
    /// How data servers replicate.
    #[derive(Copy, Default)]
    pub struct ReplicationConfig {
        /// Least number of replicas in sync.
        pub in_sync_replica_min: Option<u16>,
    }
}

wire_struct! {
    /// Where data servers store.
    #[derive(Default)]
    pub struct StorageConfig {
        /// Folder.
        pub log_dir: Option<String>,
        /// Size, as a text with a unit.
        pub size: Option<String>,
    }
}

wire_struct! {
    /// A variable of the environment.
    #[derive(Default)]
    pub struct EnvironmentVariable {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: String,
    }
}

wire_struct! {
    /// What the controller reports of a group.
    #[derive(Default)]
    pub struct SpuGroupStatus {
        /// Whether the group is in use.
        pub resolution: SpuGroupResolution,
        /// Why it is not.
        pub reason: Option<String>,
    }
}

wire_enum! {
    /// Whether a group is in use.
    #[derive(Copy, Hash, Default)]
    pub enum SpuGroupResolution {
        /// Just created.
        #[default]
        0 => Init,
        /// The specification makes no sense.
        1 => Invalid,
        /// In use.
        2 => Reserved,
    }
}
