//! Exactly once, with processes that die at every call of their engine.

mod crash_layer;
mod limits;
mod nondeterminism;
mod recorded;
mod take_overs;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use self::crash_layer::{Crash, CrashLayer};
use super::*;
use crate::{Result, consumer::Membership, layer::Layer as _, processor::ProcessorReport};

/// Longest time of a run, by its own clock.
const PATIENCE: Duration = Duration::from_secs(600);

/// Time that a process of these tests has to show that it lives.
const SESSION: Duration = Duration::from_secs(1);

/// Input and output topics over an engine that outlives the processes.
struct World {
    engine: FakeEngine,
    /// A client that no crash concerns.
    observer: Client,
}

impl World {
    async fn new(each: usize) -> Self {
        let engine = FakeEngine::with_topic("orders", 2);
        let observer = Client::from_engine(Arc::new(engine.clone()));
        observer.admin().create_topic(TopicSpec::new("invoices").partitions(2)).await.unwrap();
        fill(&observer, &["a", "b", "bad", "c"], each).await;
        Self { engine, observer }
    }

    /// A client of a process that dies at a call of its engine, and the layer that tells of its death.
    fn process(&self, crash: Option<Crash>) -> (Client, CrashLayer) {
        let layer = CrashLayer::new(crash);
        (Client::from_engine(layer.clone().layer(Arc::new(self.engine.clone()))), layer)
    }

    /// Whether the group stands at the end of all partitions.
    async fn is_done(&self, partitions: u32) -> bool {
        let Ok(group) = self.observer.groups().describe(GROUP).await else { return false };
        let mut done = 0;
        for partition in 0..partitions {
            let at = Topic::from("orders").partition(partition);
            let high = self.observer.admin().watermarks(at.clone()).await.unwrap().high;
            let next = group.partitions.iter().find(|one| one.at == at).and_then(|one| one.next);
            done += u32::from(next == Some(high));
        }
        done == partitions
    }

    async fn until_done(&self) {
        self.until_all_done(2).await;
    }

    async fn until_all_done(&self, partitions: u32) {
        let mut waited = Duration::ZERO;
        while !self.is_done(partitions).await {
            assert!(waited < PATIENCE, "not done: {:?}", self.observer.groups().describe(GROUP).await);
            sleep(Duration::from_millis(100)).await;
            waited += Duration::from_millis(100);
        }
    }

    /// Checks that the outputs are those of the input, once each and in its order.
    async fn check(&self, what: &str) {
        let mut expected: BTreeMap<(u32, bool), Vec<String>> = BTreeMap::new();
        for message in read(&self.observer, "orders").await {
            let made = expected.entry((message.partition, text(&message).starts_with("bad"))).or_default();
            made.extend(
                outputs_of(&message)
                    .into_iter()
                    .map(|record| String::from_utf8(record.value.to_vec()).unwrap()),
            );
            if text(&message).starts_with("bad") {
                made.push(text(&message));
            }
        }
        let mut found: BTreeMap<(u32, bool), Vec<String>> = BTreeMap::new();
        let mut by_output: BTreeMap<(String, u32, u32), Vec<(i64, u32)>> = BTreeMap::new();
        for topic in ["invoices", "orders-dead"] {
            for message in read(&self.observer, topic).await {
                let origin = match topic {
                    "invoices" => RecordOrigin::of(&message).unwrap(),
                    _ => DeadLetter::of(&message).unwrap().origin,
                };
                found.entry((origin.at.partition, topic == "orders-dead")).or_default().push(text(&message));
                let place = (topic.to_owned(), message.partition, origin.at.partition);
                by_output.entry(place).or_default().push((origin.offset, origin.index));
            }
        }
        for (place, origins) in by_output {
            assert!(origins.is_sorted_by(|a, b| a < b), "{what}: {place:?} {origins:?}");
        }
        for list in expected.values_mut().chain(found.values_mut()) {
            list.sort();
        }
        expected.retain(|_, list| !list.is_empty());
        assert_eq!(found, expected, "{what}");
    }
}

/// Makes none to two records of one, of which keys decide the partition, or the offset where there is no key.
fn outputs_of(message: &Message) -> Vec<Record> {
    let text = text(message);
    let number: usize = text.split_once(':').unwrap().1.parse().unwrap();
    if text.starts_with("bad") {
        return Vec::new();
    }
    (0..number % 3)
        .map(|index| {
            let record = Record::new(format!("{text}/{index}").into());
            Record { key: (index == 0).then(|| message.key.clone()).flatten(), ..record }
        })
        .collect()
}

/// A handler that takes different times, and refuses some records.
async fn make(message: Message) -> Result<Vec<Record>, Failure> {
    sleep(Duration::from_millis(message.offset as u64 * 7919 % 50)).await;
    if text(&message).starts_with("bad") {
        return Err(Failure::permanent("bad"));
    }
    Ok(outputs_of(&message))
}

fn exact(client: &Client) -> ProcessorBuilder {
    client
        .processor("orders", "invoices")
        .exactly_once()
        .shared_as(Membership::new().session(SESSION))
        .commit_interval(Duration::from_millis(30))
        .concurrency(4)
}

/// A processor that runs until it is told to stop, or dies.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<ProcessorReport>>,
}

fn start(processor: crate::processor::Processor) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(processor.run(async {
        let _ = stopped.await;
    }));
    Running { stop, task }
}

impl Running {
    async fn stop(self) -> Result<ProcessorReport> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

/// Runs a process that dies at a call, and another one after it. Returns whether the first died.
async fn crash_and_go_on(crash: Crash, second: Option<Crash>) -> bool {
    let world = World::new(4).await;
    let mut died = true;
    for crash in [Some(crash), second].into_iter().flatten() {
        let (client, layer) = world.process(Some(crash));
        let running = start(exact(&client).map(make));
        tokio::select! {
            () = layer.died() => {}
            () = world.until_done() => died = false,
        }
        running.task.abort();
        layer.kill();
    }
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    let report = running.stop().await.unwrap();
    assert!(report.left.is_empty(), "{report:?}");
    world.check(&format!("{crash:?} {second:?}")).await;
    died
}

#[tokio::test(start_paused = true)]
async fn without_a_crash_the_output_is_that_of_the_input() {
    let world = World::new(30).await;
    let (client, layer) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.read, report.handled, report.dead_letters), (120, 90, 30));
    assert!(layer.calls() > 20);
    world.check("no crash").await;
    // Another process finds nothing to do, and goes on where new records are.
    fill(&world.observer, &["a", "b"], 3).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    assert_eq!(running.stop().await.unwrap().read, 6);
    world.check("a second run").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_leaves_the_output_exact() {
    for before in [true, false] {
        let mut call = 0;
        while crash_and_go_on(Crash { call, before }, None).await {
            call += 1;
        }
        assert!(call > 50, "only {call} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_crash_at_any_call_leaves_the_output_exact() {
    for (call, before) in [(20, false), (30, true), (40, false), (50, true), (60, false), (70, true)] {
        let first = Crash { call, before };
        let mut call = 0;
        while crash_and_go_on(first, Some(Crash { call, before: call % 2 == 0 })).await && call < 150 {
            call += 1;
        }
        assert!(call > 20, "{first:?}: only {call} calls of the second process");
    }
}
