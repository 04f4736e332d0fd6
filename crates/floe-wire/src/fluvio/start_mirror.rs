//! StartMirror (key 2000 of a data server): turns the connection into a mirroring connection between clusters.

use super::{
    request::{Request, SPU_VERSIONS},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Request of a remote cluster's data server. Later messages on the connection are not part of the public
    /// protocol.
    #[derive(Default)]
    pub struct StartMirrorRequest {
        /// Partition on the remote cluster, as `<topic>-<number>`.
        pub remote_replica: String,
        /// Id of the remote cluster.
        pub remote_cluster_id: String,
    }
}

impl Request for StartMirrorRequest {
    /// The reply is empty.
    type Reply = ();
    const KEY: u16 = 2000;
    const NAME: &'static str = "StartMirror";
    const VERSIONS: VersionRange = SPU_VERSIONS;
    const ANNOUNCED: bool = false;
}
