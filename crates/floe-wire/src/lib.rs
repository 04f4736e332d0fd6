//! Formats of floe without IO: record batches, compression, and two wire protocols.
//!
//! The crate turns values into bytes and bytes into values. It opens no socket and no file, and depends on no async
//! runtime. Decoders never panic on any input, never allocate by a number read from input, and return slices of the
//! [`bytes::Bytes`] they were given.
//!
//! | module | holds | feature |
//! | --- | --- | --- |
//! | [`batch`] | the record batch, floe's only encoding of records: builder, header, reader, trailer, splitting | |
//! | [`compress`] | the codecs of a batch, with bounded decompression | `gzip`, `snappy`, `lz4`, `zstd` |
//! | `fluvio` | the protocol of Fluvio clusters, both directions | `fluvio` |
//! | `walrus` | the text protocol of distributed Walrus, both directions | `walrus` |
//! | [`varint`] | zig-zag variable-length integers | |
//! | [`error`] | [`WireError`], the one error of this crate | |
//!
//! All features are on by default.

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

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "lz4"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
