//! The blocking API over the engine in memory, on plain threads.

use std::{thread, time::Duration};

use super::Client;
use crate::{
    ErrorKind, Record, TopicSpec,
    consumer::{CommitPolicy, StartAt},
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
fn waiting_ends_and_loses_nothing() {
    let client = client();
    let mut inbox = client.consumer("orders").from(StartAt::Beginning).start().unwrap();
    assert!(inbox.next_within(Duration::from_millis(1)).unwrap().is_none());
    client.producer("orders").start().unwrap().send("late").unwrap();
    assert_eq!(inbox.next_within(Duration::from_secs(60)).unwrap().unwrap().value, "late");
}

#[test]
fn offsets_are_stored_and_moved() {
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
fn inside_of_a_runtime_it_is_refused_and_not_a_panic() {
    let client = client();
    let orders = client.producer("orders").start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async move {
        assert_eq!(Client::connect("memory:").unwrap_err().kind(), ErrorKind::InvalidCommand);
        assert_eq!(orders.send("x").unwrap_err().kind(), ErrorKind::InvalidCommand);
        // Dropping the last of a client is not refused.
        drop((orders, client));
    });
}
