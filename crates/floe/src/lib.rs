//! One client for durable streams.
//!
//! A program writes and reads topics through one API; a URL selects the storage: `embedded:PATH` is an on-disk log
//! inside the process, `memory:` the same log without files, `fluvio://HOST:PORT` a Fluvio cluster and
//! `walrus://HOST:PORT,…` a cluster of Walrus nodes. [`url`] has all forms and options.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe::{Client, Record, TopicSpec, consumer::StartAt};
//!
//! let client = Client::connect("memory:").await?;
//! client.admin().ensure_topic(TopicSpec::new("orders").partitions(3)).await?;
//!
//! let orders = client.producer("orders").start().await?;
//! let sent = orders.send(Record::keyed("ada", "one coffee")).await?; // acknowledged
//! assert_eq!(sent.offset, Some(0));
//!
//! let mut inbox = client.consumer("orders").group("billing").from(StartAt::StoredOrBeginning).start().await?;
//! let order = inbox.try_next().await?.expect("the record above");
//! assert_eq!(&order.value[..], b"one coffee");
//! inbox.close().await?; // commits the finished records
//! client.close().await
//! # }
//! ```
//!
//! # Modules
//!
//! Programs need the re-exports of the crate root and the modules that they use. Authors of engines and layers need
//! [`engine`] and [`layer`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`client`] | [`Client`]: connects, hands out producers, consumers and the admin, closes |
//! | [`producer`] | batching, partitioning, idempotent delivery |
//! | [`consumer`] | prefetching, offsets, groups, gap detection |
//! | [`admin`] | topics: create, delete, list, describe, watch |
//! | [`payload`] | typed payloads: JSON, text, MessagePack, formats of your own |
//! | [`processor`] | consume, transform, produce, with retries |
//! | [`dead_letter`] | records that could not be processed |
#![cfg_attr(
    feature = "embedded",
    doc = "| [`outbox`] | sends that survive an unreachable cluster and a crash |"
)]
//! | [`exchange`], [`filter`] | records as JSON lines and CSV; expressions that select records |
//! | [`blocking`] | the API without async |
//! | [`config`] | settings from files, environment variables and the URL |
//! | [`history`] | records what a client did and was told, for `floe check-history` |
//! | [`health`] | health of a client, its servers, queues and breakers |
//! | [`telemetry`] | metrics, spans, and the trace context that records carry |
//! | [`error`], [`retry`] | [`Error`] and its kinds; [`RetryPolicy`] |
//! | [`engine`], [`layer`], [`net`] | the contract of engines; layers around engine calls; how connections are opened |
//! | [`memory`] | a budget of memory that many clients share |
//! | [`topic`], [`record`], [`smartmodule`], [`url`], [`units`] | shared types and notations |
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `embedded` | yes | `embedded:` and `memory:`, the outbox, and the journal of Walrus |
//! | `fluvio` | yes | `fluvio://` |
//! | `walrus` | yes | `walrus://` |
//! | `tls` | yes | `fluvio+tls://`, over rustls |
//! | `gzip`, `snappy`, `lz4`, `zstd` | yes | one compression codec each; `zstd` needs a C compiler |
//! | `telemetry` | yes | metrics and spans by OpenTelemetry |
//! | `messagepack` | no | MessagePack payloads |
//! | `history` | no | [`history::Recorder`](history) |
//! | `simulation` | no | seeded randomness, for tests that reproduce a run |
//!
//! Without a feature the API stays the same where it can: a URL or a codec that is not compiled in is an error that
//! names the feature.
//!
//! # Documentation
//!
//! The [repository](https://github.com/floe-rs/floe) has a
//! [guide](https://github.com/floe-rs/floe/blob/main/docs/guide.md), the
//! [delivery guarantees](https://github.com/floe-rs/floe/blob/main/docs/delivery.md), and the lists of
//! [settings](https://github.com/floe-rs/floe/blob/main/docs/configuration.md),
//! [errors](https://github.com/floe-rs/floe/blob/main/docs/errors.md) and
//! [metrics](https://github.com/floe-rs/floe/blob/main/docs/telemetry.md).

pub mod admin;
pub mod blocking;
pub mod client;
mod client_core;
pub mod config;
pub mod consumer;
pub mod engine;
pub mod exchange;
#[cfg(test)]
mod fake_engine;
pub mod filter;
pub mod groups;
pub mod health;
pub mod history;
pub mod layer;
pub mod outbox;
pub mod payload;
pub mod processor;
pub mod producer;
pub mod telemetry;
mod time_text;

pub use bytes::Bytes;
pub use client::{Client, ClientBuilder};
pub use consumer::{Consumer, Message, dead_letter};
#[doc(inline)]
pub use floe_core::clock::WallClock;
#[cfg(feature = "simulation")]
pub use floe_core::simulation;
pub use floe_core::{
    Durability, Effect, Error, ErrorKind, IntoRecord, Lookback, Record, Result, RetryPolicy, SmartModule,
    SmartModuleKind, SmartModules, Topic, TopicPartition, TopicSpec, dial as net, error, memory, record,
    retry, smartmodule, topic, units, url,
};
#[doc(inline)]
#[cfg(feature = "embedded")]
pub use floe_embedded::check as store;
pub use floe_wire::compress::Codec;
pub use producer::Producer;
pub use telemetry::Telemetry;

/// Compiles the examples of both readmes.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../README.md")]
struct Readme;
