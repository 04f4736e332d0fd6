//! The wire protocol of Fluvio (platform 0.18), for clients and servers.
//!
//! The crate encodes and decodes every message; `docs/formats/fluvio.md` has the layouts. A cluster has one controller
//! (SC), which manages topics, partitions and data servers, and data servers (SPU), which store records. Both use the
//! same frames.
//!
//! | module | holds |
//! | --- | --- |
//! | [`frame`] | frames: splitting a byte stream, headers, encoding and decoding requests and replies |
//! | [`versions`] | version negotiation per API |
//! | [`names`] | names of topics and partitions, limits of topics |
//!
//! Requests and replies, objects of the controller ([`TopicSpec`] and so on) and error codes are re-exported here.
//! [`Request`] links each request to its number, versions and reply type:
//!
//! ```
//! use bytes::BytesMut;
//! use floe_wire::fluvio::{FetchOffsetsReply, FetchOffsetsRequest, SpuRequest, frame};
//!
//! // The client sends a request,
//! let request = FetchOffsetsRequest::of_partition("orders", 0);
//! let mut socket = BytesMut::new();
//! frame::encode_request(&request, 25, 7, "floe")?.write_to(&mut socket);
//!
//! // the server replies,
//! let received = frame::split_frame(&mut socket, frame::DEFAULT_FRAME_LIMIT)?.expect("a whole frame");
//! let (header, body) = frame::RequestHeader::split(received)?;
//! let reply = match SpuRequest::decode(&header, body)? {
//!     SpuRequest::FetchOffsets(request) => FetchOffsetsReply::default(),
//!     _ => unreachable!("this example sends nothing else"),
//! };
//! frame::encode_reply::<FetchOffsetsRequest>(&reply, header.version, header.correlation_id)?
//!     .write_to(&mut socket);
//!
//! // and the client decodes the reply.
//! let received = frame::split_frame(&mut socket, frame::DEFAULT_FRAME_LIMIT)?.expect("a whole frame");
//! let (correlation_id, body) = frame::split_reply(received)?;
//! assert_eq!(correlation_id, 7);
//! assert_eq!(frame::decode_reply::<FetchOffsetsRequest>(body, 25)?, reply);
//! # Ok::<(), floe_wire::WireError>(())
//! ```
//!
//! Decoders never panic, never allocate by a number in the input, and keep record batches as slices of the frame.
//! Bytes after a reply are an error; bytes after a request are ignored, as in official servers.

mod admin;
mod api_versions;
mod conditional_append;
mod consumer_offsets;
mod dispatch;
mod error_code;
mod fetch;
mod fetch_offsets;
pub mod frame;
mod input;
mod isolation;
mod mirroring;
pub mod names;
mod object;
mod output;
mod produce;
mod record_set;
mod request;
mod smartmodule;
mod start_mirror;
mod stream_fetch;
mod update_offsets;
mod version_range;
pub mod versions;
mod watch_frame;
mod wire;

pub use admin::*;
pub use api_versions::*;
pub use conditional_append::*;
pub use consumer_offsets::*;
pub use dispatch::{ScRequest, SpuRequest};
pub use error_code::*;
pub use fetch::*;
pub use fetch_offsets::*;
pub use input::Input;
pub use isolation::Isolation;
pub use mirroring::*;
pub use object::*;
pub use output::{EncodedFrame, MAX_STRING_LEN, Output, PendingLength};
pub use produce::*;
pub use record_set::RecordSet;
pub use request::{Request, SC_VERSIONS, SPU_VERSIONS};
pub use smartmodule::*;
pub use start_mirror::*;
pub use stream_fetch::*;
pub use update_offsets::*;
pub use watch_frame::{EncodedElements, encode_watch_reply};
pub use wire::Wire;
