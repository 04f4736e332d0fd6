//! UpdateOffsets (key 1005 of a data server): flow control of streams. Stores nothing.

use super::{error_code::ErrorCode, request::Request, version_range::VersionRange, wire::wire_struct};

wire_struct! {
    /// Lets streams of the same connection go on. A stream sends exactly one reply for each acknowledgement.
    #[derive(Default)]
    pub struct UpdateOffsetsRequest {
        /// Acknowledgements, each for one stream.
        pub offsets: Vec<OffsetUpdate>,
    }
}

impl Request for UpdateOffsetsRequest {
    type Reply = UpdateOffsetsReply;
    const KEY: u16 = 1005;
    const NAME: &'static str = "UpdateOffsets";
    const VERSIONS: VersionRange = VersionRange::new(0, 0);
}

wire_struct! {
    /// "Everything below is here: send from this offset on."
    #[derive(Default)]
    pub struct OffsetUpdate {
        /// Next offset wanted. One beyond the end silently skips records, -2 kills the stream.
        pub offset: i64,
        /// The number that the replies of the stream carry.
        pub stream_id: u32,
    }
}

wire_struct! {
    /// Results, in the order of the request.
    #[derive(Default)]
    pub struct UpdateOffsetsReply {
        /// One for each acknowledgement.
        pub results: Vec<OffsetUpdateResult>,
    }
}

wire_struct! {
    /// Result for one stream.
    #[derive(Default)]
    pub struct OffsetUpdateResult {
        /// Number of the stream.
        pub stream_id: u32,
        /// [`ErrorCode::FetchSessionNotFoud`] for a stream that is not on this connection.
        pub error_code: ErrorCode,
    }
}
