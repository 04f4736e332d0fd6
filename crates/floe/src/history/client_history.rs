//! The histories of the producers and consumers of a client.

use std::sync::Arc;

use super::{producing::ProducerHistory, reading::ReaderHistory, recorder::Recorder};
use crate::topic::{Topic, TopicPartition};

/// The recorder of a client, if it has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Option<Recorder>);

impl History {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self(Some(recorder))
    }

    /// Begins the history of a producer. `offsets`: whether the records of its engine have offsets.
    pub(crate) fn producer(&self, topic: &Topic, offsets: bool) -> ProducerHistory {
        self.0.as_ref().map_or_else(ProducerHistory::default, |recorder| {
            ProducerHistory::new(recorder.clone(), topic.clone(), offsets)
        })
    }

    /// Begins the history of a consumer.
    pub(crate) fn reader(&self, group: Option<&Arc<str>>, offsets: bool) -> ReaderHistory {
        self.0.as_ref().map_or_else(ReaderHistory::default, |recorder| {
            ReaderHistory::new(recorder.clone(), group.cloned(), offsets)
        })
    }

    /// Notes that an administrator sets the position of a group.
    pub(crate) fn reset(&self, group: &str, at: &TopicPartition, offset: i64) {
        if let Some(recorder) = &self.0 {
            recorder.reset(group, at, offset);
        }
    }
}
