//! A task that records what is made from its input in the changelog, before it sends that.

use std::{collections::VecDeque, future::pending};

use tokio::sync::oneshot;

use super::{
    super::{
        changelog::{self, RecordedEntry},
        changelog_record::{ChangelogEntry, encode_parts},
        context::TaskContext,
    },
    Counted, Made, Settled, Task, TaskFailure, choose_partition,
};
use crate::{
    Record, Result,
    producer::{Deliveries, End},
};

/// Offset of the first input record of which the changelog had no outputs when the task began; `None` before that is known.
pub(in crate::processor::exact) type RecordedUpTo = Option<i64>;

/// The changelog of a task.
pub(super) struct Recorder {
    /// Place of the changelog among the outputs.
    output: usize,
    /// Most bytes of an entry in one record.
    part_len: usize,
    /// Entries that were there when the task began, and were not sent yet.
    replay: VecDeque<RecordedEntry>,
    /// Outputs on their way to the changelog, in the order of the input.
    waiting: VecDeque<Recording>,
}

/// Outputs of an input record on their way to the changelog.
struct Recording {
    offset: i64,
    made: Made,
    counted: Counted,
    deliveries: Deliveries,
}

impl Recorder {
    pub(super) fn new(context: &TaskContext) -> Self {
        Self {
            output: context.outputs.len() - 1,
            part_len: changelog::part_len(&context.client),
            replay: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Goes on behind what was found in the changelog.
    pub(super) fn begin(&mut self, entries: VecDeque<RecordedEntry>) {
        self.replay = entries;
    }

    pub(super) fn recorded_up_to(&self) -> i64 {
        self.replay.back().map_or(i64::MIN, |last| last.offset.saturating_add(1))
    }

    /// Takes what is on its way to the changelog, for another attempt.
    pub(super) fn take_waiting(&mut self) -> Vec<(i64, Made)> {
        std::mem::take(&mut self.waiting).into_iter().map(|one| (one.offset, one.made)).collect()
    }

    /// Returns the next entry that was there, if it is that of this input record or of one before it.
    fn next_recorded(&mut self, offset: i64) -> Option<RecordedEntry> {
        self.replay.front().filter(|entry| entry.offset <= offset)?;
        self.replay.pop_front()
    }
}

impl Task {
    /// Appends what was made from an input record to the changelog, unless outputs of that record are there: those count then.
    pub(super) async fn record(&mut self, offset: i64, made: Made) -> Result<(), TaskFailure> {
        let next = |recorder: &mut Option<Recorder>| recorder.as_mut()?.next_recorded(offset);
        while let Some(recorded) = next(&mut self.recorder) {
            if recorded.offset == offset {
                self.replay(recorded, made.done);
                return Ok(());
            }
            // The input record is gone meanwhile: its outputs are sent without it.
            self.replay(recorded, oneshot::channel().0);
        }
        self.append(offset, made).await
    }

    /// Queues outputs that are in the changelog behind those on their way there.
    fn replay(&mut self, recorded: RecordedEntry, done: oneshot::Sender<Result<Settled>>) {
        let Some(recorder) = &mut self.recorder else { return };
        let RecordedEntry { offset, entry: ChangelogEntry { output, dead, records }, numbers, end } =
            recorded;
        let counted = Counted { output: recorder.output, partition: 0, records: numbers, written: Some(end) };
        let made = Made { output, dead, records, done };
        recorder.waiting.push_back(Recording { offset, made, counted, deliveries: Deliveries::default() });
        self.progress.update(|standing| standing.in_flight += 1);
    }

    async fn append(&mut self, offset: i64, mut made: Made) -> Result<(), TaskFailure> {
        let (Some(recorder), Some(settings)) = (&mut self.recorder, self.context.outputs.get(made.output))
        else {
            floe_core::invariant!(false, "a record goes to an output of the processor");
            return Ok(());
        };
        for record in &mut made.records {
            let number = choose_partition(settings, record, offset).map_err(TaskFailure::Final)?;
            record.partition = Some(number);
        }
        let entry = ChangelogEntry::encode(made.output, made.dead, &made.records);
        let parts = encode_parts(offset, &entry, recorder.part_len);
        let records = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let counted = Counted { output: recorder.output, partition: 0, records, written: None };
        let mut recording = Recording { offset, made, counted, deliveries: Deliveries::default() };
        self.progress.update(|standing| standing.in_flight += 1);
        let mut failed = None;
        if let Some(output) = self.outputs.get_mut(recorder.output) {
            for part in parts {
                let record = Record::new(part).partition(self.lease.partition());
                match output.producer.offer(&record).await {
                    Ok(delivery) => recording.deliveries.push_one(&delivery),
                    Err(error) => {
                        failed = Some(TaskFailure::Append(error));
                        break;
                    }
                }
            }
            if let Some(partition) = output.partitions.first_mut() {
                partition.in_flight += records;
            }
        }
        // Kept in any case: a restart appends what is missing.
        recorder.waiting.push_back(recording);
        failed.map_or(Ok(()), Err)
    }

    /// Sends the oldest outputs on their way to the changelog, which are there now.
    pub(super) async fn send_recorded(&mut self, ends: &[End]) -> Result<(), TaskFailure> {
        let oldest = self.recorder.as_mut().and_then(|recorder| recorder.waiting.pop_front());
        let Some(Recording { offset, made, mut counted, .. }) = oldest else { return Ok(()) };
        counted.written = ends.iter().filter_map(|(_, end)| *end).max().or(counted.written);
        self.send(offset, made, Some(counted)).await
    }
}

/// Waits until the oldest outputs on their way to the changelog are there. Can be interrupted and resumed.
pub(super) async fn arrived(recorder: &mut Option<Recorder>) -> Result<Vec<End>> {
    match recorder.as_mut().and_then(|recorder| recorder.waiting.front_mut()) {
        Some(oldest) => oldest.deliveries.ends().await,
        None => pending().await,
    }
}
