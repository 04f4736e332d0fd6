//! Readers, and the groups that they read for.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use floe_check::{Call, HistoryEvent, Phase};
use parking_lot::Mutex;

use super::recorder::{Recorder, contents};
use crate::topic::TopicPartition;

/// The history of one consumer, if it is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReaderHistory(Option<Arc<ReaderProcess>>);

#[derive(Debug)]
struct ReaderProcess {
    recorder: Recorder,
    name: String,
    group: Option<Arc<str>>,
    /// Whether the offsets are those of the log, and not numbers of the consumer.
    offsets: bool,
}

impl ReaderHistory {
    pub(super) fn new(recorder: Recorder, group: Option<Arc<str>>, offsets: bool) -> Self {
        let name = recorder.process("consumer", recorder.number());
        Self(Some(Arc::new(ReaderProcess { recorder, name, group, offsets })))
    }

    /// Returns the history of a partition, which says nothing yet.
    pub(crate) fn partition(&self, at: &TopicPartition) -> PartitionHistory {
        PartitionHistory(self.0.as_ref().map(|reader| PartitionReader {
            reader: Arc::clone(reader),
            at: at.clone(),
            has_begun: AtomicBool::new(false),
            unfinished: Mutex::default(),
        }))
    }
}

/// The history of one partition of a consumer, if it is recorded.
#[derive(Debug, Default)]
pub(crate) struct PartitionHistory(Option<PartitionReader>);

#[derive(Debug)]
struct PartitionReader {
    reader: Arc<ReaderProcess>,
    at: TopicPartition,
    /// Whether the consumer has taken the partition up.
    has_begun: AtomicBool,
    /// Records that are finished by the next call of the application.
    unfinished: Mutex<VecDeque<i64>>,
}

impl PartitionReader {
    fn write(
        &self,
        phase: Phase,
        call: Call,
        offset: i64,
        more: impl FnOnce(HistoryEvent<'_>) -> HistoryEvent<'_>,
    ) {
        let ReaderProcess { recorder, name, group, offsets } = &*self.reader;
        let event = HistoryEvent::new(phase, call, name.as_str());
        recorder.write(&more(HistoryEvent {
            group: group.as_deref().map(Into::into),
            topic: Some(self.at.topic.as_str().into()),
            partition: Some(self.at.partition),
            offset: offsets.then_some(offset),
            ..event
        }));
    }

    /// Writes an event that a log without offsets does not have.
    fn note(&self, phase: Phase, call: Call, offset: i64) {
        if self.reader.offsets {
            self.write(phase, call, offset, |event| event);
        }
    }

    fn has_group(&self) -> bool {
        self.reader.group.is_some()
    }
}

impl PartitionHistory {
    /// Whether records are to be told.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that reading begins at an offset, also after a seek. `chosen`: the application chose it, and not the group.
    pub(crate) fn begins(&self, offset: i64, chosen: bool) {
        if let Some(partition) = &self.0 {
            partition.unfinished.lock().clear();
            partition.has_begun.store(true, Ordering::Release);
            if chosen && partition.has_group() && partition.reader.offsets {
                partition
                    .write(Phase::Ok, Call::Skip, 0, |event| HistoryEvent { end: Some(offset), ..event });
            }
            partition.note(Phase::Ok, Call::Assign, offset);
        }
    }

    /// Notes that the reader got a record. `auto`: a later call of the application finishes it.
    pub(crate) fn polled(&self, offset: i64, key: Option<&[u8]>, value: &[u8], auto: bool) {
        if let Some(partition) = &self.0 {
            partition.write(Phase::Ok, Call::Poll, offset, |event| contents(event, key, value));
            if auto && partition.has_group() {
                partition.unfinished.lock().push_back(offset);
            }
        }
    }

    /// Notes that the reader was told of a gap.
    pub(crate) fn missing(&self, from: i64, to: i64) {
        if let Some(partition) = self.0.as_ref().filter(|partition| partition.reader.offsets) {
            partition.write(Phase::Ok, Call::Gap, from, |event| HistoryEvent { end: Some(to), ..event });
        }
    }

    /// Notes that the application has finished the records below `next`.
    pub(crate) fn finished_below(&self, next: i64) {
        let Some(partition) = &self.0 else { return };
        let mut unfinished = partition.unfinished.lock();
        while let Some(offset) = unfinished.front().copied().filter(|offset| *offset < next) {
            unfinished.pop_front();
            partition.note(Phase::Ok, Call::Handle, offset);
        }
    }

    /// Notes that the application has finished a record.
    pub(crate) fn finished(&self, offset: i64) {
        if let Some(partition) = self.0.as_ref().filter(|partition| partition.has_group()) {
            partition.note(Phase::Ok, Call::Handle, offset);
        }
    }

    /// Notes that the position of the group is about to be stored. A position before the first record of the consumer is
    /// the one at which it begins.
    pub(crate) fn commits(&self, next: i64) {
        if let Some(partition) = self.0.as_ref().filter(|partition| partition.has_group())
            && partition.has_begun.load(Ordering::Acquire)
        {
            partition.note(Phase::Invoke, Call::Commit, next);
        }
    }
}
