//! What the producer and the consumer cost on `embedded:`, as fractions of a plain file in the same run.
//!
//! Writing: the same batches, ready made, written to a file one after the other. Reading: that file read in pieces of
//! 1 MiB with the checksum of every batch verified. Each round writes both, then reads both in turn, five times: the
//! first pass alone would measure the writing back of the pages too. Medians are printed, because machines are noisy.
//! `RECORDS`, `SIZE` and `ROUNDS` in the environment change the defaults of 3,000,000, 100 and 5.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]
#![allow(clippy::print_stdout, reason = "the report")]

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use floe::{Client, TopicSpec, consumer::StartAt};
use floe_wire::batch::{BatchBuilder, BatchHeader, FinishOptions};

const BATCH_SIZE: usize = 64 * 1024;
const READ_SIZE: usize = 1024 * 1024;
/// The checksum of a batch covers everything from here.
const CHECKSUM_START: usize = 21;
/// Records handed over together.
const RUN: usize = 64;
/// How often each round reads what it wrote.
const PASSES: usize = 5;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A value that carries its number in the first eight bytes.
fn fill(value: &mut [u8], number: usize) {
    value[..8].copy_from_slice(&(number as u64).to_be_bytes());
}

fn ready_made(records: usize, size: usize) -> Vec<Bytes> {
    let mut value = vec![b'x'; size];
    let mut batches = Vec::new();
    let mut open = BatchBuilder::new(BATCH_SIZE);
    for number in 0..records {
        fill(&mut value, number);
        if open.len() + BatchBuilder::record_len(None, &value, &[]) > BATCH_SIZE {
            let full = std::mem::replace(&mut open, BatchBuilder::new(BATCH_SIZE));
            batches.push(full.finish(FinishOptions::default()).unwrap().to_bytes());
        }
        open.append(1_700_000_000_000, None, &value, &[]).unwrap();
    }
    batches.push(open.finish(FinishOptions::default()).unwrap().to_bytes());
    batches
}

fn write_file(path: &Path, batches: &[Bytes]) -> Duration {
    let began = Instant::now();
    let mut file = File::create(path).unwrap();
    for batch in batches {
        file.write_all(batch).unwrap();
    }
    began.elapsed()
}

/// With one buffer for the whole file: fresh memory for each read would make the plain file look slow.
fn read_file(path: &Path, expected: usize) -> Duration {
    let began = Instant::now();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 2 * READ_SIZE];
    let (mut filled, mut seen) = (0, 0);
    loop {
        let read = file.read(&mut buffer[filled..filled + READ_SIZE]).unwrap();
        if read == 0 {
            break;
        }
        filled += read;
        let mut at = 0;
        while let Ok(header) = BatchHeader::decode(&buffer[at..filled]) {
            let end = at + header.total_len().unwrap();
            if end > filled {
                break;
            }
            assert_eq!(crc32c::crc32c(&buffer[at + CHECKSUM_START..end]), header.checksum);
            seen += header.offset_span() as usize;
            at = end;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    assert_eq!((seen, filled), (expected, 0));
    began.elapsed()
}

/// Hands records over in runs or one at a time, and waits for all acknowledgements.
async fn produce(client: &Client, topic: &str, (records, size): (usize, usize), together: bool) -> Duration {
    client.admin().create_topic(TopicSpec::new(topic)).await.unwrap();
    let producer = client.producer(topic).batch_size(BATCH_SIZE).start().await.unwrap();
    let mut values = vec![b'x'; size * RUN];
    let began = Instant::now();
    for run in (0..records).step_by(RUN) {
        let count = RUN.min(records - run);
        for (number, value) in (run..).zip(values.chunks_exact_mut(size)) {
            fill(value, number);
        }
        if together {
            drop(producer.enqueue_all(values.chunks_exact(size).take(count)).await.unwrap());
        } else {
            for value in values.chunks_exact(size).take(count) {
                drop(producer.enqueue(value).await.unwrap());
            }
        }
    }
    producer.flush().await.unwrap();
    let took = began.elapsed();
    assert!(producer.close().await.unwrap().undelivered.is_empty(), "nothing may be lost");
    took
}

/// Visits every record, by batches or one at a time, and checks its number.
async fn consume(client: &Client, records: usize, by_batch: bool) -> Duration {
    let began = Instant::now();
    let mut consumer = client.consumer("bench").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    let mut expected = 0u64;
    if by_batch {
        while let Some(batch) = consumer.next_batch().await.unwrap() {
            for record in batch.borrowed() {
                assert_eq!(record.value[..8], expected.to_be_bytes());
                expected += 1;
            }
        }
    } else {
        while let Some(message) = consumer.try_next().await.unwrap() {
            assert_eq!(message.value[..8], expected.to_be_bytes());
            expected += 1;
        }
    }
    assert_eq!(expected as usize, records);
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let (records, size, rounds) = (setting("RECORDS", 3_000_000), setting("SIZE", 100), setting("ROUNDS", 5));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let batches = ready_made(records, size);
    let bytes: usize = batches.iter().map(Bytes::len).sum();
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plain");
        times[0].push(write_file(&file, &batches));
        let url = format!("embedded:{}?durability=os", folder.path().join("store").display());
        runtime.block_on(async {
            let client = Client::connect(&url).await.unwrap();
            times[1].push(produce(&client, "bench", (records, size), true).await);
            times[5].push(produce(&client, "single", (records, size), false).await);
            for _ in 0..PASSES {
                times[2].push(read_file(&file, records));
                times[3].push(consume(&client, records, true).await);
                times[4].push(consume(&client, records, false).await);
            }
            client.close().await.unwrap();
        });
    }
    let [write, produced, read, batched, single, enqueued] = times.map(median);
    println!(
        "{records} records of {size} B, {} MB in batches of {BATCH_SIZE} B, {rounds} rounds, medians",
        bytes / 1_000_000
    );
    let row = |name: &str, took: Duration, peer: Option<Duration>| {
        let seconds = took.as_secs_f64();
        let rate = bytes as f64 / seconds / 1e6;
        let fraction =
            peer.map_or(String::new(), |peer| format!("  {:.2} of the file", peer.as_secs_f64() / seconds));
        println!("{name:<28} {rate:>8.0} MB/s {:>8.2} M records/s{fraction}", records as f64 / seconds / 1e6);
    };
    row("write ready-made batches", write, None);
    row("produce in runs of 64", produced, Some(write));
    row("produce one at a time", enqueued, Some(write));
    row("read file with checksums", read, None);
    row("consume by batches", batched, Some(read));
    row("consume one at a time", single, Some(read));
}
