//! Handlers that are not deterministic, whose outputs are recorded before they are sent.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{limits::assert_refused, *};

/// Topic of recorded outputs.
const CHANGELOG: &str = "orders-to-invoices-changelog";

/// A handler that makes something else of a record each time.
#[derive(Clone, Default)]
struct Dice {
    calls: Arc<AtomicU64>,
    /// Bytes that each value has at least.
    padding: usize,
}

impl Dice {
    /// Makes none to three records, or a dead letter. Each tells the call and how many that call has made.
    fn handler(
        &self,
    ) -> impl Fn(Message) -> futures_util::future::BoxFuture<'static, Result<Vec<Record>, Failure>> + use<>
    {
        let dice = self.clone();
        move |message| {
            let call = dice.calls.fetch_add(1, Ordering::SeqCst);
            let padding = dice.padding;
            Box::pin(async move {
                sleep(Duration::from_millis((message.offset as u64 * 7919 + call) % 50)).await;
                let text = text(&message);
                if text.starts_with("bad") && call.is_multiple_of(2) {
                    return Err(Failure::permanent(format!("call {call}")));
                }
                // Those of "c" alone may have none.
                let count = if text.starts_with('c') { call % 3 } else { 1 + call % 3 };
                let made = (0..count).map(|index| {
                    let value = format!("{call} {index} {count} {}", "x".repeat(padding));
                    Record {
                        key: (index == 0).then(|| message.key.clone()).flatten(),
                        ..Record::new(value.into())
                    }
                });
                Ok(made.collect())
            })
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts the input records that no call was for.
    async fn calls_missing(&self, world: &World) -> u64 {
        (read(&world.observer, "orders").await.len() as u64).saturating_sub(self.calls())
    }
}

fn recorded(client: &Client) -> ProcessorBuilder {
    exact(client).recorded()
}

/// Call, index and number of outputs, by output partition in their order.
type Outputs = BTreeMap<(u32, i64), Vec<(u64, u64, u64)>>;

/// Checks that of each input record the outputs of one call are there, all of them once, or its dead letter, and that they are in
/// the order of the input.
async fn check(world: &World, what: &str) {
    let mut made = Outputs::new();
    let mut places: HashMap<(String, u32, u32), (i64, u32)> = HashMap::new();
    for topic in ["invoices", "orders-dead"] {
        for message in read(&world.observer, topic).await {
            let (origin, output) = match DeadLetter::of(&message) {
                Some(letter) => (letter.origin, (u64::MAX, 0, 1)),
                None => {
                    let text = text(&message);
                    let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
                    let mut next = || numbers.next().unwrap();
                    (RecordOrigin::of(&message).unwrap(), (next(), next(), next()))
                }
            };
            let place = (topic.to_owned(), message.partition, origin.at.partition);
            let before = places.insert(place, (origin.offset, origin.index));
            assert!(before < Some((origin.offset, origin.index)), "{what}: {origin} after {before:?}");
            made.entry((origin.at.partition, origin.offset)).or_default().push(output);
        }
    }
    for message in read(&world.observer, "orders").await {
        let mut outputs = made.remove(&(message.partition, message.offset)).unwrap_or_default();
        outputs.sort_unstable();
        let Some((call, _, count)) = outputs.first().copied() else {
            assert!(text(&message).starts_with('c'), "{what}: nothing of {message:?}");
            continue;
        };
        let whole: Vec<_> = (0..count).map(|index| (call, index, count)).collect();
        assert_eq!(outputs, whole, "{what}: {message:?}");
    }
    assert_eq!(made, Outputs::new(), "{what}: without input");
}

/// A world whose engine fences the owners before, or does not.
async fn world(each: usize, fences: bool) -> World {
    let mut world = World::new(each).await;
    world.engine = world.engine.with_capabilities(Capabilities::FULL.with(|it| {
        it.conditional_appends = fences;
        it.append_window = 4;
    }));
    world
}

/// Runs a process that dies at a call, and others after it. Returns whether the last crash happened.
async fn crash_and_go_on(crashes: &[Crash], (fences, padding): (bool, usize)) -> bool {
    let mut world = world(3, fences).await;
    if padding > 0 {
        let small = Capabilities::FULL.with(|it| it.max_batch_bytes = 1_000);
        world.engine = world.engine.with_capabilities(small);
    }
    let dice = Dice { padding, ..Dice::default() };
    let mut died = true;
    for crash in crashes {
        let (client, layer) = world.process(Some(*crash));
        let running = start(recorded(&client).map(dice.handler()));
        tokio::select! {
            () = layer.died() => {}
            () = world.until_done() => died = false,
        }
        running.task.abort();
        layer.kill();
    }
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    let report = running.stop().await.unwrap();
    assert!(report.left.is_empty(), "{report:?}");
    check(&world, &format!("{crashes:?} {fences} {padding}")).await;
    died
}

#[tokio::test(start_paused = true)]
async fn without_a_crash_the_handler_is_called_once_for_each_record() {
    let world = world(30, true).await;
    let dice = Dice::default();
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.read, report.handled + report.dead_letters, dice.calls()), (120, 120, 120));
    check(&world, "no crash").await;
    assert_eq!(world.observer.admin().topic(CHANGELOG).await.unwrap().partitions, 2);
    fill(&world.observer, &["a", "bad"], 3).await;
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    assert_eq!((running.stop().await.unwrap().read, dice.calls()), (6, 126));
    check(&world, "a second run").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_leaves_one_call_of_each_record() {
    for (before, how) in [(true, (true, 0)), (false, (true, 0)), (true, (false, 0)), (false, (true, 300))] {
        let mut call = 0;
        while crash_and_go_on(&[Crash { call, before }], how).await {
            call += 1;
        }
        assert!(call > 50, "only {call} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_crash_at_any_call_leaves_one_call_of_each_record() {
    for (call, before, how) in [(35, false, (true, 0)), (50, true, (true, 300)), (60, false, (false, 0))] {
        let first = Crash { call, before };
        let mut call = 0;
        while crash_and_go_on(&[first, Crash { call, before: call % 2 == 0 }], how).await && call < 150 {
            call += 1;
        }
        assert!(call > 20, "{first:?}: only {call} calls of the second process");
    }
}

/// A world in which a process has recorded and sent everything, and has died before it could commit.
async fn uncommitted_world(dice: &Dice) -> World {
    let world = world(5, true).await;
    let (client, layer) = world.process(None);
    let running = start(seldom(&client).map(dice.handler()));
    while running_handled(&world).await < 20 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(100)).await;
    running.task.abort();
    layer.kill();
    assert_eq!(dice.calls(), 20);
    world
}

/// A processor that commits seldom.
fn seldom(client: &Client) -> ProcessorBuilder {
    super::nondeterminism::uncommitted(client).recorded()
}

/// Counts the records of the changelog, fences included.
async fn running_handled(world: &World) -> u32 {
    let fences = 2;
    let batches = (0..2).flat_map(|partition| match world.engine.has_topic(CHANGELOG) {
        true => world.engine.batches(CHANGELOG, partition),
        false => Vec::new(),
    });
    batches.map(|batch| batch.header().offset_span()).sum::<u32>().saturating_sub(fences)
}

#[tokio::test(start_paused = true)]
async fn what_is_recorded_is_replayed_without_the_handler() {
    let dice = Dice::default();
    let world = uncommitted_world(&dice).await;
    fill(&world.observer, &["a"], 2).await;
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    let report = running.stop().await.unwrap();
    assert_eq!((report.handled + report.dead_letters, dice.calls()), (22, 22), "{report:?}");
    assert!(report.dead_letters > 0, "a replayed dead letter counts as one");
    check(&world, "replayed").await;
}

#[tokio::test(start_paused = true)]
async fn outputs_of_input_records_that_are_gone_are_sent_all_the_same() {
    let world = world(0, true).await;
    fill(&world.observer, &["a"], 6).await;
    let at = read(&world.observer, "orders").await[0].partition;
    let dice = Dice::default();
    let (client, layer) = world.process(None);
    layer.refuse_appends("invoices", Error::new(ErrorKind::NetworkError, "away"), false);
    let running = start(seldom(&client).map(dice.handler()));
    sleep(Duration::from_secs(5)).await;
    running.task.abort();
    layer.kill();
    assert!(dice.calls() == 6 && world.engine.batches("invoices", 0).is_empty());
    world.engine.evict("orders", at, 3);
    fill(&world.observer, &["a"], 1).await;
    let (client, _) = world.process(None);
    let skips = |input: crate::consumer::ConsumerBuilder| input.on_gap(crate::consumer::GapPolicy::Skip);
    let running = start(recorded(&client).consumer(skips).map(dice.handler()));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    assert_eq!(dice.calls(), 7);
    let made = read(&world.observer, "invoices").await;
    let offsets: std::collections::BTreeSet<_> =
        made.iter().map(|message| RecordOrigin::of(message).unwrap().offset).collect();
    assert_eq!(offsets, (0..7).collect());
}

/// Lets the appends of a process that has died land right before a call of the next one, which dies before it commits. Returns
/// whether it has made that call.
async fn land_late(topic: &str, call: usize) -> bool {
    let world = world(6, true).await;
    world.engine.set_endpoints(|_| Some("server"));
    let dice = Dice::default();
    let (client, layer) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    while world.engine.batches("invoices", 0).len() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    world.engine.delay_appends(Some(topic));
    sleep(Duration::from_millis(200)).await;
    running.task.abort();
    layer.kill();
    world.engine.delay_appends(None);
    let (client, layer) = world.process(None);
    let engine = world.engine.clone();
    layer.before_call(call, move || _ = engine.land());
    let running = start(seldom(&client).map(dice.handler()));
    // Shorter than a wait for the request would be.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(dice.calls_missing(&world).await, 0, "{topic} {call}: it has waited for a request");
    running.task.abort();
    layer.kill();
    let reached = layer.calls() > call;
    world.engine.land();
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    check(&world, &format!("{topic} {call}")).await;
    reached
}

#[tokio::test(start_paused = true)]
async fn a_late_append_lands_at_any_call_of_the_next_process_without_harm() {
    for topic in [CHANGELOG, "invoices"] {
        let mut call = 0;
        while land_late(topic, call).await {
            call += 1;
        }
        assert!(call > 20, "only {call} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_lets_the_task_begin_again_with_what_is_recorded() {
    for topic in [CHANGELOG, "invoices", "orders-dead"] {
        let world = world(40, true).await;
        let dice = Dice::default();
        let (client, layer) = world.process(None);
        let running = start(recorded(&client).map(dice.handler()));
        for _ in 0..3 {
            sleep(Duration::from_millis(150)).await;
            layer.refuse_appends(topic, Error::new(ErrorKind::InvalidCommand, "no"), true);
        }
        world.until_done().await;
        assert!(running.stop().await.unwrap().left.is_empty());
        assert_eq!(dice.calls(), 160);
        check(&world, topic).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_grows_gets_a_changelog_that_grows() {
    let world = world(4, true).await;
    let dice = Dice::default();
    for partitions in [2, 4] {
        world.engine.grow("orders", partitions);
        let producer = world.observer.producer("orders").start().await.unwrap();
        for partition in 0..partitions {
            producer.send(Record::new(format!("a:{partition}")).partition(partition as u32)).await.unwrap();
        }
        let (client, _) = world.process(None);
        let running = start(recorded(&client).map(dice.handler()));
        world.until_all_done(partitions as u32).await;
        assert!(running.stop().await.unwrap().left.is_empty());
        check(&world, "grown").await;
        assert_eq!(world.observer.admin().topic(CHANGELOG).await.unwrap().partitions, partitions as u32);
    }
}

#[tokio::test(start_paused = true)]
async fn the_changelog_is_trimmed_up_to_the_commit() {
    let world = world(10, true).await;
    let dice = Dice::default();
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    sleep(Duration::from_secs(700)).await;
    for partition in 0..2 {
        let at = Topic::from(CHANGELOG).partition(partition);
        let marks = world.observer.admin().watermarks(at).await.unwrap();
        assert!(marks.start == marks.high && marks.high > 0, "{marks:?}");
    }
    fill(&world.observer, &["a"], 3).await;
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    check(&world, "trimmed").await;
}

/// A record of one task in the changelog, whose value is replaced.
fn damage(world: &World, index: usize, value: &'static [u8]) {
    for partition in 0..2 {
        world.engine.replace_batch(CHANGELOG, partition, index, |batch| {
            let mut builder = floe_wire::batch::BatchBuilder::new(1_000);
            for _ in 0..batch.header().offset_span() {
                builder.append(1, None, value, &[]).unwrap();
            }
            let producer = batch.header().producer;
            let options = floe_wire::batch::FinishOptions { producer, ..Default::default() };
            builder.finish(options).unwrap().with_base_offset(batch.base_offset())
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_changelog_that_is_damaged_or_gone_stops_the_processor() {
    let dice = Dice::default();
    let corrupt = ErrorKind::CorruptData;
    for (value, words) in [
        (&b"garbage"[..], &["offset", "version 103"][..]),
        (b"\x01\x02\x08\x00\x12\x00\x00", &["an output that the processor does not have"]),
        (b"\x01\x02\x08\x00\x00\x00\x02\x12\x00\x01\x00\x00", &["a partition that the output does not have"]),
        (b"\x01\x02\x08\x02\x00\x00\x00", &["the parts before it are missing"]),
    ] {
        let world = uncommitted_world(&Dice::default()).await;
        damage(&world, 1, value);
        let (client, _) = world.process(None);
        assert_refused(recorded(&client), corrupt, words).await;
    }
    // All of it was committed.
    let world = world(5, true).await;
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    for partition in 0..2 {
        world.engine.truncate(CHANGELOG, partition, 1);
    }
    let (client, _) = world.process(None);
    assert_refused(recorded(&client), corrupt, &[CHANGELOG, "ends at offset 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_changelog_that_retention_has_cut_stops_the_processor() {
    let dice = Dice::default();
    let world = uncommitted_world(&dice).await;
    for partition in 0..2 {
        world.engine.evict(CHANGELOG, partition, 2);
    }
    let (client, _) = world.process(None);
    assert_refused(recorded(&client), ErrorKind::Gap, &[CHANGELOG, "retention", "floe group reset"]).await;
}

#[tokio::test(start_paused = true)]
async fn records_of_others_in_the_changelog_are_passed_over() {
    let dice = Dice::default();
    let world = uncommitted_world(&dice).await;
    let others = world.observer.producer(CHANGELOG).start().await.unwrap();
    for partition in 0..2 {
        others.send(Record::new("garbage").partition(partition)).await.unwrap();
    }
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(dice.handler()));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    check(&world, "with garbage").await;
    assert_eq!(dice.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_processor_keeps_its_mode() {
    let invalid = ErrorKind::InvalidConfig;
    let world = world(4, true).await;
    let (client, _) = world.process(None);
    let running = start(recorded(&client).map(make));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    let (client, _) = world.process(None);
    assert_refused(exact(&client), invalid, &["writes to invoices and orders-dead and", CHANGELOG, "reset"])
        .await;
    assert_refused(exact(&client).recorded_in("other"), invalid, &["writes to", CHANGELOG]).await;
    for taken in ["orders", "invoices", "orders-dead"] {
        assert_refused(exact(&client).recorded_in(taken), invalid, &["a topic of its own"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_does_not_pass_records_that_are_not_settled() {
    // Before a record that hangs, the one behind it is in its output already.
    let world = world(0, false).await;
    let producer = world.observer.producer("orders").start().await.unwrap();
    producer.send_all([Record::new("a:1").partition(0), Record::new("bad:2").partition(0)]).await.unwrap();
    world.engine.delay_appends(Some("invoices"));
    let patient = |client: &Client| {
        let hour = Duration::from_secs(3_600);
        exact(client).producer(move |producer| producer.timeout(hour)).map(make)
    };
    for _ in 0..2 {
        let (client, layer) = world.process(None);
        let running = start(patient(&client));
        sleep(Duration::from_secs(400)).await;
        assert_eq!(read(&world.observer, "orders-dead").await.len(), 1);
        running.task.abort();
        layer.kill();
    }
    world.engine.delay_appends(None);
    let (client, _) = world.process(None);
    let running = start(patient(&client));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    assert_eq!(world.engine.batches("orders-dead", 0).len(), 1, "it is written once");
    world.check("after both").await;
}
