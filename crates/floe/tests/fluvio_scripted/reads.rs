//! Streams: cut batches, batches larger than a slice, cut connections, slow readers, deleted topics.

use std::time::Duration;

use floe::{
    ErrorKind,
    consumer::StartAt,
    engine::{Engine, Start},
};
use floe_testkit::fluvio::{Cluster, Fault, TOPIC};

use super::{batch, client, connect, open, values};

const STREAM_FETCH: u16 = 1003;

fn filled(batches: usize, size: usize) -> (Cluster, Vec<String>) {
    let cluster = Cluster::new(1);
    let mut expected = Vec::new();
    for number in 0..batches {
        let padding = "x".repeat(size);
        let texts: Vec<_> = (0..10).map(|record| format!("{number}.{record} {padding}")).collect();
        cluster.append(0, batch(&texts.iter().map(String::as_str).collect::<Vec<_>>()));
        expected.extend(texts);
    }
    (cluster, expected)
}

/// Reads up to the end through a consumer and returns the values.
async fn read(cluster: &Cluster, from: StartAt, fetch_bytes: usize) -> Vec<String> {
    let engine = connect(cluster).await;
    let consumer = client(&engine).consumer(TOPIC).from(from).fetch_bytes(fetch_bytes).stop_at_end();
    let mut consumer = consumer.start().await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = consumer.try_next().await.unwrap() {
        found.push(String::from_utf8(message.value.to_vec()).unwrap());
    }
    found
}

#[tokio::test(start_paused = true)]
async fn slices_cut_anywhere_lose_nothing() {
    let (cluster, expected) = filled(6, 5);
    for max_bytes in (1..700).step_by(7) {
        let engine = connect(&cluster).await;
        let mut reader = open(&engine, Start::Earliest, max_bytes).await;
        let mut found = Vec::new();
        while found.len() < expected.len() {
            found.extend(values(&reader.next().await.unwrap().unwrap()));
        }
        assert_eq!(found, expected, "slices of {max_bytes} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_a_slice_is_fetched_with_a_larger_one() {
    let (cluster, expected) = filled(3, 20_000);
    assert_eq!(read(&cluster, StartAt::Beginning, 4096).await, expected);
    let streams = cluster.state.lock().streams.clone();
    assert_eq!(streams.len(), 2, "one stream with small slices, one that fits: {streams:?}");
    assert!(streams[1] > 200_000 && streams[1] < 300_000, "{streams:?}");
}

#[tokio::test(start_paused = true)]
async fn reading_begins_within_a_batch() {
    let (cluster, expected) = filled(4, 5);
    for start in [0, 1, 9, 10, 25, 39] {
        let found = read(&cluster, StartAt::Offset(i64::try_from(start).unwrap()), 100).await;
        assert_eq!(found, expected[start..], "from {start}");
    }
}

#[tokio::test(start_paused = true)]
async fn slice_cut_at_any_byte_loses_and_duplicates_nothing() {
    let (cluster, expected) = filled(2, 3);
    let bytes =
        2 * usize::try_from(cluster.state.lock().partitions[&0][0].header().batch_len + 12).unwrap() + 70;
    for cut in 0..bytes {
        cluster.change(|state| state.faults.push_back((STREAM_FETCH, Fault::CutAfter(cut))));
        assert_eq!(read(&cluster, StartAt::Beginning, 1 << 20).await, expected, "cut at {cut}");
        assert!(cluster.state.lock().faults.is_empty(), "the fault was injected");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_slices_lose_and_duplicate_nothing() {
    let (cluster, expected) = filled(5, 30);
    for fault in [Fault::Garbage, Fault::WrongId, Fault::Oversize] {
        cluster.change(|state| state.faults.push_back((STREAM_FETCH, fault)));
        assert_eq!(read(&cluster, StartAt::Beginning, 500).await, expected, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_reader_buffers_two_slices() {
    let (cluster, _) = filled(100, 100);
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Earliest, 4096).await;
    reader.next().await.unwrap().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(cluster.state.lock().pushed, 2, "one delivered, one in flight");
}

#[tokio::test(start_paused = true)]
async fn waiting_reader_wakes() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Latest, 4096).await;
    for round in 0..5 {
        let text = round.to_string();
        let (found, ()) = tokio::join!(reader.next(), async {
            tokio::time::sleep(std::time::Duration::from_secs(100)).await;
            cluster.append(0, batch(&[&text]));
        });
        assert_eq!(values(&found.unwrap().unwrap()), [text]);
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_topic_ends_its_readers() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Latest, 4096).await;
    let (ended, ()) = tokio::join!(reader.next(), async {
        tokio::task::yield_now().await;
        cluster.change(|state| state.deleted = true);
    });
    assert!(ended.unwrap().is_none());
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn out_of_range_offsets_are_refused() {
    let (cluster, _) = filled(1, 1);
    let engine = connect(&cluster).await;
    for offset in [-1, 11, i64::MAX] {
        let request = floe::engine::ReadRequest::new(super::at(0), Start::Offset(offset)).max_bytes(100);
        let error = engine.open(request).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{offset}");
    }
}

/// Receive buffers are reused and, when idle, released: neither may affect records that the application still holds.
#[tokio::test(start_paused = true)]
async fn records_in_use_survive_buffer_reuse() {
    let (cluster, mut expected) = filled(40, 10_000);
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Earliest, 256 * 1024).await;
    let mut held = Vec::new();
    let mut found = Vec::new();
    for round in 0..3 {
        while found.len() < expected.len() {
            let batch = reader.next().await.unwrap().unwrap();
            found.extend(values(&batch));
            if found.len() % 70 == 0 {
                held.push(batch);
            }
        }
        assert_eq!(found, expected);
        // Longer than idle buffers are kept, with the reader at the end of the log.
        assert!(tokio::time::timeout(Duration::from_secs(5), reader.next()).await.is_err());
        let texts: Vec<_> = (0..10).map(|record| format!("{round}:{record} {}", "y".repeat(9_000))).collect();
        for _ in 0..20 {
            cluster.append(0, batch(&texts.iter().map(String::as_str).collect::<Vec<_>>()));
            expected.extend(texts.iter().cloned());
        }
    }
    assert!(held.len() > 5, "{}", held.len());
    for batch in held {
        let values = values(&batch);
        let from = usize::try_from(batch.base_offset()).unwrap();
        assert_eq!(values, expected[from..from + values.len()]);
    }
}
