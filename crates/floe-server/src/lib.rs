//! Any floe engine behind the protocols of Fluvio and Walrus, in one process.
//!
//! Existing clients of both platforms work against it: a topic that a Fluvio client created and filled is read by a
//! Walrus client and the other way round. What each protocol can do here, and where the answers differ from a real
//! cluster's, is in `docs/server.md`.
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
//! let shutdown = async { /* until the program shall end */ };
//! serve(listeners, client.engine().clone(), ServeOptions::default(), shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | `listeners` | [`Listeners`]: sockets that are bound before the server starts |
//! | `options` | [`ServeOptions`] and [`Limits`] |
//! | `server` | [`serve`]: accepts, counts connections, ends in order |
//! | `node` | what all connections share |
//! | `catalog` | the engine's topics, kept current by its watch |
//! | `registry` | what engines have no place for, kept in a file |
//! | `reader`, `responses` | the two halves of a connection, both bounded |
//! | `fluvio` | the controller (SC) and the data server (SPU) |
//! | `smartmodule` | WebAssembly functions that records go through (feature `smartengine`) |
//! | `socket`, `tls` | connections, plain or encrypted |
//! | `walrus` | the text protocol |
//! | `http` | health and metrics |
//! | `metrics` | the counters |
//! | `testkit` | a server inside a test (feature `testkit`) |

mod catalog;
mod fluvio;
mod http;
mod listeners;
mod metrics;
mod node;
mod options;
mod platform;
mod registry;
mod request_reader;
mod response_writer;
mod server;
mod smartmodule;
mod socket;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
mod walrus;

pub use listeners::{Accept, Addresses, BoundAddresses, Listener, Listeners};
pub use metrics::{MetricFamily, MetricKind, MetricPoint, ServerMetrics};
pub use options::{Limits, MoreMetrics, ServeOptions};
pub use server::serve;
pub use tls::ServerTls;
