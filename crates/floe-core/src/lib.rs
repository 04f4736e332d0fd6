//! The contract between floe and its engines.
//!
//! Programs use the crate [`floe`](https://docs.rs/floe), which re-exports these types. This crate is for authors of
//! engines: implement [`engine::Engine`], hand the engine to `floe::Client`, and test it with `floe-conformance`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`engine`] | [`Engine`](engine::Engine), [`BatchReader`](engine::BatchReader), requests, capabilities |
//! | [`append_epoch`] | the fence that keeps the order of pipelined appends when one of them fails |
//! | [`operation`] | the kinds of engine calls, as layers see them |
//! | [`error`] | [`Error`], its kinds, and whether a retry makes sense |
//! | [`gap`] | records that a reader misses |
//! | [`topic`], [`record`] | topics, partitions, records |
//! | [`retry`] | [`RetryPolicy`]: how often and how soon to retry |
//! | [`clock`] | the time of day, which a test may set |
//! | [`setting`] | tables of settings and options, with their notation and bounds |
//! | [`url`], [`units`] | engine URLs; durations and sizes as people write them |
//! | [`memory`] | a budget of memory that many clients share |
//! | [`dial`], [`node_backoff`] | opening connections; back-off of a node that failed |
//! | [`smartmodule`] | SmartModules, for engines that run them |
//! | [`random`] | random bits, seedable under the feature `simulation` |
//! | [`producer_id`] | producer ids of the tasks of exactly-once processors |
//! | [`process`] | the process that a task belongs to, of which the feature `simulation` has several |

pub mod append_epoch;
pub mod clock;
pub mod dial;
pub mod engine;
pub mod error;
pub mod gap;
mod invariant;
pub mod memory;
pub mod node_backoff;
pub mod operation;
mod placement;
mod platform;
pub mod process;
pub mod random;
pub mod record;
pub mod retry;
pub mod setting;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod smartmodule;
pub mod topic;
mod topic_name;
pub mod units;
pub mod url;

#[doc(hidden)]
pub use invariant::violated as __violated;

pub use floe_wire::{batch::producer_id, compress::Codec};

pub use error::{Effect, Error, ErrorKind, Result};
pub use operation::{Operation, OperationKind, OperationTarget};
pub use record::{IntoRecord, Record};
pub use retry::RetryPolicy;
pub use smartmodule::{Lookback, SmartModule, SmartModuleKind, SmartModules};
pub use topic::{Durability, Topic, TopicPartition, TopicSpec};
