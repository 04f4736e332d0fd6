//! Typed payloads over an engine that keeps batches in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Client, Effect, Message,
    consumer::{AckMode, CommitPolicy, ConsumerBuilder, OnUndecodable, StartAt, Undecodable},
    dead_letter::DeadLetter,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

fn order(item: &str, count: u32) -> Order {
    Order { item: item.to_owned(), count }
}

fn client() -> (FakeEngine, Client) {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::from_engine(Arc::new(engine.clone()));
    (engine, client)
}

/// Two orders with something else between them.
async fn with_poison(client: &Client) {
    let raw = client.producer("orders").start().await.unwrap();
    raw.send_all([r#"{"item":"tea","count":1}"#, "poison", r#"{"item":"milk","count":2}"#]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn json_round_trip_keeps_keys_headers_and_offsets() {
    let (_engine, client) = client();
    let orders = client.producer("orders").json::<Order>().batch_size(1000).start().await.unwrap();
    orders.send(Record::keyed("ada", order("tea", 2)).header("origin", "web").timestamp(7)).await.unwrap();
    let placed = orders.send(order("milk", 1)).await.unwrap();
    assert_eq!(placed.offset, Some(1));
    let placed = orders.send_all([order("a", 1), order("b", 2)]).await.unwrap();
    assert_eq!(placed.len(), 2);

    let mut inbox = client.consumer("orders").json::<Order>().from(StartAt::Beginning).start().await.unwrap();
    let first = inbox.try_next().await.unwrap().unwrap();
    assert_eq!((first.key.as_deref(), first.offset, first.timestamp), (Some(b"ada".as_slice()), 0, Some(7)));
    assert_eq!((first.headers.get("origin"), first.value), (Some(b"web".as_slice()), order("tea", 2)));
    for expected in [order("milk", 1), order("a", 1), order("b", 2)] {
        assert_eq!(inbox.try_next().await.unwrap().unwrap().value, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_record_is_one_error_with_its_coordinates() {
    let (_engine, client) = client();
    with_poison(&client).await;
    let inbox = client.consumer("orders").json::<Order>().from(StartAt::Beginning).stop_at_end().start();
    let mut items: Vec<_> = inbox.await.unwrap().collect().await;
    assert_eq!(items.len(), 3);
    assert_eq!(items.pop().unwrap().unwrap().value, order("milk", 2));
    let error = items.pop().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::DeserializationError, Effect::None));
    assert_eq!((error.topic().unwrap().as_str(), error.partition()), ("orders", Some(0)));
    let bad = Undecodable::of(&error).unwrap();
    assert_eq!((bad.message.offset, &bad.message.value[..], bad.format), (1, b"poison".as_slice(), "json"));
    assert!(error.to_string().contains("the record at offset 1 is not json"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn skipped_records_are_counted() {
    let (_engine, client) = client();
    with_poison(&client).await;
    let inbox = client.consumer("orders").json::<Order>().on_undecodable(OnUndecodable::Skip);
    let mut inbox = inbox.from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut counts = Vec::new();
    while let Some(message) = inbox.try_next().await.unwrap() {
        counts.push(message.value.count);
    }
    assert_eq!((counts, inbox.undecodable()), (vec![1, 2], 1));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_written_before_the_offset_moves_on() {
    let (engine, client) = client();
    with_poison(&client).await;
    let inbox = client.consumer("orders").json::<Order>().group("g").commit(CommitPolicy::Manual);
    let mut inbox = inbox.on_undecodable(OnUndecodable::DeadLetter("dead".into())).start().await.unwrap();
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 1);
    // The dead-letter topic refuses once: an error, and nothing is passed over.
    engine.fail_appends([Fault::Refuse(Error::new(ErrorKind::AuthFailed, "read only"))]);
    assert_eq!(inbox.try_next().await.unwrap_err().kind(), ErrorKind::AuthFailed);
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 2);
    inbox.close().await.unwrap();
    let mut dead = client.consumer("dead").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let message = dead.try_next().await.unwrap().unwrap();
    let letter = DeadLetter::of(&message).unwrap();
    assert_eq!((letter.origin.to_string().as_str(), letter.attempts), ("orders/0/1", 1));
    assert_eq!((letter.code.as_str(), &message.value[..]), ("deserialization_error", b"poison".as_slice()));
    assert!(dead.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_need_headers() {
    let engine = FakeEngine::with_topic("orders", 1)
        .with_capabilities(Capabilities::FULL.with(|it| it.headers = false));
    let client = Client::from_engine(Arc::new(engine));
    let inbox = client.consumer("orders").text().on_undecodable(OnUndecodable::DeadLetter("dead".into()));
    let error = inbox.start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn text_must_be_text() {
    let (_engine, client) = client();
    client.producer("orders").start().await.unwrap().send(vec![0xff, 0xfe]).await.unwrap();
    client.producer("orders").text().start().await.unwrap().send("grüße".to_owned()).await.unwrap();
    let mut inbox = client.consumer("orders").text().from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(inbox.try_next().await.unwrap_err().kind(), ErrorKind::DeserializationError);
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value, "grüße");
}

/// Encodes even numbers only.
#[derive(Debug, Clone)]
struct Even;

impl PayloadCodec for Even {
    type Value = u8;
    const NAME: &'static str = "even";

    fn encode(&self, value: &u8) -> Result<Bytes, PayloadError> {
        if value.is_multiple_of(2) { Ok(Bytes::copy_from_slice(&[*value])) } else { Err("odd".into()) }
    }

    fn decode(&self, bytes: &Bytes) -> Result<u8, PayloadError> {
        bytes.first().copied().ok_or_else(|| "empty".into())
    }
}

#[tokio::test(start_paused = true)]
async fn send_all_stops_at_a_value_that_cannot_be_encoded() {
    let (_engine, client) = client();
    let producer = client.producer("orders").payload(Even).start().await.unwrap();
    let error = producer.send(3).await.unwrap_err();
    assert_eq!((error.kind(), error.topic().unwrap().as_str()), (ErrorKind::SerializationError, "orders"));
    let error = producer.send_all([2, 4, 5, 6]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SerializationError);
    let mut inbox =
        client.consumer("orders").payload(Even).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut read = Vec::new();
    while let Some(message) = inbox.try_next().await.unwrap() {
        read.push(message.value);
    }
    assert_eq!(read, [2, 4], "earlier values are sent");
}

#[cfg(feature = "messagepack")]
#[tokio::test(start_paused = true)]
async fn message_pack_round_trip() {
    let (_engine, client) = client();
    let orders = client.producer("orders").message_pack::<Order>().start().await.unwrap();
    orders.send(order("tea", 2)).await.unwrap();
    let mut inbox =
        client.consumer("orders").message_pack::<Order>().from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value, order("tea", 2));
}

#[tokio::test(start_paused = true)]
async fn tasks_can_send_and_read_values() {
    let (_engine, client) = client();
    let task = tokio::spawn(async move {
        let orders = client.producer("orders").json::<Order>().start().await?;
        orders.send_all(vec![order("tea", 1), order("milk", 2)]).await?;
        orders.enqueue_all((3..6).map(|count| Record::keyed("k", order("more", count)))).await?.await?;
        let inbox = client.consumer("orders").json::<Order>().from(StartAt::Beginning);
        let mut inbox = inbox.stop_at_end().start().await?;
        let mut counts = Vec::new();
        while let Some(message) = inbox.try_next().await? {
            counts.push(message.value.count);
        }
        Ok::<_, Error>(counts)
    });
    assert_eq!(task.await.unwrap().unwrap(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn an_outbox_takes_values() {
    let (_engine, client) = client();
    let outbox = client.producer("orders").payload(Even).outbox("/outbox");
    let spool = floe_log::StoreConfig::at("/outbox").disk(Arc::new(floe_log::disk::MemoryDisk::new()));
    let outbox = outbox.store(spool).start().await.unwrap();
    outbox.send(2).await.unwrap();
    let error = outbox.send_all([4, 5, 6]).await.unwrap_err();
    assert_eq!((error.kind(), error.topic().unwrap().as_str()), (ErrorKind::SerializationError, "orders"));
    outbox.enqueue(Record::keyed("k", 8)).await.unwrap().await.unwrap();
    let report = outbox.close().await.unwrap();
    assert_eq!((report.delivered, report.waiting), (3, 0));
    let mut inbox =
        client.consumer("orders").payload(Even).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut read = Vec::new();
    while let Some(message) = inbox.try_next().await.unwrap() {
        read.push(message.value);
    }
    assert_eq!(read, [2, 4, 8]);
}

fn from_beginning(client: &Client) -> ConsumerBuilder<Json<Order>> {
    client.consumer("orders").json::<Order>().from(StartAt::Beginning).stop_at_end()
}

fn counts(chunk: Result<Vec<Message<Order>>>) -> Result<Vec<u32>, ErrorKind> {
    chunk.map(|chunk| chunk.iter().map(|message| message.value.count).collect()).map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_chunk_ends_before_an_undecodable_record() {
    let (_engine, client) = client();
    with_poison(&client).await;
    let wait = Duration::from_secs(1);
    let mut inbox = from_beginning(&client).start().await.unwrap();
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![1]));
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Err(ErrorKind::DeserializationError));
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![2]));
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![]));
    // The rest of a chunk can also be read one by one.
    let mut inbox = from_beginning(&client).start().await.unwrap();
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![1]));
    let error = inbox.try_next().await.unwrap_err();
    assert_eq!(Undecodable::of(&error).map(|bad| bad.message.offset), Some(1));
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 2);
    assert!(inbox.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn records_that_a_chunk_leaves_are_not_finished() {
    let (engine, client) = client();
    with_poison(&client).await;
    let group = || client.consumer("orders").json::<Order>().group("g").commit(CommitPolicy::Manual);
    let dead = || group().on_undecodable(OnUndecodable::DeadLetter("dead".into()));
    let wait = Duration::from_secs(1);
    let mut inbox = dead().start().await.unwrap();
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![1]));
    inbox.commit().await.unwrap();
    drop(inbox);
    let mut inbox = dead().start().await.unwrap();
    assert_eq!(inbox.position(0), Some(1), "records that were not handed out are read again");
    engine.fail_appends([Fault::Refuse(Error::new(ErrorKind::AuthFailed, "read only"))]);
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Err(ErrorKind::AuthFailed));
    assert_eq!(counts(inbox.next_chunk(10, wait).await), Ok(vec![2]));
    inbox.close().await.unwrap();
    let mut dead = client.consumer("dead").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    assert_eq!(dead.try_next().await.unwrap().unwrap().value, "poison");
    assert!(dead.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_writes_no_duplicate_dead_letter() {
    let (engine, client) = client();
    with_poison(&client).await;
    let inbox = from_beginning(&client).on_undecodable(OnUndecodable::DeadLetter("dead".into()));
    let mut inbox = inbox.start().await.unwrap();
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 1);
    engine.fail_appends([Fault::Hold]);
    for _ in 0..5 {
        assert!(tokio::time::timeout(Duration::from_secs(1), inbox.try_next()).await.is_err());
    }
    engine.release(1);
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 2);
    let mut dead = client.consumer("dead").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    assert_eq!(dead.try_next().await.unwrap().unwrap().value, "poison");
    assert!(dead.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn concurrent_handlers_acknowledge_their_records() {
    let (_engine, client) = client();
    let orders = client.producer("orders").json::<Order>().start().await.unwrap();
    orders.send_all((0..6).map(|count| order("tea", count))).await.unwrap();
    let group =
        || client.consumer("orders").json::<Order>().group("g").ack_mode(AckMode::Explicit).stop_at_end();
    let mut inbox = group().start().await.unwrap();
    let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let outcome = inbox
        .handle_each(3, async |message| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            if message.value.count == 4 { Err(Error::new(ErrorKind::ServerError, "four")) } else { Ok(()) }
        })
        .await;
    assert_eq!((outcome.unwrap_err().message(), most.into_inner()), ("four", 3));
    inbox.close().await.unwrap();
    let mut inbox = group().start().await.unwrap();
    assert_eq!(inbox.try_next().await.unwrap().unwrap().value.count, 4);
    drop(inbox);
    let mut inbox = from_beginning(&client).start().await.unwrap();
    let outcome = inbox.handle_each(3, async |_| Ok::<_, Error>(())).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidCommand);
}
