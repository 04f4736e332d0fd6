//! Values of the program's own types, without async.

mod outbox;
mod producer;

pub use outbox::{TypedOutbox, TypedOutboxBuilder};
pub use producer::{TypedProducer, TypedProducerBuilder};
