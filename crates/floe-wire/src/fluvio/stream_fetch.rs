//! StreamFetch (key 1003 of a data server): opens a stream of replies.
//!
//! The server sends one reply and waits for an [`UpdateOffsets`](super::update_offsets) before the next. A stream ends
//! with an error or with its connection.

use bytes::Bytes;

use super::{
    fetch::PartitionRecords,
    isolation::Isolation,
    request::{Request, SPU_VERSIONS},
    smartmodule::{SmartModuleInvocation, SmartModuleParameters},
    version_range::VersionRange,
    wire::wire_struct,
};

wire_struct! {
    /// Request for a stream of one partition's records.
    #[derive(Default)]
    pub struct StreamFetchRequest {
        /// Name of the topic.
        pub topic: String,
        /// Number of the partition.
        pub partition: u32,
        /// First requested offset; the first reply begins with the batch that holds it.
        pub fetch_offset: i64,
        /// Most bytes of records in one reply, fixed for the life of the stream: replies are truncated there, even
        /// within a batch. With 0 the server sends no records; negative means no limit.
        pub max_bytes: i32,
        /// Whether to read beyond the high watermark.
        pub isolation: Isolation,
        /// One module, sent by old clients.
        pub wasm_module: Bytes [11..=18],
        /// One module, sent by old clients.
        pub smartmodule: Option<SmartModuleInvocation> [16..=18],
        /// Derived stream; no longer supported.
        pub derived_stream: Option<DerivedStreamInvocation> [16..=18],
        /// Modules that process the records, in order.
        pub smartmodules: Vec<SmartModuleInvocation> [18..],
        /// Name that the reader's offset is stored under; required for storing it.
        pub consumer_id: Option<String> [23..],
    }
}

impl Request for StreamFetchRequest {
    type Reply = StreamFetchReply;
    const KEY: u16 = 1003;
    const NAME: &'static str = "StreamFetch";
    const VERSIONS: VersionRange = SPU_VERSIONS;
}

wire_struct! {
    /// Invocation of a derived stream; no longer supported.
    #[derive(Default)]
    pub struct DerivedStreamInvocation {
        /// Name of the derived stream.
        pub stream: String,
        /// Parameters of the derived stream.
        pub params: SmartModuleParameters,
    }
}

wire_struct! {
    /// One of many replies to a [`StreamFetchRequest`].
    #[derive(Default)]
    pub struct StreamFetchReply {
        /// Name of the topic.
        pub topic: String,
        /// Number of the stream on this connection, from 1; 0 if the server refused the stream. Clients acknowledge
        /// and store offsets under this number.
        pub stream_id: u32,
        /// The records.
        pub partition: PartitionRecords,
    }
}
