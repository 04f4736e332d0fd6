//! History of a build without the feature `history`: the same names, and nothing recorded.

use std::sync::Arc;

use crate::{
    Record, Result,
    topic::{Topic, TopicPartition},
};

#[derive(Debug, Clone, Default)]
pub(crate) struct History {}

impl History {
    pub(crate) fn producer(&self, _: &Topic, _: bool) -> ProducerHistory {
        ProducerHistory {}
    }

    pub(crate) fn reader(&self, _: Option<&Arc<str>>, _: bool) -> ReaderHistory {
        ReaderHistory {}
    }

    pub(crate) fn reset(&self, _: &str, _: &TopicPartition, _: i64) {}
}

#[derive(Debug, Default)]
pub(crate) struct ProducerHistory {}

impl ProducerHistory {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn begin<V: AsRef<[u8]>>(&self, _: &Record<V>) -> SendCall {
        SendCall {}
    }
}

#[derive(Debug)]
pub(crate) struct SendCall {}

#[derive(Debug, Default)]
pub(crate) struct SendCalls {}

impl SendCalls {
    #[inline]
    pub(crate) fn add<'a>(
        &self,
        _: SendCall,
        _: (u32, u32),
        _: impl FnOnce() -> Option<&'a Result<Option<i64>>>,
    ) {
    }

    #[inline]
    pub(crate) fn end(&self, _: u32, _: &Result<Option<i64>>) {}
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ReaderHistory {}

impl ReaderHistory {
    pub(crate) fn partition(&self, _: &TopicPartition) -> PartitionHistory {
        PartitionHistory {}
    }
}

#[derive(Debug, Default)]
pub(crate) struct PartitionHistory {}

impl PartitionHistory {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn begins(&self, _: i64, _: bool) {}

    #[inline]
    pub(crate) fn polled(&self, _: i64, _: Option<&[u8]>, _: &[u8], _: bool) {}

    pub(crate) fn missing(&self, _: i64, _: i64) {}

    #[inline]
    pub(crate) fn finished_below(&self, _: i64) {}

    #[inline]
    pub(crate) fn finished(&self, _: i64) {}

    pub(crate) fn commits(&self, _: i64) {}
}
