//! Serves any floe engine to clients of Fluvio and Walrus, in one process.
//!
//! Existing clients of both platforms connect to it, and share their topics. `docs/server.md` lists what each
//! protocol supports and where answers differ from a real cluster's on purpose.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use floe::Client;
//! use floe_server::{Addresses, Listeners, ServeOptions, serve};
//!
//! let client = Client::connect("memory:").await?;
//! let listeners = Listeners::bind(&Addresses::free_ports()).await?;
//! println!("Fluvio clients connect to {:?}", listeners.addresses()?.fluvio_sc);
//! let shutdown = async { /* resolves when the program ends */ };
//! serve(listeners, client.engine().clone(), ServeOptions::default(), shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | `listeners` | [`Listeners`]: sockets that are bound before the server starts |
//! | `options`, `limits` | [`ServeOptions`]; [`ServeLimits`], one table of all |
//! | `memory` | the budget of memory, and the part of a connection in it |
//! | `server` | [`serve`]: accepts and counts connections, shuts down gracefully |
//! | `connection_slots` | places for connections, and who gives way when all are taken |
//! | `node` | the parts that all connections share |
//! | `catalog` | cache of the engine's topics, kept current by its watch |
//! | `registry` | cluster objects that engines do not store, kept in a file |
//! | `request_reader`, `response_writer` | the two halves of a connection, both bounded |
//! | `workers` | threads for work that takes long, below the priority of the rest |
//! | `door` | checks of received batches before they are stored |
//! | `fluvio` | the controller (SC) and the data server (SPU) |
//! | `smartmodule` | WebAssembly functions that transform records (feature `smartengine`) |
//! | `access` | who may do what, the log of it, and rates by client |
//! | `reload` | certificates and rules, which follow their files |
//! | `socket`, `tls` | connections, plain or encrypted |
//! | `walrus` | the text protocol of Walrus |
//! | `http`, `hosts` | HTTP, and the host names that it answers to |
//! | `console` | [`console()`]: pages to look at topics and groups, and their HTTP API (feature `console`) |
//! | `health`, `metrics` | checks of the server; counters |
//! | `platform` | operating-system differences |
//! | `testkit` | a server inside a test (feature `testkit`) |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod catalog;
mod connection_slots;
#[cfg(feature = "console")]
mod console;
mod door;
mod fluvio;
mod health;
mod hosts;
mod http;
mod limits;
mod listeners;
mod memory;
mod metrics;
mod node;
mod options;
mod platform;
mod registry;
mod reload;
mod request_reader;
mod response_writer;
mod server;
mod smartmodule;
mod socket;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
mod walrus;
mod workers;

pub use access::AccessRules;
#[cfg(feature = "console")]
pub use console::{ConsoleOptions, ConsoleToken, console};
pub use hosts::AllowedHosts;
pub use limits::{LimitInfo, ServeLimits};
pub use listeners::{Accept, Addresses, BoundAddresses, Listener, Listeners};
pub use metrics::{MetricFamily, MetricKind, MetricPoint, ServerMetrics};
pub use options::{MoreMetrics, ServeOptions};
pub use server::serve;
pub use tls::ServerTls;
