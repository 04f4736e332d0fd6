//! Records what the clients of a program did and were told.
//!
//! A [history](https://github.com/floe-rs/floe/blob/main/docs/formats/history.md) is a file of JSON lines, which
//! `floe check-history` judges: lost, duplicated, reordered and skipped records, and commits ahead of handling. With a
#![cfg_attr(
    feature = "history",
    doc = "[`Recorder`] in its [builder](crate::ClientBuilder::record), a client writes the events of all its producers and"
)]
#![cfg_attr(
    not(feature = "history"),
    doc = "`Recorder` in its builder (feature `history`), a client writes the events of all its producers and"
)]
//! consumers. Contents are recorded as digests.
//!
//! | module | records |
//! | --- | --- |
//! | `producing` | sends: a line when the record is given to the producer, another when its outcome is known |
//! | `reading` | where readers begin, the records and gaps that they get, handled records, commits |
//! | `client_history` | positions that an administrator sets |
//! | `recorder` | nothing by itself: it writes the lines |
//! | `noop` | the same names in a build without the feature `history` |
//!
//! Not recorded: records of an outbox, which pass as whole batches; records behind SmartModules, whose contents differ from
//! those that were sent; [`Client::fetch`](crate::Client::fetch).

#[cfg(feature = "history")]
mod client_history;
#[cfg(not(feature = "history"))]
mod noop;
#[cfg(feature = "history")]
mod producing;
#[cfg(feature = "history")]
mod reading;
#[cfg(feature = "history")]
mod recorder;

#[cfg(not(feature = "history"))]
pub(crate) use noop::{History, PartitionHistory, ProducerHistory, ReaderHistory, SendCall, SendCalls};
#[cfg(feature = "history")]
pub use recorder::{RecordedSend, Recorder};

#[cfg(feature = "history")]
pub(crate) use self::{
    client_history::History,
    producing::{ProducerHistory, SendCall, SendCalls},
    reading::{PartitionHistory, ReaderHistory},
};
