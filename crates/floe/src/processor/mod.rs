//! Consume, transform, produce: a handler between two topics, in the background.
//!
//! ```text
//!  Consumer ──► lanes ──► handlers, at most `concurrency` at once ──► Producer ──► acknowledged ──► offset stored
//!               one key or    │ fails, panics, hangs                                    ▲
//!               partition     ▼                                                         │
//!               in order   try again after a while ──► attempts used up ──► dead-letter topic
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
//! - At least once: the offset of a record is stored after everything made from it was acknowledged, or its dead letter
//!   was. After a crash some records are handled again, none is left out. What is made from a record carries the header
//!   `floe-origin` ([`Origin`](crate::dead_letter::Origin)), so that repeats can be told.
//! - Records of one key (or one partition, see [`Order`]) are handled one after the other and what is made from them
//!   keeps their order, also when one of them has to be tried again. Other keys go on meanwhile.
//! - A handler that panics or does not end in time has failed, as one that returns an error. The panic ends the attempt
//!   and nothing else. A handler that blocks its thread without ever awaiting cannot be ended: its attempt counts as
//!   failed and its thread is lost.
//! - The number of records held is bounded; reading waits for handlers, handlers wait for the producer.
//!
//! # The end
//! When the shutdown future is ready, nothing more is read, and what was read is handled to its end, for
//! [`drain_timeout`](ProcessorBuilder::drain_timeout) at most. What is left then is in the [`ProcessorReport`]; its
//! offsets are not stored, so the next run begins with it. When a topic cannot be read or written, the processor stops in
//! the same way and returns the error.

mod builder;
mod failure;
mod handler;
mod lanes;
mod outputs;
mod report;
mod run;
mod running;
#[cfg(test)]
mod tests;

pub use builder::{DeadLetters, Order, Processor, ProcessorBuilder};
pub use failure::Failure;
pub use outputs::Outputs;
pub use report::{LeftOver, ProcessorReport, ProcessorStats};
pub use running::RunningProcessor;
