//! Embedded log of floe: topics with partitions on one machine, stored as files of record batches.
//!
//! ```
//! use bytes::Bytes;
//! use floe_log::{Store, StoreConfig, TopicConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open(StoreConfig::memory())?; // StoreConfig::at("./floe-data") keeps files
//! store.create_topic("orders", TopicConfig::new().partitions(3))?;
//! let partition = store.partition("orders", 0)?;
//! assert_eq!(partition.bounds().end, 0);
//!
//! let mut reader = partition.reader(0)?;
//! assert!(reader.next_chunk(1 << 20)?.batches.is_empty());
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  submit ─► Partition ─► one pwritev ─► segment files        Store ─► catalog (redb): topics, offsets,
//!                │                          ▲                                          recovery points
//!                └─► tail in memory ─► Reader ┘
//! ```
//!
//! The stored frame is the record batch itself ([`floe_wire::batch::EncodedBatch`]): only the 16 bytes before its
//! checksum are replaced when an offset is assigned, so disk, wire and memory hold the same bytes.
//!
//! # Durability
//! | topic durability | survives process exit, `kill -9` | survives power loss |
//! | --- | --- | --- |
//! | [`Durability::Os`] | everything acknowledged | everything up to the last checkpoint (every 30 s) |
//! | [`Durability::Interval`] | everything acknowledged | everything but the last interval |
//! | [`Durability::Always`] | everything acknowledged | everything acknowledged |
//!
//! A failed sync stops the store ([`LogError::Poisoned`]): the kernel reports such an error once and drops the pages
//! that it could not write. A full disk fails only the appends that do not fit.
//!
//! # Limits
//! One process opens a store at a time. The crate depends on no async runtime: calls block on file IO at most,
//! completions are callbacks, and waiting at the end of a partition takes a [`std::task::Waker`].
//!
//! # Platforms
//! Linux is tested. macOS and Windows keep the same promises without two fast paths: reads that are served from the
//! page cache only, and vectored writes. Windows has no way to sync a directory; NTFS journals changes of file names
//! itself.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests use small known numbers"))]

mod acked;
mod background;
mod catalog;
mod check;
mod clean_marker;
mod clock;
mod committed;
mod condition;
mod config;
mod database_file;
pub mod disk;
mod error;
mod fences;
mod frame_reader;
mod index;
#[cfg(all(test, shuttle))]
mod interleavings;
mod invariant;
mod known_gaps;
mod log_info;
mod lost_found;
mod offsets;
mod opening;
mod partition;
mod rebuild;
mod recovery;
mod recovery_report;
mod repair;
mod reserve;
mod resync;
mod segment;
mod segment_scan;
mod store;
mod store_shared;
mod sync;
mod sync_queue;
mod tail_cache;
mod topics;
mod waiters;
mod work;

pub use check::{CheckReport, CheckedPartition, CheckedSegment, RepairAction, StoreProblem, check};
pub use committed::Committed;
pub use config::{Durability, StoreConfig, TopicConfig};
pub use error::LogError;
pub use partition::{Appended, Bounds, Chunk, Partition, Reader, TryChunk};
pub use rebuild::Rebuilt;
pub use recovery_report::{Cut, Gap, RecoveryReport, SetAsideLog};
pub use repair::{Repaired, repair};
pub use store::Store;
pub use topics::{TopicDescription, TopicWatch};
pub use work::{Work, WorkKind};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
