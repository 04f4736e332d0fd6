//! ApiVersions (key 18): the handshake. Optional on the wire, but the only source of the versions that a server
//! supports.

use super::{error_code::ErrorCode, request::Request, version_range::VersionRange, wire::wire_struct};

wire_struct! {
    /// Description of the client. Controllers require a semantic version in `client_version` and close the connection
    /// otherwise; data servers then serve streams in an old layout.
    #[derive(Default)]
    pub struct ApiVersionsRequest {
        /// Semantic version of the client.
        pub client_version: String [1..],
        /// Operating system of the client.
        pub client_os: String [1..],
        /// Processor architecture of the client.
        pub client_arch: String [1..],
    }
}

impl ApiVersionsRequest {
    /// The version of the request that official clients send.
    pub const VERSION: i16 = 2;
}

impl Request for ApiVersionsRequest {
    type Reply = ApiVersionsReply;
    const KEY: u16 = 18;
    const NAME: &'static str = "ApiVersions";
    const VERSIONS: VersionRange = VersionRange::new(0, Self::VERSION);
    const ANNOUNCED: bool = false;
}

wire_struct! {
    /// Versions that a server supports.
    #[derive(Default)]
    pub struct ApiVersionsReply {
        /// [`ErrorCode::None`] in practice.
        pub error_code: ErrorCode,
        /// The APIs that the server announces; see [`Request::ANNOUNCED`].
        pub api_keys: Vec<ApiVersionRange>,
        /// Semantic version of the cluster; always `0.0.0` from data servers.
        pub platform_version: String,
    }
}

wire_struct! {
    /// Versions that a server supports of one API.
    #[derive(Default)]
    pub struct ApiVersionRange {
        /// Number of the API.
        pub api_key: i16,
        /// Least version.
        pub min_version: i16,
        /// Greatest version.
        pub max_version: i16,
    }
}
