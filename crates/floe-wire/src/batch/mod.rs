//! The record batch: floe's only encoding of records.
//!
//! The layout is the Fluvio record batch (platform 0.18, magic 2), described byte by byte in
//! `docs/formats/batch.md`. Producer, wire, disk and consumer hold the same bytes:
//!
//! ```text
//!  BatchBuilder ──finish──► EncodedBatch ──► wire, disk ──► split() ──► EncodedBatch ──records()──► RecordView
//! ```
//!
//! The first 16 bytes (base offset, length, leader epoch) lie outside the checksum, so the leader of a partition
//! assigns the offset without copying the records: see [`EncodedBatch::with_base_offset`].

mod builder;
mod encoded;
mod header;
pub mod producer_id;
mod records;
mod reissue;
mod renumber;
mod section;
mod split;
mod trailer;
mod validated;

pub use builder::{BatchBuilder, FinishOptions};
pub use encoded::{EncodedBatch, PREFIX_LEN};
pub use header::{Attributes, BatchHeader, HEADER_LEN, LENGTH_END, MAX_BATCH_LEN, ProducerIdentity};
pub use records::{BorrowedRecord, BorrowedRecords, MAX_SECTION_LEN, RecordView, Records};
pub use renumber::Renumbered;
pub use section::{SectionPlace, section_len};
pub use split::{Split, Tail};
pub use trailer::{BorrowedHeaders, Headers, TrailerState};
