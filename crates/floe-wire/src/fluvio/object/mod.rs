//! Objects of the controller: topics, partitions, data servers and so on, each with a specification (the desired
//! state) and a status (the observed state).

mod assignment;
mod mirror;
mod partition;
mod smartmodule;
mod spu;
mod spu_group;
mod table_format;
mod topic;

use std::fmt::Debug;

pub use assignment::{
    HomeAssignment, HomePartition, HomeSpu, MirrorAssignment, PartitionAssignment, PartitionMirror,
    RemoteAssignment, RemotePartition, ReplicaAssignment,
};
pub use mirror::{
    ClientTls, ConnectionStatus, HomeCluster, MirrorSpec, MirrorStatus, PairingStatus, RemoteCluster,
};
pub use partition::{PartitionResolution, PartitionSpec, PartitionStatus, ReplicaStatus};
pub use smartmodule::{
    SmartModuleMetadata, SmartModulePackage, SmartModuleParameter, SmartModuleSpec, SmartModuleSummary,
    SmartModuleVisibility, WasmFormat,
};
pub use spu::{
    CustomSpuKey, CustomSpuSpec, Encryption, Endpoint, IngressAddress, IngressEndpoint, SpuSpec, SpuStatus,
    SpuType,
};
pub use spu_group::{
    EnvironmentVariable, ReplicationConfig, SpuGroupResolution, SpuGroupSpec, SpuGroupStatus, StorageConfig,
};
pub use table_format::{
    ColumnAlignment, ColumnColor, DataFormat, TableFormatColumn, TableFormatResolution, TableFormatSpec,
    TableFormatStatus,
};
pub use topic::{
    AddMirror, CleanupPolicy, Deduplication, TopicCompression, TopicResolution, TopicSpec, TopicStatus,
    TopicStorage, TopicUpdate,
};

use super::wire::Wire;

/// A kind of object, named by its specification.
pub trait Object: Wire + Debug + Clone + PartialEq + Eq + Send + Sync + 'static {
    /// Name of the kind on the wire; case matters.
    const LABEL: &'static str;

    /// Observed state of an object.
    type Status: Wire + Debug + Clone + PartialEq + Eq + Send + Sync;

    /// Key of an object in a delete request.
    type DeleteKey: Wire + Debug + Clone + PartialEq + Eq + Send + Sync;
}

macro_rules! objects {
    ($($spec:ty: $label:literal, $status:ty, $key:ty;)+) => {$(
        impl Object for $spec {
            const LABEL: &'static str = $label;
            type Status = $status;
            type DeleteKey = $key;
        }
    )+};
}

objects! {
    TopicSpec: "Topic", TopicStatus, String;
    PartitionSpec: "Partition", PartitionStatus, String;
    SpuSpec: "SPU", SpuStatus, String;
    CustomSpuSpec: "CustomSpu", SpuStatus, CustomSpuKey;
    SmartModuleSpec: "SmartModule", (), String;
    SpuGroupSpec: "SpuGroup", SpuGroupStatus, String;
    TableFormatSpec: "TableFormat", TableFormatStatus, String;
    MirrorSpec: "Mirror", MirrorStatus, String;
}
