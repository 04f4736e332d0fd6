//! One task: puts the records made from one input partition in the order of the input, numbers and sends them.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    context::TaskContext,
    fingerprint::Fingerprint,
    lease_gate::LeaseGate,
    take_over::{Begun, Progress, Written, begin_again, patiently, take_over},
    written_tail::WrittenRecord,
};
use crate::{
    Error, ErrorKind, Producer, Record, Result,
    consumer::{TaskLease, group::MemberHandle},
    layer::Layer as _,
    producer::{Deliveries, Identity, choose_for},
};

/// How often a task notes that an output partition holds nothing more of it up to its end, so that a later owner reads less,
/// and retention may remove what was there.
const REFRESH: Duration = Duration::from_secs(300);

/// Restarts of a task that does not get on, before it fails.
const MAX_RESTARTS: u32 = 2;

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
    pub(in crate::processor) records: Vec<Record>,
    /// Gets the number of records that were sent, once all of them are there.
    pub(in crate::processor) done: oneshot::Sender<Result<u64>>,
}

/// Ends of the output partitions of which the task had nothing in flight: output, partition, high watermark.
type Ends = Vec<(usize, u32, i64)>;

struct TaskPartition {
    /// Records that were there before the task began, and were not made again yet.
    written: VecDeque<WrittenRecord>,
    /// Records in flight.
    in_flight: u32,
}

struct TaskOutput {
    producer: Producer,
    partitions: Vec<TaskPartition>,
}

/// An input record whose outputs are numbered.
struct Numbered {
    offset: i64,
    output: usize,
    counts: Vec<Counted>,
    deliveries: Deliveries,
    sent: u64,
    /// Kept until they are acknowledged.
    records: Vec<Record>,
    done: oneshot::Sender<Result<u64>>,
}

/// The records made from one input record for one output partition.
struct Counted {
    partition: u32,
    records: u32,
    /// The records among them that were not there before.
    sent: u32,
    /// Offset after the last one that was there before.
    written: Option<i64>,
}

struct Task {
    context: Arc<TaskContext>,
    lease: TaskLease,
    progress: Arc<Progress>,
    outputs: Vec<TaskOutput>,
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
) -> Result<()> {
    let outcome = tokio::select! {
        biased;
        () = lease.lost() => return Ok(()),
        outcome = run_held(context, lease.clone(), inputs) => outcome,
    };
    // Failures of a task that was lost meanwhile are no concern of its processor.
    if lease.is_lost() { Ok(()) } else { outcome }
}

async fn run_held(
    context: Arc<TaskContext>,
    lease: TaskLease,
    mut inputs: mpsc::Receiver<TaskInput>,
) -> Result<()> {
    let Some(facts) = lease.facts() else {
        floe_core::invariant!(false, "a consumer that reads for tasks says what is stored about them");
        return Ok(());
    };
    let mut waiting = VecDeque::new();
    let begun = tokio::select! {
        biased;
        begun = take_over(&context, &lease, facts) => begun?,
        () = collect(&mut inputs, &mut waiting) => return Ok(()),
    };
    let mut task = Task {
        context,
        lease,
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
    lease: &TaskLease,
    (progress, producer_id): (&Progress, i64),
    written: Written,
) -> Result<Vec<TaskOutput>> {
    let member: MemberHandle = context.member.clone();
    let gate = LeaseGate { member, lease: lease.clone() };
    let engine = gate.layer(Arc::clone(context.client.engine()));
    let numbering = progress.update(|standing| standing.numbering.clone());
    let mut outputs = Vec::new();
    for ((output, numbers), written) in context.outputs.iter().zip(&numbering.outputs).zip(written) {
        let places = numbers.partitions.iter().zip(&written).map(|(numbers, written)| {
            let mut numbers = *numbers;
            let count = u32::try_from(written.len()).unwrap_or(u32::MAX);
            numbers.advance(count, written.back().map(|record| record.offset + 1));
            (i32::try_from(numbers.next).unwrap_or(0), Some(numbers.hint))
        });
        let identity = Identity { producer_id, epoch: numbering.epoch, partitions: places.collect() };
        let builder = output.builder.clone().identity(identity).through(Arc::clone(&engine));
        let partitions = written.into_iter().map(|written| TaskPartition { written, in_flight: 0 }).collect();
        let producer = patiently(|| Box::pin(builder.clone().start())).await?;
        outputs.push(TaskOutput { producer, partitions });
    }
    Ok(outputs)
}

impl Task {
    /// Starts to send behind the records that are there.
    async fn begin(&mut self, begun: Begun) -> Result<()> {
        let Begun { progress, producer_id, written } = begun;
        self.to_replay = written.iter().flatten().map(VecDeque::len).sum();
        if self.to_replay > 0 {
            let (partition, records) = (self.lease.partition(), self.to_replay);
            tracing::info!(topic = %self.context.topics.from, partition, records, "records of the task are there already");
        }
        self.outputs = start_producers(&self.context, &self.lease, (&progress, producer_id), written).await?;
        Ok(())
    }

    /// Looks at the outputs once more after an append has failed, and sends what is not there.
    async fn restart(&mut self, cause: Error) -> Result<()> {
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS {
            return Err(cause);
        }
        tracing::warn!(topic = %self.context.topics.from, partition = self.lease.partition(), %cause, "the task begins again");
        close_producers(&self.outputs).await?;
        let begun = begin_again(&self.context, &self.lease, Arc::clone(&self.progress)).await?;
        self.begin(begun).await?;
        for numbered in std::mem::take(&mut self.in_flight) {
            let Numbered { offset, output, records, done, .. } = numbered;
            match self.send(offset, Made { output, records, done }).await {
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
                made = next_made(&mut self.waiting) => match made {
                    Some((offset, made)) => self.send(offset, made).await?,
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

    /// Sends the records made from one input record, except those that are there already.
    async fn send(&mut self, offset: i64, made: Made) -> Result<(), TaskFailure> {
        let Made { output, records, done } = made;
        let counts = Vec::with_capacity(records.len().min(8));
        let deliveries = Deliveries::default();
        let mut numbered = Numbered { offset, output, counts, deliveries, sent: 0, records, done };
        // Compared as a whole before the first one is sent.
        let mut missing = Vec::with_capacity(numbered.records.len());
        for index in 0..numbered.records.len() {
            if self.number(&mut numbered, index).map_err(TaskFailure::Final)? {
                missing.push(index);
            }
        }
        if self.to_replay > 0 {
            self.check_left(offset).map_err(TaskFailure::Final)?;
        }
        self.progress.update(|standing| standing.in_flight += 1);
        let mut failed = None;
        if let Some(output) = self.outputs.get(output) {
            for record in missing.into_iter().filter_map(|index| numbered.records.get(index)) {
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
        let (context, partition_read) = (&self.context, self.lease.partition());
        let (Some(settings), Some(output), Some(record)) = (
            context.outputs.get(numbered.output),
            self.outputs.get_mut(numbered.output),
            numbered.records.get_mut(index),
        ) else {
            floe_core::invariant!(false, "a record goes to an output of the processor");
            return Ok(false);
        };
        let number = record.partition.unwrap_or_else(|| {
            let contents = (record.key.as_deref(), &record.value[..]);
            choose_for(&*settings.partitioner, contents, settings.partitions, numbered.offset)
        });
        let at = settings.topic.partition(number);
        let Some(partition) = output.partitions.get_mut(number as usize) else {
            let message = format!(
                "the record at offset {} goes to partition {number} of a topic that had {} when the processor began",
                numbered.offset, settings.partitions
            );
            return Err(Error::new(ErrorKind::PartitionNotFound, message).with_topic(&settings.topic));
        };
        if let Some(written) = partition.written.pop_front() {
            self.to_replay -= 1;
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), &value[..]));
            let contents = (record.key.as_deref(), &record.value[..]);
            let made = Fingerprint::of((context.topics.from.as_str(), partition_read), contents, headers);
            if let Some(difference) = written.fingerprint.difference(&made) {
                let text =
                    format!("another record than the one at offset {} of {at}: {difference}", written.offset);
                return Err(self.nondeterministic(numbered.offset, &text));
            }
            numbered.count(number, Some(written.offset + 1));
            return Ok(false);
        }
        partition.in_flight += 1;
        record.partition = Some(number);
        numbered.count(number, None);
        Ok(true)
    }

    /// Looks for records that were made from this input record before, and not any more.
    fn check_left(&self, offset: i64) -> Result<()> {
        for (settings, output) in self.context.outputs.iter().zip(&self.outputs) {
            for (number, partition) in (0..).zip(&output.partitions) {
                if let Some(first) = partition.written.front()
                    && let Some(origin) = first.fingerprint.origin().filter(|origin| *origin <= offset)
                {
                    let at = settings.topic.partition(number);
                    let text = format!("no record any more for the one at offset {} of {at}", first.offset);
                    return Err(self.nondeterministic(origin, &text));
                }
            }
        }
        Ok(())
    }

    fn nondeterministic(&self, offset: i64, difference: &str) -> Error {
        let message = format!(
            "the handler is not deterministic: from the record at offset {offset} it makes {difference}. Nothing was written a \
             second time"
        );
        Error::new(ErrorKind::Nondeterministic, message)
            .with_operation("process")
            .with_topic(&self.context.topics.from)
            .with_partition(self.lease.partition())
    }

    /// Moves on behind the oldest input record in flight, whose outputs are acknowledged.
    fn settle(&mut self, ends: &[(u32, Option<i64>)]) {
        let Some(numbered) = self.in_flight.pop_front() else { return };
        let Numbered { offset, output, counts, sent, done, .. } = numbered;
        self.restarts = 0;
        self.progress.update(|standing| {
            standing.next = offset + 1;
            standing.in_flight -= 1;
            let Some(numbers) = standing.numbering.outputs.get_mut(output) else { return };
            for counted in &counts {
                if let Some(partition) = numbers.partitions.get_mut(counted.partition as usize) {
                    partition.advance(counted.records, counted.written);
                }
            }
            for (number, end) in ends {
                if let Some(partition) = numbers.partitions.get_mut(*number as usize) {
                    partition.advance(0, *end);
                }
            }
        });
        if let Some(output) = self.outputs.get_mut(output) {
            for counted in &counts {
                if let Some(partition) = output.partitions.get_mut(counted.partition as usize) {
                    partition.in_flight -= counted.sent;
                }
            }
        }
        // The processor may have stopped waiting.
        let _ = done.send(Ok(sent));
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

    /// Asks for the ends of the output partitions that have nothing in flight.
    fn begin_refresh(&mut self) {
        self.refresh_at = Instant::now() + REFRESH;
        let engine = Arc::clone(self.context.client.engine());
        let mut idle = Vec::new();
        for (index, (settings, output)) in self.context.outputs.iter().zip(&self.outputs).enumerate() {
            let quiet = (0..).zip(&output.partitions).filter(|(_, partition)| partition.is_quiet());
            idle.extend(quiet.map(|(number, _)| (index, settings.topic.partition(number))));
        }
        self.refresh = Some(Box::pin(async move {
            let mut ends = Ends::new();
            for (index, at) in idle {
                let number = at.partition;
                if let Ok(marks) = engine.watermarks(at).await {
                    ends.push((index, number, marks.high));
                }
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
        let at = match self.counts.iter().position(|counted| counted.partition == number) {
            Some(at) => at,
            None => {
                self.counts.push(Counted { partition: number, records: 0, sent: 0, written: None });
                self.counts.len() - 1
            }
        };
        if let Some(counted) = self.counts.get_mut(at) {
            counted.records += 1;
            counted.sent += u32::from(written.is_none());
            counted.written = written.or(counted.written);
        }
    }
}

impl TaskPartition {
    /// Whether nothing of the task is on its way to the partition, or there without having been made again.
    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.written.is_empty()
    }
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
