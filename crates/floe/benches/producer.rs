//! What a record costs on its way through the producer: `cargo bench -p floe --bench producer`.
//!
//! Prints nanoseconds per record of 100 bytes, on the engine `memory:`. `enqueue` is the time of the calling task
//! alone; `delivered` ends when everything is acknowledged.

use std::time::Instant;

use floe::{Client, TopicSpec};

const RECORDS: u32 = 1_000_000;
const VALUE: [u8; 100] = [b'x'; 100];

fn main() -> floe::Result<()> {
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    for (name, runtime) in [("current_thread", single), ("multi_thread", multi)] {
        let runtime = runtime.map_err(|error| {
            floe::Error::new(floe::ErrorKind::InvalidConfig, "no runtime").with_source(error)
        })?;
        for round in 0..3 {
            for (what, linger) in [("linger 0", 0), ("linger 5 ms", 5)] {
                let (enqueue, delivered, batches) = runtime.block_on(run(linger))?;
                println!(
                    "{name:<15} {what:<12} round {round}: enqueue {enqueue:>6.1} ns, delivered {delivered:>6.1} ns, \
                     {:>5} records a batch",
                    u64::from(RECORDS) / batches.max(1)
                );
            }
        }
    }
    Ok(())
}

async fn run(linger_ms: u64) -> floe::Result<(f64, f64, u64)> {
    let client = Client::connect("memory:").await?;
    client.admin().create_topic(TopicSpec::new("bench")).await?;
    let producer = client
        .producer("bench")
        .linger(std::time::Duration::from_millis(linger_ms))
        // Room for everything, so that the first figure shows no waiting.
        .buffer_memory(512 << 20)
        .batch_queue(usize::MAX)
        .start()
        .await?;
    // On a thread of the runtime, where programs send from.
    let task = tokio::spawn(async move {
        let began = Instant::now();
        for _ in 0..RECORDS {
            drop(producer.enqueue(VALUE.as_slice()).await?);
        }
        let enqueued = began.elapsed();
        producer.flush().await?;
        let delivered = began.elapsed();
        let batches = producer.stats().batches;
        let per_record = |time: std::time::Duration| time.as_nanos() as f64 / f64::from(RECORDS);
        Ok((per_record(enqueued), per_record(delivered), batches))
    });
    let figures = task.await.map_err(|error| {
        floe::Error::new(floe::ErrorKind::Closed, "the benchmark panicked").with_source(error)
    })?;
    client.close().await?;
    figures
}
