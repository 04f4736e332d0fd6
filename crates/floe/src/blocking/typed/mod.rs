//! Values of the program's own types, without async.

mod consumer;

pub use consumer::{TypedConsumer, TypedConsumerBuilder};
