//! Records, batches, streams, and dropped calls.

use floe_wire::compress::{Codec, Compression};

use super::*;

fn from_beginning(engine: &FakeEngine) -> ConsumerBuilder {
    over(engine).consumer(TOPIC).from(StartAt::Beginning)
}

#[tokio::test(start_paused = true)]
async fn a_message_has_all_parts_of_the_sent_record() {
    let engine = FakeEngine::with_topic(TOPIC, 2);
    let mut builder = BatchBuilder::new(64);
    builder.append(77, Some(b""), b"\0binary\xff", &[("trace", b"1"), ("trace", b"2")]).unwrap();
    append_batch(&engine, 1, builder.finish(FinishOptions::default()).unwrap()).await;
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    let message = next(&mut consumer).await;
    assert_eq!((message.topic.as_str(), message.partition, message.offset), (TOPIC, 1, 0));
    assert_eq!((message.timestamp, message.key.as_deref()), (Some(77), Some(&b""[..])));
    assert_eq!(&message.value[..], b"\0binary\xff");
    let headers: Vec<_> = message.headers.iter().collect();
    assert_eq!(headers, [("trace", &b"1"[..]), ("trace", b"2")]);
}

#[tokio::test(start_paused = true)]
async fn records_and_batches_mix() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    assert_eq!(offsets(&mut consumer, 1).await, [0]);
    let rest = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((rest.first_offset(), rest.next_offset(), rest.len()), (1, 3, 2));
    let owned: Vec<_> = rest.records().map(|record| record.offset).collect();
    let borrowed: Vec<_> = rest.borrowed().map(|record| record.offset).collect();
    assert_eq!((&owned[..], &borrowed[..]), (&[1, 2][..], &[1, 2][..]));
    assert_eq!(consumer.position(0), Some(3));
    assert_eq!(drain(&mut consumer).await.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn batches_begin_at_the_requested_offset() {
    let engine = ten().await;
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Offset(4)).stop_at_end().start().await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = consumer.next_batch().await.unwrap() {
        batches.push(batch.borrowed().map(|record| record.offset).collect::<Vec<_>>());
        assert_eq!(batch.len(), batches.last().unwrap().len());
    }
    assert_eq!(batches, [vec![4, 5], vec![6, 7, 8], vec![9]]);
}

#[tokio::test(start_paused = true)]
async fn stored_batches_are_kept_where_they_are_wanted_whole() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    for codec in [Codec::None, Codec::Lz4] {
        let mut builder = BatchBuilder::new(64);
        for time in 0..3 {
            builder.append(time, None, &[b'a'; 2000], &[("name", b"value")]).unwrap();
        }
        let compression = Compression::new(codec);
        let producer = ProducerIdentity { id: 7, epoch: 0, first_sequence: 1 };
        append_batch(&engine, 0, builder.finish(FinishOptions { compression, producer }).unwrap()).await;
    }
    let mut consumer =
        over(&engine).consumer(TOPIC).from(StartAt::Offset(1)).keep_stored().start().await.unwrap();
    let part = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((part.first_offset(), part.stored()), (1, None), "the first record is not wanted");
    let whole = consumer.next_batch().await.unwrap().unwrap();
    let stored = whole.stored().unwrap();
    assert_eq!((stored.base_offset(), stored.header().attributes.codec()), (3, Ok(Codec::Lz4)));
    assert_eq!(whole.memory(), stored.records().unwrap().section_len() + stored.len());
    let records: Vec<_> = stored.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records, whole.records().collect::<Vec<_>>());

    // A record that was taken is no longer in the batch; and without being asked, a consumer keeps none.
    let mut consumer = from_beginning(&engine).keep_stored().start().await.unwrap();
    next(&mut consumer).await;
    assert_eq!(consumer.next_batch().await.unwrap().unwrap().stored(), None);
    let mut consumer = from_beginning(&engine).start().await.unwrap();
    assert_eq!(consumer.next_batch().await.unwrap().unwrap().stored(), None);
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_fused() {
    let engine = ten().await;
    let mut consumer = from_beginning(&engine).stop_at_end().start().await.unwrap();
    let all: Vec<_> = (&mut consumer).map(|message| message.unwrap().offset).collect().await;
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert!(consumer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_loses_and_duplicates_nothing() {
    for policy in [CommitPolicy::Manual, CommitPolicy::PerRecord] {
        let engine = FakeEngine::with_topic(TOPIC, 2);
        fill(&engine, 0, 10, 3).await;
        fill(&engine, 1, 10, 3).await;
        let builder = from_beginning(&engine).group("g").commit(policy).prefetch_bytes(1);
        let mut consumer = builder.start().await.unwrap();
        engine.fail_reads([broken(), broken()]);
        let mut came = [Vec::new(), Vec::new()];
        let mut dropped = 0;
        for _ in 0..100_000 {
            match poll_once(consumer.try_next()) {
                Some(message) => {
                    let message = message.unwrap().unwrap();
                    assert!(stored(&engine, "g", message.partition).await.unwrap_or(0) <= message.offset);
                    came[message.partition as usize].push(message.offset);
                }
                None => {
                    dropped += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            if came[0].len() + came[1].len() == 60 {
                break;
            }
        }
        assert!(dropped > 10, "{dropped}");
        assert_eq!(came[0], (0..30).collect::<Vec<_>>());
        assert_eq!(came[1], (0..30).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_batch_call_loses_and_duplicates_nothing() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    fill(&engine, 0, 20, 3).await;
    let mut consumer = from_beginning(&engine).prefetch_bytes(1).stop_at_end().start().await.unwrap();
    let mut came = Vec::new();
    for _ in 0..100_000 {
        match poll_once(consumer.next_batch()) {
            Some(batch) => match batch.unwrap() {
                Some(batch) => came.extend(batch.borrowed().map(|record| record.offset)),
                None => break,
            },
            None => tokio::task::yield_now().await,
        }
    }
    assert_eq!(came, (0..60).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_ack_window_is_a_transient_error() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    fill(&engine, 0, 140, 1000).await;
    let mut consumer = from_beginning(&engine).ack_mode(AckMode::Explicit).group("g").start().await.unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match consumer.try_next().await {
            Ok(message) => {
                let message = message.unwrap();
                if message.offset % 2 == 0 { kept.push(message) } else { message.ack() }
            }
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::BufferFull, true));
    kept[..100].iter().for_each(Message::ack);
    assert_eq!(next(&mut consumer).await.offset, 131_071);
}

#[test]
fn consumers_are_send_and_sync() {
    fn check<T: Send + Sync + Unpin>() {}
    check::<Consumer>();
    check::<Message>();
    check::<RecordBatch>();
}

#[tokio::test(start_paused = true)]
async fn debug_shows_positions() {
    let mut consumer = from_beginning(&ten().await).group("g").start().await.unwrap();
    offsets(&mut consumer, 4).await;
    let text = format!("{consumer:?}");
    assert_eq!(text, r#"Consumer { topic: "orders", group: Some("g"), positions: [(0, 4)], .. }"#);
}
