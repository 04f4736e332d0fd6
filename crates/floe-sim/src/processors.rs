//! Processors that crash, leave and restart, and the rules for their output: exactly once it is a function of the input, at
//! least once it holds what each record of the input makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use floe::{
    Client, ErrorKind, Message, Record, Result as FloeResult, Topic, TopicSpec,
    consumer::Membership,
    layer::Layer as _,
    processor::{DeadLetters, Failure, Processor, ProcessorBuilder, ProcessorReport},
};
use floe_wire::batch::EncodedBatch;
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    handled::Handled,
    power::{CoordinationWay, Power},
    rng::Rng,
    store::{Store, StoredLog},
    trace::Trace,
};

/// Topic that the processors write to.
const OUTPUT: &str = "invoices";

/// Partitions of it.
const PARTITIONS: u32 = 2;

/// Time limit of the processors for the last record once faults have ended: sessions, late appends, back-off after evictions.
const CATCH_UP: Duration = Duration::from_secs(900);

/// Time limit of a stop.
const STOP: Duration = Duration::from_secs(180);

/// Stored batches by output partition.
pub(crate) type Outputs = BTreeMap<u32, Vec<EncodedBatch>>;

/// The state of each processor in words, for the report of a run that hangs.
type Diary = Arc<Mutex<BTreeMap<usize, String>>>;

/// What processors promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarantee {
    /// Members of a shared group.
    ExactlyOnce,
    /// The same with handlers that are not deterministic, and outputs that are recorded.
    Recorded,
    /// One processor in a group of its own.
    AtLeastOnce,
}

/// The processors of a run.
#[derive(Debug)]
pub(crate) struct Workers {
    guarantee: Guarantee,
    tasks: Vec<(JoinHandle<Result<(), String>>, Client)>,
    done: watch::Sender<bool>,
    diary: Diary,
    calls: Calls,
}

/// Calls of handlers that make something else each time; their processors record what they make.
type Calls = Arc<AtomicU64>;

/// Process that runs a processor again and again.
#[derive(Debug)]
pub(crate) struct Worker {
    guarantee: Guarantee,
    number: usize,
    topic: &'static str,
    group: &'static str,
    way: CoordinationWay,
    done: watch::Receiver<bool>,
    handled: Handled,
    faults: bool,
    lives: u32,
    rng: Rng,
    trace: Trace,
    diary: Diary,
    calls: Calls,
    /// Begin of the run.
    begun: Instant,
}

/// End of one life of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LifeEnd {
    Stops,
    Crashes,
    /// The processor stopped by itself, with an error that faults explain.
    Fails,
    /// The output is complete.
    Done,
}

impl Workers {
    pub(crate) fn new(guarantee: Guarantee) -> Self {
        let (done, diary) = (watch::Sender::new(false), Diary::default());
        Self { guarantee, tasks: Vec::new(), done, diary, calls: Calls::default() }
    }

    /// Returns the topic that the processors write to.
    pub(crate) fn output() -> TopicSpec {
        TopicSpec::new(OUTPUT).partitions(PARTITIONS)
    }

    pub(crate) fn worker(
        &self,
        number: usize,
        (topic, group): (&'static str, &'static str),
        faults: bool,
        (way, handled, rng, trace): (CoordinationWay, Handled, Rng, Trace),
    ) -> Worker {
        let (done, diary) = (self.done.subscribe(), Arc::clone(&self.diary));
        let (begun, calls) = (Instant::now(), Arc::clone(&self.calls));
        let guarantee = self.guarantee;
        Worker {
            guarantee,
            number,
            topic,
            group,
            way,
            done,
            handled,
            faults,
            lives: 0,
            rng,
            trace,
            diary,
            calls,
            begun,
        }
    }

    pub(crate) fn add(&mut self, task: JoinHandle<Result<(), String>>, client: Client) {
        self.tasks.push((task, client));
    }

    /// Waits until the output is complete, and ends the processors. Returns the output and the clients.
    pub(crate) async fn finish(
        self,
        store: &Store,
        log: &StoredLog,
    ) -> Result<(Outputs, Vec<Client>), String> {
        if self.tasks.is_empty() {
            return Ok((Outputs::new(), Vec::new()));
        }
        let begun = Instant::now();
        loop {
            let missing = missing(log, &outputs(store).await?);
            if missing.is_empty() {
                break;
            }
            // A processor that has failed says why.
            if self.tasks.iter().any(|(task, _)| task.is_finished()) {
                break;
            }
            if begun.elapsed() > CATCH_UP {
                let (some, diary) = (missing.iter().take(10).collect::<Vec<_>>(), self.diary.lock().clone());
                return Err(format!(
                    "the processors hang: {} are missing, {some:?}; {diary:?}",
                    missing.len()
                ));
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.done.send_replace(true);
        let mut clients = Vec::new();
        for (task, client) in self.tasks {
            let ended = timeout(STOP + STOP, task).await;
            let ended = ended.map_err(|_| format!("a processor does not end: {:?}", self.diary.lock()))?;
            ended.map_err(|error| format!("a processor: {error}"))??;
            clients.push(client);
        }
        Ok((outputs(store).await?, clients))
    }
}

/// Reads the output.
async fn outputs(store: &Store) -> Result<Outputs, String> {
    let mut outputs = Outputs::new();
    for partition in 0..PARTITIONS {
        let at = Topic::from(OUTPUT).partition(partition);
        outputs.insert(partition, store.batches(&at).await.map_err(|error| error.to_string())?);
    }
    Ok(outputs)
}

/// The values of the records made from one input record: none to two.
fn made_of(partition: u32, offset: i64) -> impl Iterator<Item = String> {
    (0..offset % 3).map(move |index| format!("{partition}/{offset}/{index}"))
}

/// Splits a value into that of a deterministic handler, and the call that has made it.
fn without_call(value: &str) -> (&str, Option<&str>) {
    value.split_once('#').map_or((value, None), |(value, call)| (value, Some(call)))
}

fn expected(log: &StoredLog) -> BTreeSet<String> {
    let input = log
        .iter()
        .flat_map(|(partition, batches)| batches.iter().flatten().map(|(offset, _)| (*partition, *offset)));
    input.flat_map(|(partition, offset)| made_of(partition, offset)).collect()
}

fn missing(log: &StoredLog, outputs: &Outputs) -> Vec<String> {
    let mut missing = expected(log);
    for record in outputs.values().flatten().filter_map(|batch| batch.records().ok()).flatten().flatten() {
        missing.remove(without_call(&String::from_utf8_lossy(&record.value)).0);
    }
    missing.into_iter().collect()
}

/// The records of one task in a partition: value and epoch by number.
type Numbered = BTreeMap<i32, (String, i16)>;

/// Returns what the output of processors that work at least once lacks, has beyond the input, or has twice although nothing
/// had failed.
pub(crate) fn at_least_once_violations(log: &StoredLog, outputs: &Outputs, had_faults: bool) -> Vec<String> {
    let expected = expected(log);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for record in outputs.values().flatten().filter_map(|batch| batch.records().ok()).flatten().flatten() {
        *found.entry(String::from_utf8_lossy(&record.value).into_owned()).or_default() += 1;
    }
    let lost = expected.iter().filter(|value| !found.contains_key(*value));
    let mut wrong: Vec<_> = lost.map(|value| format!("{value} is not in the output")).collect();
    for (value, times) in &found {
        if !expected.contains(value) {
            wrong.push(format!("{value} is in the output, and nothing makes it"));
        }
        if *times > 1 && !had_faults {
            wrong.push(format!("{value} is in the output {times} times, and nothing had failed"));
        }
    }
    wrong
}

/// Compares the output with the input. A record that is stored once more by an owner that was replaced meanwhile counts once:
/// readers drop it.
pub(crate) fn exactly_once_violations(log: &StoredLog, outputs: &Outputs) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (partition, batches) in outputs {
        let mut tasks: BTreeMap<i64, Numbered> = BTreeMap::new();
        for batch in batches {
            take(batch, tasks.entry(batch.header().producer.id).or_default(), &mut wrong);
        }
        for (producer, records) in tasks {
            let mut last: Option<(i64, i64)> = None;
            for (number, (sequence, (value, _))) in (0..).zip(records) {
                if sequence != number {
                    wrong.push(format!("{OUTPUT}/{partition}: {producer} has no number {number}"));
                    break;
                }
                let (value, call) = without_call(&value);
                *found.entry(value.to_owned()).or_default() += 1;
                if let (Some((input, _)), Some(call)) = (value.rsplit_once('/'), call) {
                    calls.entry(input.to_owned()).or_default().insert(call.to_owned());
                }
                let place = place_of(value);
                if place.is_none() || place <= last {
                    wrong.push(format!("{OUTPUT}/{partition}: {value} is out of order"));
                }
                last = place.or(last);
            }
        }
    }
    let expected = expected(log);
    for (value, times) in &found {
        if *times > 1 {
            wrong.push(format!("{value} is in the output {times} times"));
        }
        if !expected.contains(value) {
            wrong.push(format!("{value} is in the output, and nothing makes it"));
        }
    }
    let mixed = calls.iter().filter(|(_, calls)| calls.len() > 1);
    wrong.extend(
        mixed.map(|(input, calls)| format!("the outputs of {input} are those of the calls {calls:?}")),
    );
    let lost = expected.iter().filter(|value| !found.contains_key(*value));
    wrong.extend(lost.map(|value| format!("{value} is not in the output")));
    wrong
}

/// Adds the records of a batch to those of its task.
fn take(batch: &EncodedBatch, numbered: &mut Numbered, wrong: &mut Vec<String>) {
    let producer = batch.header().producer;
    let Ok(records) = batch.records() else { return };
    for (index, record) in (0..).zip(records.flatten()) {
        let number = producer.first_sequence + index;
        let value = String::from_utf8_lossy(&record.value).into_owned();
        let Some((known, epoch)) = numbered.get(&number) else {
            numbered.insert(number, (value, producer.epoch));
            continue;
        };
        if *known != value {
            wrong.push(format!("the number {number} is that of {known} and of {value}"));
        }
        // The owner with the newer epoch has read what was there.
        if *epoch <= producer.epoch {
            wrong.push(format!("{value} is written in the epochs {epoch} and {}", producer.epoch));
        }
    }
}

/// Offset and index of a value.
fn place_of(value: &str) -> Option<(i64, i64)> {
    let mut parts = value.split('/').skip(1).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

impl Worker {
    /// Runs processors until the output is complete.
    pub(crate) async fn run(mut self, client: Client) -> Result<(), String> {
        sleep(self.rng.millis(0..=5_000)).await;
        let mut lives_left = self.rng.within(0..=4);
        loop {
            let end = self.live(&client, lives_left > 0).await?;
            self.trace.note(format_args!("processor {} ends: {end:?}", self.number));
            if end == LifeEnd::Done || *self.done.borrow() {
                return Ok(());
            }
            lives_left = lives_left.saturating_sub(1);
            let pause = self.rng.pick(&[100, 500, 15_000]);
            sleep(self.rng.millis(100..=pause)).await;
        }
    }

    fn note(&self, what: &str) {
        let text = format!("life {}, {what} since {:?}", self.lives, self.begun.elapsed());
        self.diary.lock().insert(self.number, text);
    }

    async fn live(&mut self, client: &Client, may_end: bool) -> Result<LifeEnd, String> {
        self.lives += 1;
        // Each life has a connection of its own to the engine, which a crash ends.
        let power = Power::new(self.way.clone(), false);
        let client = Client::builder("").from_engine(power.clone().layer(Arc::clone(client.engine())));
        let client = client.map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let processor = self.processor(&client);
        let mut run = Box::pin(processor.run(async {
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        }));
        let lasts = if may_end { self.rng.millis(100..=30_000) } else { CATCH_UP + CATCH_UP };
        let crashes = self.faults && self.rng.percent(60);
        self.note("runs");
        let mut done = self.done.clone();
        let end = tokio::select! {
            biased;
            outcome = &mut run => return self.failed(outcome),
            _ = done.wait_for(|done| *done) => LifeEnd::Done,
            () = sleep(lasts) => if crashes { LifeEnd::Crashes } else { LifeEnd::Stops },
        };
        if end == LifeEnd::Crashes {
            power.off();
            drop(run);
            self.note("has crashed");
            return Ok(end);
        }
        self.note("stops");
        // It may have ended just now.
        let _ = stop.send(());
        match timeout(STOP, run).await {
            Ok(Ok(_)) => Ok(end),
            Ok(outcome) => self.failed(outcome).map(|_| end),
            Err(_) if !*self.done.borrow() => Ok(end),
            Err(_) => Err(format!("processor {} does not stop", self.number)),
        }
    }

    /// Decides whether faults explain that a processor stopped.
    fn failed(&self, outcome: FloeResult<ProcessorReport>) -> Result<LifeEnd, String> {
        match outcome {
            Ok(_) => Err(format!("processor {} ended by itself", self.number)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Nondeterministic
                        | ErrorKind::CorruptData
                        | ErrorKind::Gap
                        | ErrorKind::OffsetOutOfRange
                        | ErrorKind::HandlerFailed
                ) =>
            {
                Err(format!("processor {} failed: {error:?}", self.number))
            }
            Err(error) => {
                self.trace.note(format_args!("processor {} stops: {error}", self.number));
                self.note("has failed");
                Ok(LifeEnd::Fails)
            }
        }
    }

    /// Draws the settings of a life.
    fn configured(&mut self, client: &Client) -> ProcessorBuilder {
        let processor =
            client.processor(self.topic, OUTPUT).group(self.group).dead_letters(DeadLetters::Stop);
        let processor = processor
            .concurrency(self.rng.pick(&[1, 4, 16]))
            .commit_interval(Duration::from_millis(self.rng.pick(&[100, 1_000, 20_000])))
            .drain_timeout(Duration::from_secs(20));
        if self.guarantee == Guarantee::AtLeastOnce {
            return processor;
        }
        let mut membership = Membership::new().session(Duration::from_secs(self.rng.pick(&[3, 5, 10])));
        membership = membership.drain(Duration::from_secs(self.rng.pick(&[1, 10])));
        if self.rng.percent(40) {
            membership = membership.instance(format!("worker-{}", self.number));
        }
        let processor = processor.shared_as(membership);
        if self.guarantee == Guarantee::Recorded { processor.recorded() } else { processor.exactly_once() }
    }

    fn processor(&mut self, client: &Client) -> Processor {
        let (handled, group, number) = (self.handled.clone(), self.group, self.number);
        let trace = self.trace.clone();
        let pause = self.rng.pick(&[0, 20, 300]);
        let calls = (self.guarantee == Guarantee::Recorded).then(|| Arc::clone(&self.calls));
        self.configured(client).map(move |message: Message| {
            let (handled, trace) = (handled.clone(), trace.clone());
            let call = calls.as_ref().map(|calls| format!("#{}", calls.fetch_add(1, Ordering::Relaxed)));
            async move {
                let (partition, offset) = (message.partition, message.offset);
                // The time of a record depends on it alone, and is not that of its neighbours.
                sleep(Duration::from_millis((offset * 7919 + i64::from(partition)) as u64 % (pause + 1)))
                    .await;
                trace.note(format_args!("processor {number} handles {partition}/{offset}"));
                handled.record(group, partition, offset);
                let key = |index| (index == 0).then(|| format!("key {}", offset % 5).into());
                let call = call.unwrap_or_default();
                let made = (0..).zip(made_of(partition, offset)).map(|(index, value)| Record {
                    key: key(index),
                    ..Record::new(format!("{value}{call}").into())
                });
                Ok::<Vec<Record>, Failure>(made.collect())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::batch::{BatchBuilder, FinishOptions, ProducerIdentity};

    use super::*;

    /// A log of one input partition with four records, which make none, one, two and none.
    fn log() -> StoredLog {
        StoredLog::from([(0, vec![(0..4).map(|offset| (offset, format!("input {offset}"))).collect()])])
    }

    fn batch(epoch: i16, first_sequence: i32, values: &[&str]) -> EncodedBatch {
        let mut builder = BatchBuilder::new(1000);
        for value in values {
            builder.append(1, None, value.as_bytes(), &[]).unwrap();
        }
        let producer = ProducerIdentity { id: 7, epoch, first_sequence };
        builder.finish(FinishOptions { producer, ..FinishOptions::default() }).unwrap()
    }

    fn wrong(batches: Vec<EncodedBatch>) -> String {
        exactly_once_violations(&log(), &Outputs::from([(0, batches)])).join("; ")
    }

    #[test]
    fn each_way_to_be_inexact_is_found() {
        let all = ["0/1/0", "0/2/0", "0/2/1"];
        assert_eq!(wrong(vec![batch(0, 0, &all)]), "");
        assert_eq!(wrong(vec![batch(0, 0, &all[..1]), batch(1, 1, &all[1..]), batch(0, 1, &all[1..])]), "");
        for (batches, says) in [
            (vec![batch(0, 0, &all[..2])], "0/2/1 is not in the output"),
            (vec![batch(0, 0, &all), batch(0, 3, &["0/9/0"])], "nothing makes it"),
            (vec![batch(0, 0, &all), batch(0, 3, &all[2..])], "2 times"),
            (vec![batch(0, 0, &all), batch(1, 2, &all[2..])], "in the epochs 0 and 1"),
            (vec![batch(0, 0, &all[..1]), batch(0, 2, &all[1..])], "has no number 1"),
            (vec![batch(0, 0, &["0/2/0", "0/1/0", "0/2/1"])], "out of order"),
            (vec![batch(1, 0, &all), batch(0, 0, &["0/2/0"])], "the number 0 is that of 0/1/0"),
            (vec![batch(0, 0, &["0/1/0#1", "0/2/0#2", "0/2/1#3"])], "of 0/2 are those of the calls"),
        ] {
            let found = wrong(batches);
            assert!(found.contains(says), "{says}: {found}");
        }
    }

    #[test]
    fn an_output_at_least_once_is_whole_and_has_nothing_else() {
        let wrong = |values: &[&str], had_faults| {
            let outputs = Outputs::from([(0, vec![batch(0, 0, values)])]);
            at_least_once_violations(&log(), &outputs, had_faults).join("; ")
        };
        assert_eq!(wrong(&["0/1/0", "0/2/0", "0/2/1"], false), "");
        assert_eq!(wrong(&["0/1/0", "0/2/0", "0/2/1", "0/2/0"], true), "");
        for (values, says) in [
            (&["0/1/0", "0/2/0"][..], "0/2/1 is not in the output"),
            (&["0/1/0", "0/2/0", "0/2/1", "0/3/0"], "nothing makes it"),
            (&["0/1/0", "0/2/0", "0/2/1", "0/1/0"], "2 times, and nothing had failed"),
        ] {
            let found = wrong(values, false);
            assert!(found.contains(says), "{says}: {found}");
        }
    }
}
