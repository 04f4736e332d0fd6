//! Records written to and read from a real Walrus cluster, in records a second, and whether all of them came back, once
//! and in order. Kill nodes meanwhile to see what survives.
//!
//! ```text
//! cargo bench -p floe --bench walrus -- 'walrus://127.0.0.1:9091?framing=plain' [RECORDS] [BYTES] [CODEC]
//! ```
//!
//! Without a URL there is nothing to measure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use floe::{Client, Codec, Consumer, TopicSpec, consumer::StartAt, engine::WalrusEngine};

/// Records that have not arrived after so long a silence are lost.
const SILENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> floe::Result<()> {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let Some(url) = args.next() else {
        println!("no URL of a Walrus cluster was given: nothing is measured");
        return Ok(());
    };
    let count: usize = args.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let size: usize = args.next().and_then(|size| size.parse().ok()).unwrap_or(100);
    let codec: Codec = args.next().and_then(|codec| codec.parse().ok()).unwrap_or_default();
    let engine = Arc::new(WalrusEngine::connect(&url.parse()?).await?);
    let client = Client::from_engine(engine.clone());
    let topic = format!("bench-{}", std::process::id());
    client.admin().create_topic(TopicSpec::new(topic.as_str())).await?;

    let producer = client
        .producer(topic.as_str())
        .linger(Duration::from_millis(5))
        .timeout(Duration::from_secs(300))
        .compression(codec)
        .start()
        .await?;
    let started = Instant::now();
    for number in 0..count {
        // The outcomes are collected by the flush.
        drop(producer.enqueue(value(number, size)).await?);
    }
    producer.flush().await?;
    let written = started.elapsed();
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    println!("{count} records of {size} B, {codec}: write {:.0}/s", rate(written));
    println!("{:?}", producer.stats());

    let mut consumer = client.consumer(topic.as_str()).from(StartAt::Beginning).start().await?;
    read_back(&mut consumer, count).await?;
    println!("{:?}", engine.stats());
    client.close().await
}

/// Returns text of which half repeats, as log lines do.
fn value(number: usize, size: usize) -> String {
    let noise = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut line = format!("{number:012} {noise:016x} user logged in from the office ");
    while line.len() < size {
        let more = noise.rotate_left(line.len() as u32);
        line.push_str(&format!("{more:016x}"));
    }
    line.truncate(size);
    while line.ends_with(' ') {
        line.pop();
        line.push('.');
    }
    line
}

/// Reads until all records or none arrive, and prints the rate and the records that are lost, repeated or out of order.
async fn read_back(consumer: &mut Consumer, count: usize) -> floe::Result<()> {
    let started = Instant::now();
    let mut taken = Duration::ZERO;
    // How often each record came, and how many came after later ones.
    let (mut times, mut read, mut late, mut newest) = (vec![0u32; count], 0, 0, 0);
    while read < count {
        let Ok(next) = tokio::time::timeout(SILENCE, consumer.next_batch()).await else { break };
        let Some(batch) = next? else { break };
        taken = started.elapsed();
        for record in batch.borrowed() {
            let number = record.value.get(..12).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            let Some(number) = number else { continue };
            if let Some(times) = times.get_mut(number) {
                *times += 1;
                read += usize::from(*times == 1);
            }
            late += usize::from(number < newest);
            newest = newest.max(number);
        }
    }
    let repeated = times.iter().filter(|times| **times > 1).count();
    println!("lost {}, repeated {repeated}, out of order {late}", count - read);
    println!("{read} of them: read {:.0}/s", read as f64 / taken.as_secs_f64());
    Ok(())
}
