//! Partitions of records, and refused records.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::{orders, over, rejected, settle, values};
use crate::{
    Client, ErrorKind, Record,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
    producer::{FixedPartition, PartitionChoice, Partitioner},
};

#[tokio::test(start_paused = true)]
async fn a_sent_record_has_an_offset_and_is_readable() {
    let (engine, builder) = orders();
    let orders = builder.start().await.unwrap();
    let first = orders.send("one").await.unwrap();
    let second = orders.send(Record::keyed("k", "two").timestamp(77).header("h", "v")).await.unwrap();
    assert_eq!((first.partition, first.offset), (0, Some(0)));
    assert_eq!((second.offset, second.timestamp), (Some(1), 77));
    assert_eq!(values(&engine, 0), ["one", "two"]);
    let batches = engine.batches("orders", 0);
    let record = batches[1].records().unwrap().next().unwrap().unwrap();
    assert_eq!((record.key.as_deref(), record.timestamp), (Some(&b"k"[..]), Some(77)));
    assert_eq!(record.headers.get("h"), Some(&b"v"[..]));
}

#[tokio::test(start_paused = true)]
async fn the_timestamp_defaults_to_the_time_of_sending() {
    let (_, builder) = orders();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let placed = builder.start().await.unwrap().send("one").await.unwrap();
    let after = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!((before..=after).contains(&(placed.timestamp as u128)), "{}", placed.timestamp);
}

#[tokio::test(start_paused = true)]
async fn keys_choose_partitions_as_the_official_client_does() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 10));
    let orders = builder.start().await.unwrap();
    for (key, partition) in [("a", 7), ("b", 0), ("hello", 4)] {
        assert_eq!(orders.send(Record::keyed(key, key)).await.unwrap().partition, partition);
        assert_eq!(values(&engine, partition), [key]);
    }
}

#[tokio::test(start_paused = true)]
async fn records_without_a_key_reach_every_partition_in_turn() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 3));
    let orders = builder.start().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(orders.send("x").await.unwrap().partition);
    }
    let first = seen[0];
    let expected: Vec<_> = (0..6).map(|step| (first + step) % 3).collect();
    assert_eq!(seen, expected);
    assert!((0..3).all(|partition| values(&engine, partition).len() == 2));
}

#[tokio::test(start_paused = true)]
async fn records_without_a_key_fill_a_batch_before_they_move_on() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 2));
    let orders = builder.linger(std::time::Duration::from_secs(1)).batch_size(1000).start().await.unwrap();
    let value = "x".repeat(200);
    for _ in 0..8 {
        drop(orders.enqueue(&value).await.unwrap());
    }
    orders.flush().await.unwrap();
    // A batch holds four records of about 220 bytes.
    assert_eq!((super::counts(&engine, 0), super::counts(&engine, 1)), (vec![4], vec![4]));
}

#[tokio::test(start_paused = true)]
async fn the_partition_of_a_record_overrides_the_partitioner() {
    let (_, builder) = over(FakeEngine::with_topic("orders", 3));
    let orders = builder.partitioner(FixedPartition(2)).start().await.unwrap();
    assert_eq!(orders.send(Record::keyed("a", "x")).await.unwrap().partition, 2);
    assert_eq!(orders.send(Record::keyed("a", "x").partition(1)).await.unwrap().partition, 1);
}

#[derive(Debug)]
struct ByLength;

impl Partitioner for ByLength {
    fn partition(&self, _key: Option<&[u8]>, value: &[u8], _partitions: u32) -> PartitionChoice {
        PartitionChoice::Partition(value.len() as u32)
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_partition_is_refused_before_buffering() {
    let (_, builder) = over(FakeEngine::with_topic("orders", 3));
    let orders = builder.partitioner(ByLength).start().await.unwrap();
    assert_eq!(orders.send("ab").await.unwrap().partition, 2);
    for record in [Record::new("abc"), Record::new("").partition(3)] {
        let error = orders.enqueue(record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
        super::assert_at_orders(&error, 3);
    }
    assert_eq!(orders.stats().buffered_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn keys_and_headers_need_support_by_the_engine() {
    let mut plain = Capabilities::FULL;
    plain.keys = false;
    plain.headers = false;
    let (engine, builder) = over(FakeEngine::with_topic("orders", 1).with_capabilities(plain));
    let orders = builder.start().await.unwrap();
    for record in [Record::keyed("k", "x"), Record::new("x").header("a", "b")] {
        assert_eq!(orders.send(record).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!((engine.appends(), orders.stats().buffered_bytes), (0, 0));
    assert_eq!(orders.send("x").await.unwrap().offset, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_record_over_the_limit_is_refused_and_one_over_the_batch_size_is_sent_alone() {
    let (engine, builder) = orders();
    let orders = builder
        .linger(std::time::Duration::from_secs(1))
        .batch_size(300)
        .max_request_size(1000)
        .start()
        .await
        .unwrap();
    let error = orders.enqueue("x".repeat(1000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
    assert_eq!(orders.stats().buffered_bytes, 0);
    drop(orders.enqueue("a").await.unwrap());
    drop(orders.enqueue("x".repeat(600)).await.unwrap());
    drop(orders.enqueue("b").await.unwrap());
    orders.flush().await.unwrap();
    assert_eq!(super::counts(&engine, 0), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn send_all_keeps_the_order_and_returns_each_offset() {
    let (engine, builder) = orders();
    let orders = builder.batch_size(200).start().await.unwrap();
    let sent: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    let placed = orders.send_all(&sent).await.unwrap();
    let offsets: Vec<_> = placed.iter().map(|one| one.offset.unwrap()).collect();
    assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    assert_eq!(values(&engine, 0), sent);
    assert!(engine.batches("orders", 0).len() > 5, "several batches");
}

#[tokio::test(start_paused = true)]
async fn send_all_keeps_the_order_of_mixed_records() {
    let (engine, builder) = over(FakeEngine::with_topic("orders", 3));
    let orders = builder.batch_size(300).buffer_memory(900).batch_queue(2).start().await.unwrap();
    let record = |n: i64| {
        let record = Record::new(n.to_string());
        match n % 5 {
            0 => record.header("n", "x"),
            1 | 2 => record.partition((n % 3) as u32),
            3 => Record { key: Some("k".into()), ..record },
            _ => record,
        }
    };
    let placed = orders.send_all((0..300).map(record)).await.unwrap();
    assert_eq!(placed.len(), 300);
    for (n, placed) in (0..).zip(&placed) {
        let stored = &values(&engine, placed.partition)[placed.offset.unwrap() as usize];
        assert_eq!(*stored, n.to_string());
    }
    for partition in 0..3 {
        let stored: Vec<i64> =
            values(&engine, partition).iter().map(|value| value.parse().unwrap()).collect();
        assert!(stored.is_sorted(), "{stored:?}");
    }
    assert!(orders.send_all(Vec::<String>::new()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn send_all_stops_at_a_refused_record_and_delivers_earlier_ones() {
    let (engine, builder) = orders();
    let orders = builder.start().await.unwrap();
    let records = ["a", "b", "c"].map(Record::new);
    let [a, b, c] = records;
    let error = orders.send_all([a, b.partition(9), c]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    assert_eq!(values(&engine, 0), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn enqueue_all_can_be_awaited_later() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Hold]);
    let orders = builder.batch_size(200).max_in_flight(1).start().await.unwrap();
    let sent: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    let mut deliveries = orders.enqueue_all(&sent).await.unwrap();
    assert_eq!((deliveries.len(), deliveries.is_empty()), (200, false));
    assert!((&mut deliveries).now_or_never().is_none(), "nothing is acknowledged yet");
    engine.release(1);
    let placed = deliveries.await.unwrap();
    let offsets: Vec<_> = placed.iter().map(|one| one.offset.unwrap()).collect();
    assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    assert_eq!(values(&engine, 0), sent);
    assert!(orders.enqueue_all(Vec::<String>::new()).await.unwrap().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_of_send_all_are_reported_once() {
    let (engine, builder) = orders();
    engine.fail_appends([Fault::Pass, Fault::Refuse(rejected()), Fault::Refuse(rejected())]);
    let orders = builder.batch_size(150).start().await.unwrap();
    let values: Vec<_> = (0..4).map(|n| n.to_string().repeat(100)).collect();
    let (first, second) = values.split_at(2);
    let error = orders.enqueue_all(first).await.unwrap().await.unwrap_err();
    assert_eq!(error.kind(), rejected().kind());
    // The flush reports the next failure, because only the first was observed.
    drop(orders.enqueue_all(second).await.unwrap());
    let error = orders.flush().await.unwrap_err();
    assert!(error.to_string().contains("1 record of partition 0 is not delivered"), "{error}");
    orders.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn concurrent_tasks_keep_their_own_order() {
    let (engine, builder) = orders();
    let orders = builder.batch_size(400).buffer_memory(2000).start().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let orders = orders.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    drop(orders.enqueue(format!("{task}:{n}")).await.unwrap());
                    if n % 7 == task {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    orders.flush().await.unwrap();
    let all = values(&engine, 0);
    assert_eq!(all.len(), 800);
    for task in 0..8 {
        let own: Vec<_> = all.iter().filter(|value| value.starts_with(&format!("{task}:"))).collect();
        let expected: Vec<_> = (0..100).map(|n| format!("{task}:{n}")).collect();
        assert!(own.into_iter().eq(&expected), "task {task}");
    }
}

#[tokio::test]
async fn tasks_on_two_threads_cause_no_loss_or_duplicates() {
    // The same with real threads, for errors that need preemption.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (engine, builder) = over(FakeEngine::with_topic("orders", 2));
    let handle = runtime.handle().clone();
    let joined = handle.spawn(async move {
        let orders = builder.batch_size(2000).buffer_memory(20_000).start().await.unwrap();
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let orders = orders.clone();
                tokio::spawn(async move {
                    for n in 0..500 {
                        let key = format!("{task}");
                        drop(orders.enqueue(Record::keyed(key, format!("{task}:{n}"))).await.unwrap());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        orders.flush().await.unwrap();
    });
    joined.await.unwrap();
    runtime.shutdown_background();
    let all: Vec<_> = [values(&engine, 0), values(&engine, 1)].concat();
    assert_eq!(all.len(), 2000);
    for task in 0..4 {
        let own: Vec<_> = all.iter().filter(|value| value.starts_with(&format!("{task}:"))).collect();
        let expected: Vec<_> = (0..500).map(|n| format!("{task}:{n}")).collect();
        assert!(own.into_iter().eq(&expected), "task {task}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_send_leaves_one_copy_or_none() {
    let (engine, builder) = orders();
    engine.fail_appends([crate::fake_engine::Fault::Hold]);
    let orders = builder.start().await.unwrap();
    {
        let sending = orders.send("given up");
        tokio::select! {
            biased;
            sent = sending => panic!("the append is held, but send returned {sent:?}"),
            () = settle() => {}
        }
    }
    engine.release(1);
    orders.send("after").await.unwrap();
    assert_eq!(values(&engine, 0), ["given up", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_shared_producer_is_replaced() {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::from_engine(Arc::new(engine.clone()));
    let one = client.shared_producer("orders").await.unwrap();
    let (two, three) = tokio::join!(client.shared_producer("orders"), client.shared_producer("orders"));
    one.send("a").await.unwrap();
    assert_eq!((two.unwrap().stats().records, three.unwrap().stats().records), (1, 1));
    assert_eq!(client.producers().topics(), ["orders".into()]);
    let _ = one.close().await.unwrap();
    assert_eq!(client.producers().topics(), []);
    let fresh = client.shared_producer("orders").await.unwrap();
    assert_eq!(fresh.stats().records, 0);
    assert_eq!(fresh.send("b").await.unwrap().offset, Some(1));
    let missing = client.shared_producer("nowhere").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::TopicNotFound);
}
