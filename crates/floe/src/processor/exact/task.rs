//! One task: puts the records made from one input partition in the order of the input, numbers and sends them.

mod recording;

use std::{collections::VecDeque, future::pending, iter, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

pub(super) use self::recording::RecordedUpTo;
use self::recording::Recorder;
use super::{
    changelog,
    context::{OutputSettings, TaskContext},
    fingerprint::Fingerprint,
    lease_gate::LeaseGate,
    patience::patiently,
    take_over::{Begun, Progress, begin_again, take_over},
    written_tail::WrittenRecord,
};
use crate::{
    Error, ErrorKind, Producer, Record, Result,
    consumer::TaskLease,
    engine::SharedEngine,
    layer::Layer as _,
    producer::{Deliveries, Identity, choose_for},
};

/// How often a task notes that an output partition holds nothing more of it up to its end, so that a later owner reads less,
/// and retention may remove what was there.
const REFRESH: Duration = Duration::from_secs(300);

/// Restarts of a task that does not get on, before it fails.
const MAX_RESTARTS: u32 = 2;

/// Restarts of a task that does not get on because an earlier owner, which does not know of it yet, gets in between. That ends
/// with the first append of the task, behind which a log refuses those of the other.
const MAX_RACES: u32 = 100;

/// Failure of a task.
enum TaskFailure {
    /// An append failed: a look at the outputs tells whether it had an effect.
    Append(Error),
    /// The task cannot go on.
    Final(Error),
}

/// An input record in its place, and the way in which the records made from it come.
pub(super) struct TaskInput {
    pub(super) offset: i64,
    pub(super) made: oneshot::Receiver<Made>,
}

/// The records made from an input record.
#[derive(Debug)]
pub(in crate::processor) struct Made {
    /// Output that they go to.
    pub(in crate::processor) output: usize,
    /// Whether they are the dead letter of the input record.
    pub(in crate::processor) dead: bool,
    pub(in crate::processor) records: Vec<Record>,
    pub(in crate::processor) done: oneshot::Sender<Result<Settled>>,
}

/// Number of records that were sent, once all of them are there, and whether they are the dead letter of the input record.
pub(in crate::processor) type Settled = (u64, bool);

/// Ends of the output partitions of which the task had nothing in flight: output, partition, high watermark.
type Ends = Vec<(usize, u32, i64)>;

struct TaskPartition {
    /// Records that were there before the task began, and were not made again yet.
    written: VecDeque<WrittenRecord>,
    /// Records of input records that are not settled, in flight or there.
    in_flight: u32,
}

struct TaskOutput {
    producer: Producer,
    partitions: Vec<TaskPartition>,
}

/// An input record whose outputs are numbered.
struct Numbered {
    offset: i64,
    counts: Vec<Counted>,
    deliveries: Deliveries,
    sent: u64,
    /// Kept until they are acknowledged.
    made: Made,
}

/// The records made from one input record for one output partition.
#[derive(Debug, Clone, Copy)]
struct Counted {
    output: usize,
    partition: u32,
    records: u32,
    /// Offset after the last one that was there before.
    written: Option<i64>,
}

struct Task {
    context: Arc<TaskContext>,
    lease: TaskLease,
    /// Engine of the client, behind the lease gate.
    engine: SharedEngine,
    progress: Arc<Progress>,
    outputs: Vec<TaskOutput>,
    /// Set if outputs are recorded.
    recorder: Option<Recorder>,
    /// Records that were there before and were not made again yet.
    to_replay: usize,
    waiting: VecDeque<TaskInput>,
    /// Whether an input record was given up, so that none behind it can be sent.
    abandoned: bool,
    in_flight: VecDeque<Numbered>,
    /// Restarts since an input record was done last.
    restarts: u32,
    refresh_at: Instant,
    refresh: Option<BoxFuture<'static, Ends>>,
}

/// Runs a task until its inputs end or its lease does.
pub(super) async fn run(
    context: Arc<TaskContext>,
    lease: TaskLease,
    inputs: mpsc::Receiver<TaskInput>,
    recorded: watch::Sender<RecordedUpTo>,
) -> Result<()> {
    let outcome = tokio::select! {
        biased;
        () = lease.lost() => return Ok(()),
        outcome = run_held(context, lease.clone(), inputs, recorded) => outcome,
    };
    // Failures of a task that was lost meanwhile are no concern of its processor.
    if lease.is_lost() { Ok(()) } else { outcome }
}

async fn run_held(
    context: Arc<TaskContext>,
    lease: TaskLease,
    mut inputs: mpsc::Receiver<TaskInput>,
    recorded: watch::Sender<RecordedUpTo>,
) -> Result<()> {
    let Some(facts) = lease.facts() else {
        floe_core::invariant!(false, "a consumer that reads for tasks says what is stored about them");
        return Ok(());
    };
    let gate = LeaseGate { member: context.member.clone(), lease: lease.clone() };
    let engine = gate.layer(Arc::clone(context.client.engine()));
    let mut waiting = VecDeque::new();
    let begun = tokio::select! {
        biased;
        begun = take_over(&context, &engine, &lease, facts) => begun?,
        () = collect(&mut inputs, &mut waiting) => return Ok(()),
    };
    let recorder = context.changelog().map(|_| Recorder::new(&context));
    let mut task = Task {
        context,
        lease,
        engine,
        recorder,
        progress: Arc::clone(&begun.progress),
        outputs: Vec::new(),
        to_replay: 0,
        waiting,
        abandoned: false,
        in_flight: VecDeque::new(),
        restarts: 0,
        refresh_at: Instant::now() + REFRESH,
        refresh: None,
    };
    task.begin(begun).await?;
    // Attempts at records that are recorded end without a call of the handler; the others begin.
    recorded.send_replace(Some(task.recorder.as_ref().map_or(i64::MIN, Recorder::recorded_up_to)));
    loop {
        match task.work(&mut inputs).await {
            Ok(()) => return task.stop().await,
            Err(TaskFailure::Final(error)) => return Err(error),
            Err(TaskFailure::Append(error)) => task.restart(error).await?,
        }
    }
}

/// Starts a producer for each output topic, which goes on behind the records that are there.
async fn start_producers(
    context: &TaskContext,
    (engine, task): (&SharedEngine, u32),
    begun: Begun,
) -> Result<Vec<TaskOutput>> {
    let Begun { progress, producer_id, written, recorded } = begun;
    let numbering = progress.update(|standing| standing.numbering.clone());
    let mut outputs = Vec::new();
    for ((output, numbers), written) in context.outputs.iter().zip(&numbering.outputs).zip(written) {
        let places = numbers.partitions.iter().zip(&written).map(|(numbers, written)| {
            let mut numbers = *numbers;
            let count = u32::try_from(written.len()).unwrap_or(u32::MAX);
            numbers.advance(count, written.back().map(|record| record.offset + 1));
            if output.per_task {
                numbers.advance(recorded.records, recorded.end);
            }
            (i32::try_from(numbers.next).unwrap_or(0), Some(numbers.hint))
        });
        // The task writes to no other partition of a changelog.
        let others = if output.per_task { task as usize } else { 0 };
        let places = iter::repeat_n((0, None), others).chain(places).collect();
        let identity = Identity { producer_id, epoch: numbering.epoch, partitions: places };
        let builder = output.builder.clone().identity(identity).through(Arc::clone(engine));
        let in_flight = if output.per_task { recorded.records } else { 0 };
        let partitions = written.into_iter().map(|written| TaskPartition { written, in_flight }).collect();
        let producer = patiently(|| Box::pin(builder.clone().start())).await?;
        outputs.push(TaskOutput { producer, partitions });
    }
    Ok(outputs)
}

impl Task {
    /// Starts to send behind the records that are there.
    async fn begin(&mut self, mut begun: Begun) -> Result<()> {
        self.to_replay = begun.written.iter().flatten().map(VecDeque::len).sum();
        if self.to_replay > 0 {
            let (partition, records) = (self.lease.partition(), self.to_replay);
            tracing::info!(topic = %self.context.topics.from, partition, records, "records of the task are there already");
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(std::mem::take(&mut begun.recorded.entries));
        }
        self.outputs = start_producers(&self.context, (&self.engine, self.lease.partition()), begun).await?;
        Ok(())
    }

    /// Looks at the outputs once more after an append has failed, and sends what is not there.
    async fn restart(&mut self, cause: Error) -> Result<()> {
        self.restarts += 1;
        let limit = if cause.kind() == ErrorKind::ConditionFailed { MAX_RACES } else { MAX_RESTARTS };
        if self.restarts > limit {
            return Err(cause);
        }
        tracing::warn!(topic = %self.context.topics.from, partition = self.lease.partition(), %cause, "the task begins again");
        close_producers(&self.outputs).await?;
        let progress = Arc::clone(&self.progress);
        let begun = begin_again(&self.context, &self.engine, &self.lease, progress).await?;
        self.begin(begun).await?;
        let sent =
            std::mem::take(&mut self.in_flight).into_iter().map(|numbered| (numbered.offset, numbered.made));
        let mut unsettled: Vec<_> = sent.collect();
        unsettled.extend(self.recorder.as_mut().map(Recorder::take_waiting).unwrap_or_default());
        for (offset, made) in unsettled {
            match self.accept(offset, made).await {
                Ok(()) => {}
                Err(TaskFailure::Append(error) | TaskFailure::Final(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what the inputs make until they end.
    async fn work(&mut self, inputs: &mut mpsc::Receiver<TaskInput>) -> Result<(), TaskFailure> {
        loop {
            tokio::select! {
                biased;
                ends = arrived(&mut self.in_flight) => {
                    let ends = ends.map_err(TaskFailure::Append)?;
                    self.settle(&ends);
                }
                ends = recording::arrived(&mut self.recorder) => {
                    let ends = ends.map_err(TaskFailure::Append)?;
                    self.send_recorded(&ends).await?;
                }
                made = next_made(&mut self.waiting) => match made {
                    Some((offset, made)) => self.accept(offset, made).await?,
                    None => self.abandon(),
                },
                input = inputs.recv() => match input {
                    Some(input) if !self.abandoned => self.waiting.push_back(input),
                    Some(_) => {}
                    None => return Ok(()),
                },
                ends = pending_or(self.refresh.as_mut()) => self.refreshed(ends),
                () = sleep_until(self.refresh_at), if self.refresh.is_none() => self.begin_refresh(),
            }
        }
    }

    /// Takes what was made from one input record: records it first, or sends it at once.
    async fn accept(&mut self, offset: i64, made: Made) -> Result<(), TaskFailure> {
        if self.recorder.is_some() {
            return self.record(offset, made).await;
        }
        self.progress.update(|standing| standing.in_flight += 1);
        self.send(offset, made, None).await
    }

    /// Sends the records made from one input record, except those that are there already. `recorded`: what they take in the
    /// changelog.
    async fn send(&mut self, offset: i64, made: Made, recorded: Option<Counted>) -> Result<(), TaskFailure> {
        let mut counts = Vec::with_capacity(made.records.len().min(8) + usize::from(recorded.is_some()));
        counts.extend(recorded);
        let mut numbered = Numbered { offset, counts, deliveries: Deliveries::default(), sent: 0, made };
        // Compared as a whole before the first one is sent.
        let mut missing = Vec::with_capacity(numbered.made.records.len());
        for index in 0..numbered.made.records.len() {
            if self.number(&mut numbered, index).map_err(TaskFailure::Final)? {
                missing.push(index);
            }
        }
        if self.to_replay > 0 {
            self.check_left(offset).map_err(TaskFailure::Final)?;
        }
        let mut failed = None;
        if let Some(output) = self.outputs.get(numbered.made.output) {
            for record in missing.into_iter().filter_map(|index| numbered.made.records.get(index)) {
                match output.producer.offer(record).await {
                    Ok(delivery) => numbered.deliveries.push_one(&delivery),
                    Err(error) => {
                        failed = Some(TaskFailure::Append(error));
                        break;
                    }
                }
                numbered.sent += 1;
            }
        }
        // Kept in any case: a restart sends what is missing.
        self.in_flight.push_back(numbered);
        failed.map_or(Ok(()), Err)
    }

    /// Gives a record its partition and its number. Returns whether it has to be sent.
    fn number(&mut self, numbered: &mut Numbered, index: usize) -> Result<bool> {
        let (context, task) = (&self.context, self.lease.partition());
        let (Some(settings), Some(output), Some(record)) = (
            context.outputs.get(numbered.made.output),
            self.outputs.get_mut(numbered.made.output),
            numbered.made.records.get_mut(index),
        ) else {
            floe_core::invariant!(false, "a record goes to an output of the processor");
            return Ok(false);
        };
        let number = choose_partition(settings, record, numbered.offset)?;
        let Some(partition) = output.partitions.get_mut(number as usize) else { return Ok(false) };
        partition.in_flight += 1;
        if let Some(written) = partition.written.pop_front() {
            self.to_replay -= 1;
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), &value[..]));
            let contents = (record.key.as_deref(), &record.value[..]);
            let made = Fingerprint::of((context.topics.from.as_str(), task), contents, headers);
            if let Some(difference) = written.contents.difference(&made) {
                let at = settings.topic.partition(number);
                let text =
                    format!("another record than the one at offset {} of {at}: {difference}", written.offset);
                return Err(self.differs(numbered.offset, &text));
            }
            numbered.count(number, Some(written.offset + 1));
            return Ok(false);
        }
        record.partition = Some(number);
        numbered.count(number, None);
        Ok(true)
    }

    /// Looks for records that were made from this input record before, and not any more.
    fn check_left(&self, offset: i64) -> Result<()> {
        for (settings, output) in self.context.outputs.iter().zip(&self.outputs) {
            for (number, partition) in (0..).zip(&output.partitions) {
                if let Some(first) = partition.written.front()
                    && let Some(origin) = first.contents.origin().filter(|origin| *origin <= offset)
                {
                    let at = settings.topic.partition(number);
                    let text = format!("no record any more for the one at offset {} of {at}", first.offset);
                    return Err(self.differs(origin, &text));
                }
            }
        }
        Ok(())
    }

    /// The error of outputs that are not those which are there.
    fn differs(&self, offset: i64, difference: &str) -> Error {
        let (kind, cause) = match self.context.changelog() {
            None => (ErrorKind::Nondeterministic, "the handler is not deterministic".to_owned()),
            Some(log) => {
                (ErrorKind::CorruptData, format!("the changelog {} is not that of the outputs", log.topic))
            }
        };
        let message = format!(
            "{cause}: from the record at offset {offset} the processor makes {difference}. Nothing was written a second time"
        );
        Error::new(kind, message)
            .with_operation("process")
            .with_topic(&self.context.topics.from)
            .with_partition(self.lease.partition())
    }

    /// Moves on behind the oldest input record in flight, whose outputs are acknowledged.
    fn settle(&mut self, ends: &[(u32, Option<i64>)]) {
        let Some(numbered) = self.in_flight.pop_front() else { return };
        let Numbered { offset, counts, sent, made: Made { output, dead, done, .. }, .. } = numbered;
        self.restarts = 0;
        self.progress.update(|standing| {
            standing.next = offset + 1;
            standing.in_flight -= 1;
            let outputs = &mut standing.numbering.outputs;
            let mut advance = |output: usize, number: u32, records, end| {
                let numbers =
                    outputs.get_mut(output).and_then(|output| output.partitions.get_mut(number as usize));
                if let Some(numbers) = numbers {
                    numbers.advance(records, end);
                }
            };
            counts.iter().for_each(|one| advance(one.output, one.partition, one.records, one.written));
            ends.iter().for_each(|(number, end)| advance(output, *number, 0, *end));
        });
        for counted in &counts {
            if let Some(partition) = self.partition(counted) {
                partition.in_flight -= counted.records;
            }
        }
        // The processor may have stopped waiting.
        let _ = done.send(Ok((sent, dead)));
    }

    fn partition(&mut self, counted: &Counted) -> Option<&mut TaskPartition> {
        self.outputs.get_mut(counted.output)?.partitions.get_mut(counted.partition as usize)
    }

    /// Gives up the input records that wait: one before them will never be done.
    fn abandon(&mut self) {
        self.abandoned = true;
        self.waiting.clear();
    }

    /// Ends without waiting for anything in flight.
    async fn stop(mut self) -> Result<()> {
        close_producers(&self.outputs).await?;
        while let Some(ends) = arrived(&mut self.in_flight).now_or_never() {
            match ends {
                Ok(ends) => self.settle(&ends),
                Err(_) => break,
            }
        }
        self.progress.update(|standing| standing.stopped = true);
        Ok(())
    }

    /// Asks for the ends of the output partitions that have nothing in flight, and removes what the changelog has before the
    /// commit.
    fn begin_refresh(&mut self) {
        self.refresh_at = Instant::now() + REFRESH;
        let (engine, task) = (Arc::clone(&self.engine), self.lease.partition());
        let mut idle = Vec::new();
        for (index, (settings, output)) in self.context.outputs.iter().zip(&self.outputs).enumerate() {
            let quiet = (0..).zip(&output.partitions).filter(|(_, partition)| partition.is_quiet());
            idle.extend(quiet.map(|(number, _)| (index, number, settings.at(number, task))));
        }
        let committed = self.progress.update(|standing| {
            standing
                .numbering
                .outputs
                .last()
                .and_then(|output| output.partitions.first())
                .map(|numbers| numbers.hint)
        });
        let changelog = self.context.changelog().map(|changelog| changelog.at(0, task)).zip(committed);
        let member = self.context.member.clone();
        self.refresh = Some(Box::pin(async move {
            let mut ends = Ends::new();
            for (index, number, at) in idle {
                if let Ok(marks) = engine.watermarks(at).await {
                    ends.push((index, number, marks.high));
                }
            }
            if let Some((at, before)) = changelog
                && member.store_tasks().await.is_ok()
            {
                changelog::trim(&engine, at, before).await;
            }
            ends
        }));
    }

    /// Notes the ends of those that have nothing in flight now: records of the task to come lie behind them.
    fn refreshed(&mut self, ends: Ends) {
        self.refresh = None;
        let outputs = &self.outputs;
        self.progress.update(|standing| {
            for (index, number, high) in ends {
                let quiet = outputs.get(index).and_then(|output| output.partitions.get(number as usize));
                let numbers = standing.numbering.outputs.get_mut(index);
                let numbers = numbers.and_then(|numbers| numbers.partitions.get_mut(number as usize));
                if let (Some(_), Some(numbers)) = (quiet.filter(|partition| partition.is_quiet()), numbers) {
                    numbers.advance(0, Some(high));
                }
            }
        });
    }
}

impl Numbered {
    /// Counts a record for an output partition. `written`: offset after it, if it was there before.
    fn count(&mut self, number: u32, written: Option<i64>) {
        let output = self.made.output;
        let known = |counted: &Counted| (counted.output, counted.partition) == (output, number);
        let at = match self.counts.iter().position(known) {
            Some(at) => at,
            None => {
                self.counts.push(Counted { output, partition: number, records: 0, written: None });
                self.counts.len() - 1
            }
        };
        if let Some(counted) = self.counts.get_mut(at) {
            counted.records += 1;
            counted.written = written.or(counted.written);
        }
    }
}

impl TaskPartition {
    /// Whether all that the task has written to the partition is settled: a hint may then move to its end.
    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.written.is_empty()
    }
}

/// Returns the partition of an output that a record goes to.
fn choose_partition(settings: &OutputSettings, record: &Record, offset: i64) -> Result<u32> {
    let number = record.partition.unwrap_or_else(|| {
        let contents = (record.key.as_deref(), &record.value[..]);
        choose_for(&*settings.partitioner, contents, settings.partitions, offset)
    });
    if number < settings.partitions {
        return Ok(number);
    }
    let message = format!(
        "the record at offset {offset} goes to partition {number} of a topic that had {} when the processor began",
        settings.partitions
    );
    Err(Error::new(ErrorKind::PartitionNotFound, message).with_topic(&settings.topic))
}

/// Collects the inputs of a task that has not begun, until they end.
async fn collect(inputs: &mut mpsc::Receiver<TaskInput>, waiting: &mut VecDeque<TaskInput>) {
    while let Some(input) = inputs.recv().await {
        waiting.push_back(input);
    }
}

/// Ends what the producers have in flight, without waiting for it.
async fn close_producers(outputs: &[TaskOutput]) -> Result<()> {
    for output in outputs {
        drop(output.producer.close_within(Duration::ZERO).await?);
    }
    Ok(())
}

/// Waits until the outputs of the oldest input record in flight are acknowledged. Can be interrupted and resumed.
async fn arrived(in_flight: &mut VecDeque<Numbered>) -> Result<Vec<(u32, Option<i64>)>> {
    match in_flight.front_mut() {
        Some(oldest) => oldest.deliveries.ends().await,
        None => pending().await,
    }
}

/// Waits until the first input record is handled; `None` if it never will be. Can be interrupted and resumed.
async fn next_made(waiting: &mut VecDeque<TaskInput>) -> Option<(i64, Made)> {
    let Some(first) = waiting.front_mut() else { return pending().await };
    let made = (&mut first.made).await.ok();
    let offset = waiting.pop_front()?.offset;
    Some((offset, made?))
}

/// Polls a future if there is one.
async fn pending_or<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}
