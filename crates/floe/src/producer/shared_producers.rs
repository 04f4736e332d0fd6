//! Shares one producer per topic among the users of a client.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{Producer, ProducerBuilder};
use crate::{Result, client_core::ClientCore, topic::Topic};

type Slot = Arc<tokio::sync::Mutex<Option<Producer>>>;

/// The producers that a client shares among its users; see [`Client::shared_producer`](crate::Client::shared_producer).
///
/// Sharing fills batches better than many producers would. A shared producer lives until the client is closed or
/// dropped, or a user closes the producer; the next request starts a new one.
#[derive(Debug, Default)]
pub struct SharedProducers {
    slots: Mutex<HashMap<Topic, Slot>>,
}

impl SharedProducers {
    /// Returns the producer for `topic`, started with default settings if there is none yet.
    pub(crate) async fn get(&self, client: &ClientCore, topic: &Topic) -> Result<Producer> {
        // The outer lock is not held across the start: a topic that is slow to start must not block the others.
        let slot = Arc::clone(self.slots.lock().entry(topic.clone()).or_default());
        let mut producer = slot.lock().await;
        if let Some(open) = producer.as_ref().filter(|producer| !producer.is_closed()) {
            return Ok(open.clone());
        }
        *producer = None;
        match ProducerBuilder::new(client.clone(), topic.clone()).start().await {
            Ok(started) => Ok(producer.insert(started).clone()),
            Err(error) => {
                // Names of topics that do not exist must not pile up.
                self.slots.lock().retain(|known, other| known != topic || !Arc::ptr_eq(other, &slot));
                Err(error)
            }
        }
    }

    /// Returns the topics that have an open shared producer, ordered by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let slots = self.slots.lock();
        let open = |slot: &Slot| {
            slot.try_lock().is_ok_and(|producer| producer.as_ref().is_some_and(|one| !one.is_closed()))
        };
        let mut topics: Vec<_> =
            slots.iter().filter(|(_, slot)| open(slot)).map(|(topic, _)| topic.clone()).collect();
        topics.sort();
        topics
    }
}
