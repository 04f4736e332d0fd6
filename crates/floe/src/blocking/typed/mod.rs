//! Values of the program's own types, without async.

mod consumer;
mod outbox;

pub use consumer::{TypedConsumer, TypedConsumerBuilder};
pub use outbox::{TypedOutbox, TypedOutboxBuilder};
