//! Sends of producers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use floe_check::{Call, HistoryEvent, Phase};
use parking_lot::Mutex;

use super::recorder::{Recorder, phase_of, sending};
use crate::{Record, Result, topic::Topic};

/// The history of one producer, if it is recorded.
#[derive(Debug, Default)]
pub(crate) struct ProducerHistory(Option<Arc<ProducerProcess>>);

#[derive(Debug)]
struct ProducerProcess {
    recorder: Recorder,
    topic: Topic,
    /// Whether an acknowledgement has an offset, unless nothing was acknowledged.
    offsets: bool,
    name: String,
    /// Numbers the sends.
    sends: AtomicU64,
    lanes: Mutex<Lanes>,
}

/// Numbers of processes. A process takes its next record after the producer has taken the one before, so that their order
/// is known; records that are given to the producer at the same time go to several processes.
#[derive(Debug, Default)]
struct Lanes {
    free: Vec<u32>,
    count: u32,
}

impl Lanes {
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count - 1
        })
    }
}

impl ProducerHistory {
    pub(super) fn new(recorder: Recorder, topic: Topic, offsets: bool) -> Self {
        let name = recorder.process("producer", recorder.number());
        let (sends, lanes) = (AtomicU64::new(0), Mutex::default());
        Self(Some(Arc::new(ProducerProcess { recorder, topic, offsets, name, sends, lanes })))
    }

    /// Whether records are to be told one by one.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that a record is about to be sent. Dropping the call says that the record was not taken.
    pub(crate) fn begin<V: AsRef<[u8]>>(&self, record: &Record<V>) -> SendCall {
        SendCall(self.0.as_ref().map(|producer| {
            let lane = producer.lanes.lock().take();
            let number = producer.sends.fetch_add(1, Ordering::Relaxed);
            let process = format!("{}.{lane}", producer.name);
            let event = sending(&process, number, record);
            let topic = Some(producer.topic.as_str().into());
            producer.recorder.write(&HistoryEvent { topic, ..event });
            (lane, OpenSend { producer: Arc::clone(producer), process, number })
        }))
    }
}

/// A record that the producer has not taken yet, if it is recorded: its lane, and its send.
#[derive(Debug)]
pub(crate) struct SendCall(Option<(u32, OpenSend)>);

impl SendCall {
    /// Ends the call, so that its lane takes another record.
    fn leave(&mut self) -> Option<OpenSend> {
        let (lane, open) = self.0.take()?;
        open.producer.lanes.lock().free.push(lane);
        Some(open)
    }
}

/// A send without an outcome.
struct OpenSend {
    producer: Arc<ProducerProcess>,
    process: String,
    number: u64,
}

impl OpenSend {
    fn end(self, phase: Phase, at: Option<(u32, i64)>) {
        let event = HistoryEvent::new(phase, Call::Send, self.process);
        let (partition, offset) = at.unzip();
        self.producer.recorder.write(&HistoryEvent { id: Some(self.number), partition, offset, ..event });
    }

    fn ends_as(self, partition: u32, index: u32, outcome: &Result<Option<i64>>) {
        match outcome {
            Ok(Some(base)) => {
                let offset = base.saturating_add(i64::from(index));
                self.end(Phase::Ok, Some((partition, offset)));
            }
            // With `Acks::None` the engine has acknowledged nothing.
            Ok(None) if self.producer.offsets => self.end(Phase::Unknown, None),
            Ok(None) => self.end(Phase::Ok, None),
            Err(error) => self.end(phase_of(error), None),
        }
    }
}

impl fmt::Debug for OpenSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSend").field("process", &self.process).field("number", &self.number).finish()
    }
}

impl Drop for SendCall {
    fn drop(&mut self) {
        if let Some(open) = self.leave() {
            open.end(Phase::Fail, None);
        }
    }
}

/// The recorded sends of a batch, with the number of their record in it.
#[derive(Debug, Default)]
pub(crate) struct SendCalls(Mutex<Vec<(u32, OpenSend)>>);

impl SendCalls {
    /// Adds the send of a record that was taken. `outcome` returns the outcome of the batch, once it has one.
    pub(crate) fn add<'a>(
        &self,
        mut call: SendCall,
        (partition, index): (u32, u32),
        outcome: impl FnOnce() -> Option<&'a Result<Option<i64>>>,
    ) {
        let Some(open) = call.leave() else { return };
        let mut waiting = self.0.lock();
        match outcome() {
            Some(outcome) => open.ends_as(partition, index, outcome),
            None => waiting.push((index, open)),
        }
    }

    /// Notes the outcome of all sends of the batch.
    pub(crate) fn end(&self, partition: u32, outcome: &Result<Option<i64>>) {
        for (index, open) in std::mem::take(&mut *self.0.lock()) {
            open.ends_as(partition, index, outcome);
        }
    }
}
