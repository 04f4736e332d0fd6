//! Prefetching, offsets, groups, gaps.

use crate::{Client, topic::Topic};

/// Configures a consumer before it starts.
#[derive(Debug)]
pub struct ConsumerBuilder {
    client: Client,
    topic: Topic,
}
impl ConsumerBuilder {
    pub(crate) fn new(client: Client, topic: Topic) -> Self {
        Self { client, topic }
    }
}
