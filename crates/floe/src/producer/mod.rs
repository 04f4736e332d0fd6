//! Batching, partitioning, delivery.

use crate::{Client, Error, ErrorKind, Record, Result, topic::Topic};

/// Configures a producer before it starts.
#[derive(Debug)]
pub struct ProducerBuilder {
    client: Client,
    topic: Topic,
}
impl ProducerBuilder {
    pub(crate) fn new(client: Client, topic: Topic) -> Self {
        Self { client, topic }
    }
}
/// Shared producers.
#[derive(Debug, Default)]
pub struct ProducerPool {}
