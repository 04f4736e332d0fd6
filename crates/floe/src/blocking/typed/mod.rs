//! Values of the program's own types, without async.

mod consumer;
mod outbox;
mod producer;

pub use consumer::{TypedConsumer, TypedConsumerBuilder};
pub use outbox::{TypedOutbox, TypedOutboxBuilder};
pub use producer::{TypedProducer, TypedProducerBuilder};
