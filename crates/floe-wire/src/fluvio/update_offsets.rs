//! UpdateOffsets (key 1005 of a data server): flow control of streams. Stores nothing.

use super::{error_code::ErrorCode, request::Request, version_range::VersionRange, wire::wire_struct};

wire_struct! {
    /// Acknowledgements for streams of the same connection. A stream sends exactly one reply for each.
    #[derive(Default)]
    pub struct UpdateOffsetsRequest {
        /// The acknowledgements, each for one stream.
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
    /// Acknowledgement of all records below an offset.
    #[derive(Default)]
    pub struct OffsetUpdate {
        /// Next requested offset. An offset beyond the end silently skips records; -2 ends the stream.
        pub offset: i64,
        /// Number of the stream, from its replies.
        pub stream_id: u32,
    }
}

wire_struct! {
    /// Reply to an [`UpdateOffsetsRequest`].
    #[derive(Default)]
    pub struct UpdateOffsetsReply {
        /// One result for each acknowledgement, in order.
        pub results: Vec<OffsetUpdateResult>,
    }
}

wire_struct! {
    /// Result for one stream.
    #[derive(Default)]
    pub struct OffsetUpdateResult {
        /// Number of the stream.
        pub stream_id: u32,
        /// Outcome; [`ErrorCode::FetchSessionNotFoud`] for a stream unknown on this connection.
        pub error_code: ErrorCode,
    }
}
