//! Limits, which are refused before anything is written.

use super::*;

/// Runs a processor that is expected to end with an error.
async fn refusal(processor: ProcessorBuilder) -> Error {
    let run = processor.map(make).run(std::future::pending());
    tokio::time::timeout(PATIENCE, run).await.expect("it is not refused").unwrap_err()
}

/// Checks that a processor is refused with these words.
pub(super) async fn assert_refused(processor: ProcessorBuilder, kind: ErrorKind, words: &[&str]) {
    let error = refusal(processor).await;
    assert_eq!(error.kind(), kind, "{error}");
    let says = error.to_string();
    for word in words {
        assert!(says.contains(word), "{word}: {says}");
    }
}

/// A world in which a process has handled everything and has left.
async fn done() -> World {
    let world = World::new(4).await;
    let (client, _) = world.process(None);
    let running = start(exact(&client).map(make));
    world.until_done().await;
    assert!(running.stop().await.unwrap().left.is_empty());
    world
}

#[tokio::test(start_paused = true)]
async fn engines_without_offsets_are_refused() {
    for change in [
        (|it: &mut Capabilities| it.offsets = false) as fn(&mut Capabilities),
        |it| it.dense_offsets = false,
        |it| it.consuming_reads = true,
    ] {
        let world = World::new(1).await;
        let engine = world.engine.clone().with_capabilities(Capabilities::FULL.with(change));
        let client = Client::from_engine(Arc::new(engine));
        assert_refused(exact(&client), ErrorKind::Unsupported, &["exactly-once"]).await;
        assert!(
            !client.admin().topics().await.unwrap().iter().any(|info| info.name.as_str() == "orders-dead")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_exclude_it_are_refused() {
    let world = World::new(1).await;
    let client = &world.observer;
    let invalid = ErrorKind::InvalidConfig;
    assert_refused(exact(client).stop_at_end(), invalid, &["no end"]).await;
    assert_refused(exact(client).without_stored_offsets(), invalid, &["stored offsets"]).await;
    let module = |producer: crate::producer::ProducerBuilder| {
        producer.smartmodule(crate::SmartModule::named("filter"))
    };
    assert_refused(exact(client).producer(module), invalid, &["SmartModule"]).await;
    client.admin().create_topic(TopicSpec::new("wide").partitions(120)).await.unwrap();
    let wide = client.processor("orders", "wide").exactly_once();
    assert_refused(wide, invalid, &["121 partitions", "120 at most"]).await;
    assert!(world.engine.batches("invoices", 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_processors_of_one_name_are_refused() {
    let world = done().await;
    let (client, _) = world.process(None);
    client.admin().create_topic(TopicSpec::new("bills")).await.unwrap();
    client.admin().create_topic(TopicSpec::new("returns")).await.unwrap();
    let invalid = ErrorKind::InvalidConfig;
    let other = client.processor("orders", "bills").exactly_once().group(GROUP);
    assert_refused(other, invalid, &["writes to invoices and orders-dead"]).await;
    let other = client.processor("returns", "invoices").exactly_once().group(GROUP);
    assert_refused(other, invalid, &["reads orders"]).await;
    let plain = client.processor("orders", "invoices").shared();
    assert_refused(plain, invalid, &["exactly once"]).await;
    assert!(world.engine.batches("bills", 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_output_partitions_are_refused() {
    let world = done().await;
    world.engine.grow("invoices", 3);
    let (client, _) = world.process(None);
    assert_refused(exact(&client), ErrorKind::InvalidConfig, &["has 3 partitions and had 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn outputs_that_retention_has_cut_are_refused() {
    let world = done().await;
    let end = world.observer.admin().watermarks(Topic::from("invoices").partition(0)).await.unwrap().high;
    world
        .observer
        .producer("invoices")
        .start()
        .await
        .unwrap()
        .send(Record::new("x").partition(0))
        .await
        .unwrap();
    world.engine.evict("invoices", 0, end + 1);
    let (client, _) = world.process(None);
    assert_refused(exact(&client), ErrorKind::Gap, &["retention", "floe group reset"]).await;
    // After a reset it begins anew.
    for partition in 0..2 {
        let at = Topic::from("orders").partition(partition);
        let high = world.observer.admin().watermarks(at.clone()).await.unwrap().high;
        world.observer.groups().reset(GROUP, at, high, true).await.unwrap();
    }
    let running = start(exact(&client).map(make));
    fill(&world.observer, &["a"], 3).await;
    world.until_done().await;
    assert_eq!(running.stop().await.unwrap().read, 3);
}

#[tokio::test(start_paused = true)]
async fn outputs_that_lost_records_are_refused() {
    let world = done().await;
    world.engine.truncate("invoices", 0, 1);
    let (client, _) = world.process(None);
    assert_refused(exact(&client), ErrorKind::CorruptData, &["ends at offset 1", "lost"]).await;
}

#[tokio::test(start_paused = true)]
async fn progress_outside_of_the_group_is_refused() {
    let world = World::new(2).await;
    let report = processor(&world.observer).map(copy).run(std::future::pending()).await.unwrap();
    assert_eq!(report.handled, 8);
    let (client, _) = world.process(None);
    assert_refused(exact(&client), ErrorKind::InvalidConfig, &["older stored offset", "floe group reset"])
        .await;
}
