//! Other owners: handovers, appends that land late, replicas that lag.

use std::collections::HashMap;

use floe_core::producer_id::is_task;

use super::{
    nondeterminism::{double, uncommitted, written},
    *,
};

/// Key and value of a record.
type Contents = (Option<Vec<u8>>, Vec<u8>);

/// Checks that records of a task which are stored twice are the same both times, and that the first ones are numbered without
/// holes. Returns how many were stored twice.
fn check_duplicates(engine: &FakeEngine, topic: &str, partitions: u32) -> usize {
    let mut twice = 0;
    for partition in 0..partitions {
        let mut seen: HashMap<i64, BTreeMap<i32, Contents>> = HashMap::new();
        for batch in engine.batches(topic, partition) {
            let producer = batch.header().producer;
            assert!(is_task(producer.id), "{producer:?}");
            for (index, record) in (0..).zip(batch.records().unwrap()) {
                let record = record.unwrap();
                let contents = (record.key.map(|key| key.to_vec()), record.value.to_vec());
                let numbered = seen.entry(producer.id).or_default();
                let sequence = producer.first_sequence + index;
                match numbered.get(&sequence) {
                    Some(known) => {
                        assert_eq!(known, &contents);
                        twice += 1;
                    }
                    None => {
                        let expected = numbered.last_key_value().map_or(0, |(last, _)| last + 1);
                        assert_eq!(sequence, expected, "a hole");
                        numbered.insert(sequence, contents);
                    }
                }
            }
        }
    }
    twice
}

/// A world whose engine does not fence.
async fn unfenced(each: usize) -> World {
    let World { engine, observer } = World::new(each).await;
    let engine = engine.with_capabilities(Capabilities::FULL.with(|it| it.conditional_appends = false));
    World { engine, observer }
}

/// A process dies while appends to the output are on their way.
async fn dies_with_late_appends(world: &World) {
    let (client, layer) = world.process(None);
    let running = start(exact(&client).map(make));
    while world.engine.batches("invoices", 0).len() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    world.engine.delay_appends(Some("invoices"));
    sleep(Duration::from_millis(200)).await;
    running.task.abort();
    layer.kill();
    world.engine.delay_appends(None);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_lands_within_the_wait_is_found() {
    let world = unfenced(30).await;
    world.engine.set_endpoints(|_| Some("server"));
    dies_with_late_appends(&world).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    // The session of the dead process passes, and a part of the time that its appends may take.
    sleep(SESSION + Duration::from_secs(5)).await;
    assert!(world.engine.land() > 0);
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    world.check("late appends").await;
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_lands_after_all_is_a_duplicate_that_its_number_shows() {
    let world = unfenced(30).await;
    dies_with_late_appends(&world).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    world.check("before it lands").await;
    assert!(world.engine.land() > 0);
    assert!(check_duplicates(&world.engine, "invoices", 2) > 0, "the engine of this test does not fence");
    world.check("after it lands").await;
}

/// Lets the appends of a process that has died land right before a call of the next one. Returns whether that has made the call.
async fn lands_at(call: usize) -> bool {
    let world = World::new(6).await;
    world.engine.set_endpoints(|_| Some("server"));
    dies_with_late_appends(&world).await;
    let (client, layer) = world.process(None);
    let engine = world.engine.clone();
    layer.before_call(call, move || _ = engine.land());
    let begun = tokio::time::Instant::now();
    let running = start(exact(&client).map(make));
    world.until_done().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}: it has waited for a request", begun.elapsed());
    assert!(running.stop().await.unwrap().left.is_empty());
    world.engine.land();
    world.check(&format!("landed at {call}")).await;
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0, "{call}");
    layer.calls() > call
}

#[tokio::test(start_paused = true)]
async fn where_logs_fence_late_appends_are_not_waited_for() {
    let mut call = 0;
    while lands_at(call).await {
        call += 1;
    }
    assert!(call > 20, "only {call} calls");
}

#[tokio::test(start_paused = true)]
async fn processes_that_come_and_go_hand_their_tasks_over() {
    let world = World::new(60).await;
    let (first, _) = world.process(None);
    let one = start(exact(&first).map(make));
    sleep(Duration::from_millis(300)).await;
    let (second, layer) = world.process(None);
    let two = start(exact(&second).map(make));
    sleep(Duration::from_secs(3)).await;
    fill(&world.observer, &["a", "bad", "d", "e"], 40).await;
    sleep(Duration::from_millis(100)).await;
    assert!(one.stop().await.unwrap().read > 0);
    fill(&world.observer, &["a", "d"], 40).await;
    let (third, _) = world.process(None);
    let three = start(exact(&third).map(make));
    sleep(Duration::from_secs(2)).await;
    two.task.abort();
    layer.kill();
    world.until_done().await;
    assert!(three.stop().await.unwrap().left.is_empty());
    world.check("after handovers").await;
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0);
}

#[tokio::test(start_paused = true)]
async fn records_count_only_once_all_replicas_have_them() {
    let world = written(&["a", "b", "c"]).await;
    let at = Topic::from("invoices").partition(0);
    let last = world.engine.batches("invoices", 0).last().unwrap().base_offset();
    world.engine.hold_mark(&at, Some(last));
    let (client, _) = world.process(None);
    let running = start(uncommitted(&client).map(double));
    sleep(Duration::from_secs(200)).await;
    assert_eq!(
        world.observer.groups().describe(GROUP).await.unwrap().partitions[0].next,
        Some(0),
        "it waits"
    );
    // Another leader never had the last records.
    world.engine.truncate("invoices", 0, last);
    world.engine.hold_mark(&at, None);
    sleep(Duration::from_secs(60)).await;
    let report = running.stop().await.unwrap();
    assert!(report.handled == 3 && report.produced > 0, "{report:?}");
    assert_eq!(values(&world.observer, "invoices").await, ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_group_is_away_nothing_is_sent() {
    let world = World::new(20).await;
    let (client, layer) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    layer.cut_off("floe-groups", true);
    sleep(SESSION * 9 / 10).await;
    fill(&world.observer, &["a", "b"], 20).await;
    let written =
        |world: &World| -> usize { (0..2).map(|at| world.engine.batches("invoices", at).len()).sum() };
    let before = written(&world);
    sleep(SESSION * 20).await;
    assert_eq!(written(&world), before);
    layer.cut_off("floe-groups", false);
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    world.check("after the outage").await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_always_fails_stops_the_processor_and_nothing_behind_it_is_written() {
    let world = World::new(5).await;
    let (client, _) = world.process(None);
    let stops = exact(&client).dead_letters(DeadLetters::Stop).map(make);
    let error = tokio::time::timeout(PATIENCE, stops.run(std::future::pending())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HandlerFailed);
    for message in read(&world.observer, "invoices").await {
        let origin = RecordOrigin::of(&message).unwrap();
        let orders = read(&world.observer, "orders").await;
        let bad =
            orders.iter().find(|one| one.partition == origin.at.partition && text(one).starts_with("bad"));
        assert!(bad.is_none_or(|bad| origin.offset < bad.offset), "{origin}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_fails_for_good_lets_the_task_begin_again() {
    for kind in [ErrorKind::InvalidCommand, ErrorKind::Fenced, ErrorKind::ServerError] {
        let world = World::new(40).await;
        let (client, layer) = world.process(None);
        let running = start(exact(&client).map(make));
        for _ in 0..3 {
            sleep(Duration::from_millis(150)).await;
            layer.refuse_appends("invoices", Error::new(kind, "no"), true);
        }
        world.until_done().await;
        assert!(running.stop().await.unwrap().left.is_empty());
        world.check("after refusals").await;
        assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_is_away_for_longer_than_a_batch_may_take_is_waited_for() {
    let world = World::new(40).await;
    let (client, layer) = world.process(None);
    let running = start(exact(&client).map(make));
    sleep(Duration::from_millis(200)).await;
    layer.cut_off("invoices", true);
    sleep(Duration::from_secs(100)).await;
    assert!(!running.task.is_finished() && !world.is_done(2).await);
    layer.cut_off("invoices", false);
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    world.check("after the outage").await;
}

#[tokio::test(start_paused = true)]
async fn an_output_that_refuses_everything_stops_the_processor() {
    let world = World::new(10).await;
    let (client, layer) = world.process(None);
    layer.refuse_appends("invoices", Error::new(ErrorKind::StorageError, "full"), false);
    let run = exact(&client).map(make).run(std::future::pending());
    let error = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageError);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_may_go_to_the_output() {
    let world = World::new(20).await;
    for _ in 0..2 {
        let (client, layer) = world.process(None);
        let dead = DeadLetters::Topic(Topic::from("invoices"));
        let running = start(exact(&client).dead_letters(dead).map(make));
        sleep(Duration::from_millis(250)).await;
        running.task.abort();
        layer.kill();
    }
    let (client, _) = world.process(None);
    let running = start(exact(&client).dead_letters(DeadLetters::Topic(Topic::from("invoices"))).map(make));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0);
    let letters = read(&world.observer, "invoices").await.iter().filter_map(DeadLetter::of).count();
    assert_eq!(letters, 20);
}

#[tokio::test(start_paused = true)]
async fn a_reset_begins_anew_while_the_processor_runs() {
    let world = World::new(10).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    world.check("before the reset").await;
    let before = read(&world.observer, "invoices").await.len();
    for partition in 0..2 {
        let at = Topic::from("orders").partition(partition);
        world.observer.groups().reset(GROUP, at, 0, true).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    assert_eq!(read(&world.observer, "invoices").await.len(), 2 * before);
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0, "another numbering");
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_name_takes_over_without_waiting_for_the_session() {
    let world = World::new(40).await;
    let membership = || Membership::new().session(Duration::from_secs(3_600)).instance("worker");
    for _ in 0..5 {
        let (client, layer) = world.process(None);
        let running = start(exact(&client).shared_as(membership()).map(make));
        sleep(Duration::from_millis(200)).await;
        running.task.abort();
        layer.kill();
    }
    let (client, _) = world.process(None);
    let running = start(exact(&client).shared_as(membership()).map(make));
    world.until_done().await;
    drop(running);
    world.check("after restarts").await;
    assert_eq!(check_duplicates(&world.engine, "invoices", 2), 0);
}
