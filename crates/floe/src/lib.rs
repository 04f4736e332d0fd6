//! One client for durable streams.
//!
//! A program writes and reads topics through one API; a URL decides where they live. `embedded:PATH` is an on-disk
//! log inside the process, `memory:` the same log without files, `fluvio://HOST:PORT` a Fluvio cluster,
//! `walrus://HOST:PORT,…` a cluster of Walrus nodes.
//!
//! # Layout
//!
//! Users need what is re-exported here. Engine and layer authors need [`engine`] and [`layer`].
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`client`] | [`Client`]: connects, hands out producers, consumers and the admin, closes |
//! | [`producer`] | batching, partitioning, delivery |
//! | [`consumer`] | prefetching, offsets, groups, gaps |
//! | [`admin`] | topics: create, delete, list, describe, watch |
//! | [`engine`] | the contract that every engine fulfils, and the engines |
//! | [`layer`] | behaviour around every engine call |
//! | [`net`] | how connections are opened |
//! | [`config`] | settings from files, variables and the URL |
//! | [`retry`] | [`RetryPolicy`]: how often and how soon to try again |
//! | [`payload`] | typed payloads: JSON, text, MessagePack, your own |
//! | [`processor`] | reads one topic, writes another, in the background |
//! | [`dead_letter`] | records that could not be handled |
//! | [`telemetry`] | metrics, spans, and the trace context that records carry |
//! | [`outbox`] | sends that survive an unreachable cluster and a crash |
//! | [`blocking`] | the same without async |
//! | [`health`] | how a client is |
//! | [`error`] | [`Error`], its kinds, and what to do about each |
//! | [`units`] | durations and sizes as people write them |

#![cfg_attr(
    not(feature = "telemetry"),
    allow(dead_code, reason = "some things are there for telemetry alone")
)]

pub mod admin;
pub mod blocking;
pub mod client;
mod client_core;
pub mod config;
pub mod consumer;
pub mod dead_letter;
pub mod engine;
#[cfg(test)]
mod fake_engine;
pub mod health;
pub mod layer;
pub mod outbox;
pub mod payload;
pub mod processor;
pub mod producer;
pub mod telemetry;

pub use bytes::Bytes;
pub use client::{Client, ClientBuilder};
pub use consumer::{Consumer, Message};
#[cfg(feature = "simulation")]
pub use floe_core::simulation;
pub use floe_core::{
    Durability, Effect, Error, ErrorKind, IntoRecord, Lookback, Record, Result, RetryPolicy, SmartModule,
    SmartModuleKind, SmartModules, Topic, TopicPartition, TopicSpec, dial as net, error, record, retry,
    smartmodule, topic, units, url,
};
pub use floe_wire::compress::Codec;
pub use producer::Producer;
pub use telemetry::Telemetry;

/// Compiles the example of the readme.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
