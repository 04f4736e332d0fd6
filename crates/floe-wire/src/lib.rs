//! Codecs of floe, without any IO.
//!
//! Everything here turns values into bytes and bytes into values; nothing opens a socket or a file, and nothing
//! depends on an async runtime. Decoders never panic on any input, never allocate by a number read from input, and
//! return slices of the [`bytes::Bytes`] they were given.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`batch`] | the record batch, floe's only encoding of records: header, builder, reader, trailer, splitting |
//! | [`compress`] | the five codecs of a batch, with bounded decompression |
//! | [`walrus`] | the text protocol of distributed Walrus, both directions |
//! | [`varint`] | zig-zag variable-length integers |
//! | [`error`] | [`WireError`], the one error of this crate |

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests use small known numbers"))]

pub mod batch;
pub mod compress;
pub mod error;
#[cfg(feature = "fluvio")]
pub mod fluvio;
pub mod varint;
#[cfg(feature = "walrus")]
pub mod walrus;

pub use error::WireError;
