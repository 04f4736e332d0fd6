//! Consumes, transforms and produces: runs a handler between two topics in the background.
//!
//! ```text
//!  Consumer ──► key queues ──► attempts, at most `concurrency` at once ──► Producer ──► acknowledged ──► offset stored
//!               one key or        │ fails, panics, hangs                                     ▲
//!               partition         ▼                                                          │
//!               in order      backoff, retry ──► attempts used up ──► dead-letter topic ─────┘
//! ```
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe::{Client, Record, TopicSpec, processor::Failure};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { item: String, count: u32 }
//! #[derive(Serialize, Deserialize)]
//! struct Invoice { total: u32 }
//!
//! let client = Client::connect("memory:").await?;
//! for topic in ["orders", "invoices"] {
//!     client.admin().create_topic(TopicSpec::new(topic)).await?;
//! }
//! let orders = client.producer("orders").json::<Order>().start().await?;
//! orders.send(Record::keyed("ada", Order { item: "tea".to_owned(), count: 2 })).await?;
//!
//! let report = client
//!     .processor("orders", "invoices")
//!     .json::<Order, Invoice>()
//!     .concurrency(8)
//!     .stop_at_end()
//!     .map(async |order| {
//!         let price = match order.value.item.as_str() {
//!             "tea" => 3,
//!             other => return Err(Failure::permanent(format!("{other} is not for sale"))),
//!         };
//!         Ok(Record::new(Invoice { total: price * order.value.count }))
//!     })
//!     .run(std::future::pending())
//!     .await?;
//! assert_eq!((report.handled, report.produced, report.dead_letters), (1, 1, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - At least once: the offset of a record is stored after the acknowledgement of every record made from it, or of its dead
//!   letter. After a crash some records are handled again, and none is left out. Records made by a processor carry the
//!   header `floe-origin` ([`RecordOrigin`](crate::dead_letter::RecordOrigin)), by which duplicates can be recognized.
//!   With [`exactly_once`](ProcessorBuilder::exactly_once) each record made is written once, in the order of the input, and a
//!   handler that makes another one from the same input than before stops the processor;
//!   [the page](https://github.com/floe-rs/floe/blob/main/docs/exactly-once.md) has the conditions.
//! - Records of one key (or one partition, see [`Order`]) are handled one after the other, and the records made from them
//!   keep their order, also across retries. Other keys continue meanwhile.
//! - A handler that panics or exceeds its timeout has failed, as one that returns an error. A panic ends the attempt and
//!   nothing else. A handler that blocks its thread without awaiting cannot be cancelled: its attempt counts as failed and
//!   its thread is lost.
//! - In a [shared group](ProcessorBuilder::shared) the handler of a record is dropped at its next `await` once another member
//!   may have the partition, and records that wait for their turn are given up; that member handles them.
//! - The number of records held is bounded: reading waits for handlers, and handlers wait for the producer.
//!
//! # Shutdown
//! When the shutdown future resolves, the processor reads no more, and finishes the records that it has read, for
//! [`drain_timeout`](ProcessorBuilder::drain_timeout) at most. The [`ProcessorReport`] lists records that are left; their
//! offsets are not stored, so the next run begins with them. When a topic cannot be read or written, the processor stops
//! in the same way and returns the error.

mod attempt;
mod builder;
mod exact;
mod failure;
mod handler;
mod key_queues;
mod listed;
mod outputs;
mod report;
mod run;
mod running;
mod settings;
#[cfg(test)]
mod tests;

pub use builder::{Processor, ProcessorBuilder};
pub use failure::Failure;
pub use outputs::Outputs;
pub use report::{LeftOver, ProcessorReport, ProcessorStats};
pub use running::RunningProcessor;
pub use settings::{DeadLetters, Order};
