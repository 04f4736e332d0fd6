//! Tests of the blocking API with the engine in memory, on plain threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Client, OutboxBuilder};
use crate::{
    ErrorKind, Record, RetryPolicy, TopicSpec,
    consumer::{CommitPolicy, OnUndecodable, StartAt},
    payload::Text,
};

fn client() -> Client {
    let client = Client::connect("memory:").unwrap();
    client.create_topic(TopicSpec::new("orders")).unwrap();
    client
}

#[test]
fn records_go_in_and_out() {
    let client = client();
    let orders = client.producer("orders").start().unwrap();
    assert_eq!(orders.send(Record::keyed("ada", "tea")).unwrap().offset, Some(0));
    assert_eq!(orders.enqueue("milk").unwrap().wait().unwrap().offset, Some(1));
    assert_eq!(orders.send_all(["a", "b"]).unwrap().len(), 2);
    let inbox = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().unwrap();
    let values: Vec<_> = inbox.map(|message| message.unwrap().value).collect();
    assert_eq!(values, ["tea", "milk", "a", "b"]);
    assert_eq!(client.topics().unwrap().len(), 1);
    assert_eq!(orders.close().unwrap().delivered, 4);
    client.close().unwrap();
}

#[test]
fn threads_share_a_client() {
    let client = client();
    thread::scope(|scope| {
        for thread in 0..4 {
            let client = client.clone();
            scope.spawn(move || {
                let orders = client.producer("orders").start().unwrap();
                for number in 0..50 {
                    orders.send(format!("{thread} {number}")).unwrap();
                }
            });
        }
        let mut inbox = client.consumer("orders").from(StartAt::Beginning).start().unwrap();
        let mut next = [0; 4];
        for _ in 0..200 {
            let value = inbox.try_next().unwrap().unwrap().value;
            let text = String::from_utf8(value.to_vec()).unwrap();
            let (thread, number) = text.split_once(' ').unwrap();
            let expected = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(number, expected.to_string());
            *expected += 1;
        }
    });
}

#[test]
fn next_within_loses_no_record() {
    let client = client();
    let mut inbox = client.consumer("orders").from(StartAt::Beginning).start().unwrap();
    assert!(inbox.next_within(Duration::from_millis(1)).unwrap().is_none());
    client.producer("orders").start().unwrap().send("late").unwrap();
    assert_eq!(inbox.next_within(Duration::from_secs(60)).unwrap().unwrap().value, "late");
}

#[test]
fn offsets_are_committed_and_seek_moves_them() {
    let client = client();
    client.producer("orders").start().unwrap().send_all(["a", "b", "c"]).unwrap();
    let group = || client.consumer("orders").group("g").commit(CommitPolicy::Manual).start().unwrap();
    let mut inbox = group();
    inbox.try_next().unwrap();
    inbox.commit().unwrap();
    inbox.close().unwrap();
    let mut inbox = group();
    assert_eq!(inbox.try_next().unwrap().unwrap().value, "b");
    inbox.seek(0, StartAt::Beginning).unwrap();
    assert_eq!(inbox.next_batch().unwrap().unwrap().first_offset(), 0);
    assert_eq!(inbox.inner().position(0), Some(3));
}

#[test]
fn threads_that_may_block_of_any_runtime_make_calls() {
    use tokio::runtime::Builder;
    for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let sent = tokio::task::spawn_blocking(|| {
                let client = client();
                client.producer("orders").start()?.send("from a thread that may block")
            });
            assert_eq!(sent.await.unwrap().unwrap().offset, Some(0));
            let task = tokio::spawn(async { Client::connect("memory:").map(drop) });
            assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidCommand);
            // The refusal left the budget of this task as it was.
            for _ in 0..10 {
                Client::connect("memory:").unwrap_err();
            }
            tokio::task::yield_now().await;
        });
    }
}

#[test]
fn calls_inside_of_a_runtime_are_refused() {
    let client = client();
    let orders = client.producer("orders").start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move {
        assert_eq!(Client::connect("memory:").unwrap_err().kind(), ErrorKind::InvalidCommand);
        assert_eq!(orders.send("x").unwrap_err().kind(), ErrorKind::InvalidCommand);
        // Dropping the last clone must not panic.
        drop((orders, client));
    });
}

#[test]
fn an_outbox_delivers_without_async() {
    let folder = tempfile::tempdir().unwrap();
    let client = client();
    let outbox = client.producer("orders").outbox(folder.path().join("outbox")).start().unwrap();
    assert_eq!(outbox.send("tea").unwrap().position, 0);
    assert_eq!(outbox.enqueue("milk").unwrap().wait().unwrap().position, 1);
    outbox.send_all(["a", "b"]).unwrap();
    assert!(outbox.drained_within(Duration::from_secs(60)).unwrap());
    let report = outbox.close().unwrap();
    assert_eq!((report.delivered, report.waiting), (4, 0));
    let inbox = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().unwrap();
    let values: Vec<_> = inbox.map(|message| message.unwrap().value).collect();
    assert_eq!(values, ["tea", "milk", "a", "b"]);
}

#[test]
fn an_outbox_waits_for_a_cluster_without_async() {
    let folder = tempfile::tempdir().unwrap();
    // No server listens on this port.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("fluvio://{}", listener.local_addr().unwrap());
    drop(listener);
    let outbox = OutboxBuilder::to(&url, "orders", folder.path().join("outbox")).unwrap().start().unwrap();
    outbox.send("tea").unwrap();
    assert!(!outbox.drained_within(Duration::ZERO).unwrap());
    let report = outbox.close_within(Duration::ZERO).unwrap();
    assert_eq!((report.delivered, report.waiting), (0, 1));
}

#[test]
fn a_processor_runs_plain_functions() {
    let client = client();
    client.create_topic(TopicSpec::new("lengths")).unwrap();
    client.producer("orders").start().unwrap().send_all(["a", "bb", "poison", "dddd"]).unwrap();
    let processor = |client: &Client| {
        client.processor("orders", "lengths").payloads(Text, Text).retry(RetryPolicy::never())
    };
    let report = processor(&client)
        .stop_at_end()
        .map(|message| {
            assert!(message.value != "poison", "the handler refuses this record");
            Ok(Record::new(message.value.len().to_string()))
        })
        .run()
        .unwrap();
    assert_eq!((report.handled, report.dead_letters), (3, 1));
    let lengths = client.consumer("lengths").from(StartAt::Beginning).stop_at_end().start().unwrap();
    let values: Vec<_> = lengths.map(|message| message.unwrap().value).collect();
    assert_eq!(values, ["1", "2", "4"]);

    let (seen, saw) = std::sync::mpsc::channel();
    let running = processor(&client)
        .map(move |message| {
            seen.send(message.value).unwrap();
            Ok(())
        })
        .start()
        .unwrap();
    client.producer("orders").start().unwrap().send("late").unwrap();
    assert_eq!(saw.recv_timeout(Duration::from_secs(60)).unwrap(), "late");
    assert_eq!(running.stop().unwrap().handled, 1);
}

#[test]
fn an_exactly_once_processor_runs_plain_functions() {
    let client = client();
    client.create_topic(TopicSpec::new("lengths")).unwrap();
    client.producer("orders").start().unwrap().send_all(["a", "bb", "cccc"]).unwrap();
    for more in [3, 0] {
        let running = client
            .processor("orders", "lengths")
            .exactly_once()
            .payloads(Text, Text)
            .map(|message| Ok(Record::new(message.value.len().to_string())))
            .start()
            .unwrap();
        let lengths = client.consumer("lengths").from(StartAt::Beginning).start().unwrap();
        let values: Vec<_> = lengths.take(3).map(|message| message.unwrap().value).collect();
        assert_eq!(values, ["1", "2", "4"]);
        assert_eq!(running.stop().unwrap().handled, more);
    }
}

#[test]
fn a_recorded_processor_runs_plain_functions_that_are_not_deterministic() {
    let client = client();
    client.create_topic(TopicSpec::new("numbers")).unwrap();
    client.producer("orders").start().unwrap().send_all(["a", "b", "c"]).unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    for more in [3, 0] {
        let calls = Arc::clone(&calls);
        let running = client
            .processor("orders", "numbers")
            .recorded_in("numbers-log")
            .payloads(Text, Text)
            .map(move |_| Ok(Record::new(calls.fetch_add(1, Ordering::SeqCst).to_string())))
            .start()
            .unwrap();
        let numbers = client.consumer("numbers").from(StartAt::Beginning).start().unwrap();
        let values: Vec<_> = numbers.take(3).map(|message| message.unwrap().value).collect();
        assert_eq!(values, ["0", "1", "2"]);
        assert_eq!(running.stop().unwrap().handled, more);
    }
}

#[test]
fn values_go_in_and_out() {
    let client = client();
    let orders = client.producer("orders").json::<(String, u32)>().start().unwrap();
    assert_eq!(orders.send(Record::keyed("ada", ("tea".to_owned(), 2))).unwrap().offset, Some(0));
    assert_eq!(orders.enqueue(("milk".to_owned(), 1)).unwrap().wait().unwrap().offset, Some(1));
    client.producer("orders").start().unwrap().send("poison").unwrap();
    assert_eq!(orders.send_all([("a".to_owned(), 3), ("b".to_owned(), 4)]).unwrap().len(), 2);
    assert_eq!((orders.stats().records, orders.topic().as_str()), (4, "orders"));
    assert_eq!(orders.close().unwrap().delivered, 4);

    let reader = || client.consumer("orders").json::<(String, u32)>().from(StartAt::Beginning).stop_at_end();
    let inbox = reader().start().unwrap();
    let counts: Vec<_> =
        inbox.map(|message| message.map(|m| m.value.1).map_err(|error| error.kind())).collect();
    assert_eq!(counts, [Ok(2), Ok(1), Err(ErrorKind::DeserializationError), Ok(3), Ok(4)]);

    let mut inbox = reader().on_undecodable(OnUndecodable::Skip).start().unwrap();
    let chunk = inbox.next_chunk(10, Duration::from_secs(60)).unwrap();
    assert_eq!(chunk.iter().map(|message| message.offset).collect::<Vec<_>>(), [0, 1]);
    let chunk = inbox.next_chunk(10, Duration::from_secs(60)).unwrap();
    assert_eq!(chunk.iter().map(|message| message.offset).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(inbox.inner().undecodable(), 1);
}

#[test]
fn offsets_of_values_are_committed_and_seek_moves_them() {
    let client = client();
    client.producer("orders").text().start().unwrap().send_all(["a", "b", "c"].map(String::from)).unwrap();
    let group = || client.consumer("orders").text().group("g").commit(CommitPolicy::Manual).start().unwrap();
    let mut inbox = group();
    inbox.try_next().unwrap();
    inbox.commit().unwrap();
    inbox.try_next().unwrap();
    inbox.close().unwrap();
    let mut inbox = group();
    assert_eq!(inbox.next_within(Duration::from_secs(60)).unwrap().unwrap().value, "b");
    inbox.seek(0, StartAt::Beginning).unwrap();
    assert_eq!(inbox.next_chunk(2, Duration::from_secs(60)).unwrap().len(), 2);
    assert_eq!(inbox.inner().position(0), Some(2));
}

#[test]
fn an_outbox_takes_values_without_async() {
    let folder = tempfile::tempdir().unwrap();
    let client = client();
    let outbox = client.producer("orders").payload(Text).outbox(folder.path().join("outbox"));
    let outbox = outbox.start().unwrap();
    assert_eq!(outbox.send("tea".to_owned()).unwrap().position, 0);
    outbox.send_all(["a", "b"].map(String::from)).unwrap();
    assert_eq!(outbox.enqueue(Record::keyed("ada", "milk".to_owned())).unwrap().wait().unwrap().position, 3);
    assert!(outbox.drained_within(Duration::from_secs(60)).unwrap());
    let report = outbox.close().unwrap();
    assert_eq!((report.delivered, report.waiting), (4, 0));
    let inbox = client.consumer("orders").text().from(StartAt::Beginning).stop_at_end().start().unwrap();
    let values: Vec<_> = inbox.map(|message| message.unwrap().value).collect();
    assert_eq!(values, ["tea", "a", "b", "milk"]);
}

#[test]
fn chunks_come_without_async() {
    let client = client();
    client.producer("orders").start().unwrap().send_all(["a", "b", "c"]).unwrap();
    let mut inbox = client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().unwrap();
    let wait = Duration::from_secs(60);
    let sizes: Vec<_> = (0..3).map(|_| inbox.next_chunk(2, wait).unwrap().len()).collect();
    assert_eq!(sizes, [2, 1, 0]);
}
