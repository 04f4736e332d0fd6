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
    /// Opens a stream on one partition.
    #[derive(Default)]
    pub struct StreamFetchRequest {
        /// Name of the topic.
        pub topic: String,
        /// Number of the partition.
        pub partition: u32,
        /// First offset wanted; the first reply begins with the batch that holds it.
        pub fetch_offset: i64,
        /// Most bytes of records in one reply, fixed for the life of the stream: replies are cut there, within a batch
        /// if need be. With 0 the server never sends anything; negative means no limit.
        pub max_bytes: i32,
        /// How far to read.
        pub isolation: Isolation,
        /// One module, in the way of old clients.
        pub wasm_module: Bytes [11..=18],
        /// One module, in the way of old clients.
        pub smartmodule: Option<SmartModuleInvocation> [16..=18],
        /// Of derived streams, which are no more.
        pub derived_stream: Option<DerivedStreamInvocation> [16..=18],
        /// Modules that the records go through, in order.
        pub smartmodules: Vec<SmartModuleInvocation> [18..],
        /// Under which name the reader's offset is stored; needed to store it.
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
    /// Of derived streams, which are no more.
    #[derive(Default)]
    pub struct DerivedStreamInvocation {
        /// Name of the derived stream.
        pub stream: String,
        /// Its parameters.
        pub params: SmartModuleParameters,
    }
}

wire_struct! {
    /// One of many replies to a [`StreamFetchRequest`].
    #[derive(Default)]
    pub struct StreamFetchReply {
        /// Name of the topic.
        pub topic: String,
        /// Number of the stream on this connection, from 1; 0 if it was refused. Offsets are acknowledged and stored
        /// under this number.
        pub stream_id: u32,
        /// The records.
        pub partition: PartitionRecords,
    }
}
