//! Mirroring (key 1005 of a controller): a remote cluster asks its home cluster for the topics to mirror.

use super::{
    admin::{decode_envelope, encode_envelope},
    error_code::ErrorCode,
    input::Input,
    object::TopicSpec,
    output::Output,
    request::{Request, SC_VERSIONS},
    version_range::VersionRange,
    wire::{Wire, wire_struct},
};
use crate::WireError;

const LABEL: &str = "MirroringConnect";

/// Request for a stream of [`MirroringReply`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MirroringRequest {
    /// Id of the requesting remote cluster.
    pub remote_id: String,
}

impl Request for MirroringRequest {
    type Reply = MirroringReply;
    const KEY: u16 = 1005;
    const NAME: &'static str = "Mirroring";
    const VERSIONS: VersionRange = SC_VERSIONS;
}

impl Wire for MirroringRequest {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        encode_envelope(output, LABEL, |output| self.remote_id.encode(output, version))
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        decode_envelope(input, LABEL, |input| Ok(Self { remote_id: Wire::decode(input, version)? }))
    }
}

wire_struct! {
    /// One of many replies: the partitions that the remote cluster mirrors. Has no envelope.
    #[derive(Default)]
    pub struct MirroringReply {
        /// Id of the remote cluster.
        pub name: String,
        /// Outcome of the request.
        pub error_code: ErrorCode,
        /// Details of the error as text.
        pub error_message: Option<String>,
        /// Partitions to mirror.
        pub topics: Vec<MirroredTopic>,
    }
}

wire_struct! {
    /// One partition to mirror.
    #[derive(Default)]
    pub struct MirroredTopic {
        /// Name of the topic.
        pub key: String,
        /// Specification of the topic.
        pub spec: TopicSpec,
        /// Id of the home data server.
        pub spu_id: i32,
        /// Name of the home data server.
        pub spu_key: String,
        /// Address of the home data server.
        pub spu_endpoint: String,
    }
}
