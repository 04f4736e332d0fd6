//! Tests of the processor over an engine in memory, with the clock paused.

mod exact;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{DeadLetters, Failure, Order, ProcessorBuilder};
use crate::{
    Client, Error, ErrorKind, Message, Record, TopicSpec,
    consumer::StartAt,
    dead_letter::{DeadLetter, RecordOrigin},
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
    topic::Topic,
};

const GROUP: &str = "orders-to-invoices";

/// Returns a client with an input topic of so many partitions, and an output topic of one.
async fn setup(partitions: u32) -> (FakeEngine, Client) {
    let engine = FakeEngine::with_topic("orders", partitions);
    let client = Client::from_engine(Arc::new(engine.clone()));
    client.admin().create_topic(TopicSpec::new("invoices")).await.unwrap();
    (engine, client)
}

fn processor(client: &Client) -> ProcessorBuilder {
    client.processor("orders", "invoices").stop_at_end()
}

/// Sends records `key:0`, `key:1` and so on of these keys, in turns.
async fn fill(client: &Client, keys: &[&str], each: usize) {
    let producer = client.producer("orders").start().await.unwrap();
    for number in 0..each {
        for key in keys {
            let record = Record::keyed((*key).to_owned(), format!("{key}:{number}"));
            drop(producer.enqueue(record).await.unwrap());
        }
    }
    producer.flush().await.unwrap();
}

async fn read(client: &Client, topic: &str) -> Vec<Message> {
    let mut consumer = client.consumer(topic).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        messages.push(message);
    }
    messages
}

async fn values(client: &Client, topic: &str) -> Vec<String> {
    read(client, topic).await.iter().map(text).collect()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.value.to_vec()).unwrap()
}

async fn stored(client: &Client, partition: u32) -> Option<i64> {
    let at = Topic::from("orders").partition(partition);
    let rows = client.admin().committed_offsets(Some(GROUP)).await.unwrap();
    rows.into_iter().find(|row| row.at == at).map(|row| row.next)
}

async fn copy(message: Message) -> Result<Record, Failure> {
    Ok(Record { key: message.key, ..Record::new(message.value) })
}

#[tokio::test(start_paused = true)]
async fn every_record_is_handled_and_its_offset_stored() {
    let (_engine, client) = setup(3).await;
    fill(&client, &["a", "b", "c", "d"], 50).await;
    let report = processor(&client).concurrency(8).map(copy).run(std::future::pending()).await.unwrap();
    assert_eq!((report.read, report.handled, report.produced, report.dead_letters), (200, 200, 200, 0));
    assert!(report.left.is_empty());
    let mut made = values(&client, "invoices").await;
    made.sort();
    let mut expected = values(&client, "orders").await;
    expected.sort();
    assert_eq!(made, expected);
    for partition in 0..3 {
        let end = client.admin().watermarks(Topic::from("orders").partition(partition)).await.unwrap().high;
        assert!(end == 0 || stored(&client, partition).await == Some(end), "partition {partition}");
    }
    assert!(read(&client, "orders-dead").await.is_empty());
    // A second run finds nothing to do.
    let report = processor(&client).map(copy).run(std::future::pending()).await.unwrap();
    assert_eq!(report.read, 0);
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_order_however_long_each_takes() {
    let (_engine, client) = setup(1).await;
    let keys = ["a", "b", "c", "d", "e"];
    fill(&client, &keys, 20).await;
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (count, peak) = (Arc::clone(&running), Arc::clone(&most));
    let _report = processor(&client)
        .concurrency(4)
        .map(move |message: Message| {
            let (running, most) = (Arc::clone(&count), Arc::clone(&peak));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later records take less time than those before them.
                let hash = (message.offset * 7919) % 50;
                sleep(Duration::from_millis(hash as u64)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                copy(message).await
            }
        })
        .run(std::future::pending())
        .await
        .unwrap();
    let mut next: HashMap<String, usize> = HashMap::new();
    for value in values(&client, "invoices").await {
        let (key, number) = value.split_once(':').unwrap();
        let expected = next.entry(key.to_owned()).or_default();
        assert_eq!(number, expected.to_string(), "of {key}");
        *expected += 1;
    }
    assert_eq!((next.len(), next.values().sum::<usize>()), (keys.len(), 100));
    assert_eq!(most.load(Ordering::SeqCst), 4, "handlers at once");
}

#[tokio::test(start_paused = true)]
async fn partitions_keep_their_order() {
    let (_engine, client) = setup(2).await;
    fill(&client, &["a", "b", "c", "d", "e", "f"], 10).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let _report = processor(&client)
        .concurrency(8)
        .order(Order::PerPartition)
        .map(move |message: Message| {
            let log = Arc::clone(&log);
            async move {
                sleep(Duration::from_millis(100 - message.offset as u64)).await;
                log.lock().push((message.partition, message.offset));
                Ok(())
            }
        })
        .run(std::future::pending())
        .await
        .unwrap();
    let seen = seen.lock();
    assert_eq!(seen.len(), 60);
    for partition in 0..2 {
        let offsets: Vec<_> = seen.iter().filter(|one| one.0 == partition).map(|one| one.1).collect();
        assert!(!offsets.is_empty() && offsets.is_sorted(), "{offsets:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_blocks_its_key() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a", "b"], 3).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let report = processor(&client)
        .concurrency(2)
        .map(move |message: Message| {
            let (tries, log) = (Arc::clone(&tries), Arc::clone(&log));
            async move {
                log.lock().push(text(&message));
                if text(&message) == "a:0" && tries.fetch_add(1, Ordering::SeqCst) < 3 {
                    return Err(std::io::Error::other("not yet").into());
                }
                copy(message).await
            }
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.retries, report.dead_letters), (6, 3, 0));
    let seen = seen.lock();
    let of = |key: &str| seen.iter().filter(|value| value.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), ["a:0", "a:0", "a:0", "a:0", "a:1", "a:2"]);
    assert_eq!(of("b"), ["b:0", "b:1", "b:2"]);
    let last_b = seen.iter().position(|value| value == "b:2");
    let second_a = seen.iter().position(|value| value == "a:1");
    assert!(last_b < second_a, "the other key did not continue: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_always_fails_becomes_dead_letters_and_others_continue() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["bad", "good"], 4).await;
    let report = processor(&client)
        .concurrency(2)
        .map(async |message: Message| {
            if message.key.as_deref() == Some(b"bad") {
                return Err(std::io::Error::other("never").into());
            }
            copy(message).await
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.dead_letters, report.retries), (4, 4, 16));
    assert_eq!(values(&client, "invoices").await, ["good:0", "good:1", "good:2", "good:3"]);
    let dead = read(&client, "orders-dead").await;
    let letters: Vec<_> = dead.iter().map(|message| DeadLetter::of(message).unwrap()).collect();
    assert_eq!(dead.iter().map(text).collect::<Vec<_>>(), ["bad:0", "bad:1", "bad:2", "bad:3"]);
    assert_eq!((letters[1].origin.to_string().as_str(), letters[1].attempts), ("orders/0/2", 5));
    assert_eq!((letters[1].code.as_str(), letters[1].error.as_str()), ("handler_failed", "never"));
    assert_eq!(DeadLetter::restore(&dead[1]).headers, []);
    assert_eq!(stored(&client, 0).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn panics_and_hangs_are_failures_of_their_record() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["panics", "hangs", "works"], 1).await;
    let report = processor(&client)
        .handler_timeout(Duration::from_secs(5))
        .map(async |message: Message| {
            match message.key.as_deref() {
                Some(b"panics") => panic!("at the {}", "disco"),
                Some(b"hangs") => std::future::pending::<()>().await,
                _ => {}
            }
            copy(message).await
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.dead_letters), (1, 2));
    let dead = read(&client, "orders-dead").await;
    let mut causes: Vec<_> = dead
        .iter()
        .map(|message| DeadLetter::of(message).unwrap())
        .map(|one| (one.code, one.error))
        .collect();
    causes.sort();
    assert_eq!(causes[0], ("handler_panicked".into(), "the handler panicked: at the disco".into()));
    assert_eq!(causes[1], ("handler_timeout".into(), "the handler did not end within 5s".into()));
}

#[tokio::test(start_paused = true)]
async fn a_poison_record_is_a_dead_letter_at_once() {
    let (_engine, client) = setup(1).await;
    let producer = client.producer("orders").start().await.unwrap();
    producer.send_all(["1", "poison", "3"]).await.unwrap();
    let report = processor(&client)
        .json::<u32, u32>()
        .map(async |message| Ok(Record::new(message.value * 2)))
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.dead_letters, report.retries), (2, 1, 0));
    assert_eq!(values(&client, "invoices").await, ["2", "6"]);
    let dead = read(&client, "orders-dead").await;
    let letter = DeadLetter::of(&dead[0]).unwrap();
    assert_eq!((letter.code.as_str(), letter.attempts), ("deserialization_error", 1));
    assert_eq!((letter.origin.offset, text(&dead[0])), (1, "poison".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_output_that_can_never_be_sent_is_a_dead_letter() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a"], 3).await;
    let report = processor(&client)
        .producer(|builder| builder.max_request_size(1000))
        .map(async |message: Message| {
            let size = if message.offset == 1 { 10_000 } else { 10 };
            Ok(Record::new(vec![b'x'; size].into()))
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.dead_letters), (2, 1));
    let dead = read(&client, "orders-dead").await;
    assert_eq!(DeadLetter::of(&dead[0]).unwrap().code, "record_too_large");
}

#[tokio::test(start_paused = true)]
async fn outputs_may_be_none_or_many_and_carry_their_origin() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a"], 3).await;
    let report = processor(&client)
        .map(async |message: Message| {
            let record = |n: i64| Record::new(format!("{}.{n}", message.offset).into());
            Ok((0..message.offset).map(record).collect::<Vec<_>>())
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert_eq!((report.handled, report.produced), (3, 3));
    let made = read(&client, "invoices").await;
    let origins: Vec<_> = made.iter().map(|message| RecordOrigin::of(message).unwrap().to_string()).collect();
    assert_eq!(origins, ["orders/0/1", "orders/0/2", "orders/0/2#1"]);
    assert_eq!(made.iter().map(text).collect::<Vec<_>>(), ["1.0", "2.0", "2.1"]);
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_a_failure_stops_and_the_next_run_begins_there() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a"], 5).await;
    let stop = |client: &Client| processor(client).dead_letters(DeadLetters::Stop);
    let error = stop(&client)
        .map(async |message: Message| {
            if message.offset == 2 {
                return Err(Failure::permanent("no"));
            }
            copy(message).await
        })
        .run(std::future::pending())
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.partition()), (ErrorKind::HandlerFailed, 1, Some(0)));
    assert!(error.to_string().contains("offset 2"), "{error}");
    assert_eq!(stored(&client, 0).await, Some(2));
    let report = stop(&client).map(copy).run(std::future::pending()).await.unwrap();
    assert_eq!(report.handled, 3);
    assert_eq!(values(&client, "invoices").await, ["a:0", "a:1", "a:2", "a:3", "a:4"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_output_stops_the_processor_and_stores_no_later_offset() {
    let (engine, client) = setup(1).await;
    fill(&client, &["a"], 5).await;
    let rejected = Error::new(ErrorKind::AuthFailed, "read only");
    engine.fail_appends([Fault::Pass, Fault::Refuse(rejected)]);
    let error = processor(&client)
        .producer(|builder| builder.batch_size(1))
        .map(copy)
        .run(std::future::pending())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    assert_eq!(stored(&client, 0).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_drains_the_records_read() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a", "b"], 10).await;
    let began = Arc::new(tokio::sync::Semaphore::new(0));
    let begin = Arc::clone(&began);
    let running = client
        .processor("orders", "invoices")
        .max_held(6)
        .concurrency(2)
        .map(move |message: Message| {
            let begin = Arc::clone(&begin);
            async move {
                begin.add_permits(1);
                sleep(Duration::from_secs(1)).await;
                copy(message).await
            }
        })
        .start()
        .await
        .unwrap();
    began.acquire().await.unwrap().forget();
    let report = running.stop().await.unwrap();
    assert_eq!((report.read, report.handled, report.left.len()), (6, 6, 0));
    assert_eq!(stored(&client, 0).await, Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_of_a_batch_reports_records_left() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a", "b"], 5).await;
    let began = Arc::new(tokio::sync::Semaphore::new(0));
    let begin = Arc::clone(&began);
    let running = client
        .processor("orders", "invoices")
        .concurrency(2)
        .drain_timeout(Duration::from_secs(5))
        .map(move |message: Message| {
            let begin = Arc::clone(&begin);
            async move {
                if message.offset >= 3 {
                    begin.add_permits(1);
                    sleep(Duration::from_secs(60)).await;
                }
                copy(message).await
            }
        })
        .start()
        .await
        .unwrap();
    began.acquire_many(2).await.unwrap().forget();
    let report = running.stop().await.unwrap();
    let left: Vec<_> = report.left.iter().map(ToString::to_string).collect();
    // The other key had the records 0 and 2; this one had 1.
    assert_eq!((report.handled, left), (3, vec!["7 of orders/0 from offset 3 on".to_owned()]));
    assert_eq!(stored(&client, 0).await, Some(3));
    // The next run handles the rest.
    let _report = processor(&client).map(copy).run(std::future::pending()).await.unwrap();
    let made = values(&client, "invoices").await;
    assert_eq!(made.len(), 10, "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_stops_it() {
    let (_engine, client) = setup(1).await;
    fill(&client, &["a"], 1).await;
    let running = client.processor("orders", "invoices").map(copy).start().await.unwrap();
    let counters = Arc::clone(&running.counters);
    drop(running);
    // The counters are shared with the task alone now.
    for _ in 0..1000 {
        if Arc::strong_count(&counters) == 1 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the processor still runs");
}

#[tokio::test(start_paused = true)]
async fn engines_without_stored_offsets_are_refused_by_default() {
    let engine = FakeEngine::with_topic("orders", 1)
        .with_capabilities(Capabilities::FULL.with(|it| it.commit_offsets = false));
    let client = Client::from_engine(Arc::new(engine));
    client.admin().create_topic(TopicSpec::new("invoices")).await.unwrap();
    fill(&client, &["a"], 3).await;
    let refused = processor(&client).map(copy).run(std::future::pending()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let report =
        processor(&client).without_stored_offsets().map(copy).run(std::future::pending()).await.unwrap();
    assert_eq!(report.handled, 3);
}

#[tokio::test(start_paused = true)]
async fn settings_out_of_range_are_refused() {
    let (_engine, client) = setup(1).await;
    let bad: [fn(ProcessorBuilder) -> ProcessorBuilder; 5] = [
        |builder| builder.concurrency(0),
        |builder| builder.concurrency(9).max_held(8),
        |builder| builder.max_held(100_000),
        |builder| builder.handler_timeout(Duration::ZERO),
        |builder| builder.group("g").without_stored_offsets(),
    ];
    for (number, change) in bad.into_iter().enumerate() {
        let error = change(processor(&client)).map(copy).run(std::future::pending()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_would_feed_itself_is_refused() {
    let (_, client) = setup(1).await;
    let same = client.processor("orders", "orders");
    let own_dead = client.processor("orders", "invoices").dead_letters(DeadLetters::Topic("orders".into()));
    for (builder, expected) in [(same, "its own results"), (own_dead, "its own dead letters")] {
        let processor = builder.map(async |message: Message| Ok::<_, Failure>(Record::new(message.value)));
        let error = processor.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(expected), "{error}");
    }
}
