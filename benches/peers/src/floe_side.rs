//! Measurements of floe.

use std::time::{Duration, Instant};

use floe::{Client, Producer, consumer::StartAt};
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    Outcome,
    figures::{Audit, Figures},
    job::{BenchmarkJob, Codec, Work},
    payload::Payload,
    usage::Meter,
};

/// Time without records after which missing ones count as lost.
const SILENCE: Duration = Duration::from_secs(3);

pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

pub(crate) async fn connect(sc: &str) -> Outcome<Client> {
    Ok(Client::connect(&format!("fluvio://{sc}")).await?)
}

pub(crate) async fn run(job: BenchmarkJob) -> Outcome<Figures> {
    let client = connect(&job.sc).await?;
    // On a thread of the runtime, as in applications.
    let work = match job.work {
        Work::Produce { size, batch, codec } => tokio::spawn(produce(client, job, size, (batch, codec))),
        Work::Consume { max_bytes, by_batch } => tokio::spawn(consume(client, job, max_bytes, by_batch)),
        Work::Latency { size } => tokio::spawn(latency(client, job, size)),
        Work::Stall { seconds } => tokio::spawn(stall(client, job, seconds)),
        Work::Encode { .. } => return Err("only without a client".into()),
    };
    work.await?
}

async fn producer(client: &Client, topic: &str, batch: Option<usize>, codec: Codec) -> Outcome<Producer> {
    let mut builder = client.producer(topic).compression(match codec {
        Codec::None => floe::Codec::None,
        Codec::Lz4 => floe::Codec::Lz4,
        Codec::Zstd => floe::Codec::Zstd,
    });
    if let Some(batch) = batch {
        builder = builder.batch_size(batch);
    }
    Ok(builder.start().await?)
}

async fn produce(
    client: Client,
    job: BenchmarkJob,
    size: usize,
    (batch, codec): (Option<usize>, Codec),
) -> Outcome<Figures> {
    let producer = producer(&client, &job.topic, batch, codec).await?;
    let mut payload = Payload::new(size);
    let meter = Meter::start();
    let mut errors = 0;
    for number in 0..job.records {
        errors += u64::from(producer.enqueue(payload.record(number)).await.is_err());
    }
    errors += u64::from(producer.flush().await.is_err());
    Ok(Figures { records: job.records, errors, ..meter.stop() })
}

async fn consume(
    client: Client,
    job: BenchmarkJob,
    max_bytes: Option<i32>,
    by_batch: bool,
) -> Outcome<Figures> {
    let mut audit = Audit::new(job.records);
    let mut errors = 0;
    let meter = Meter::start();
    let mut builder = client.consumer(job.topic.as_str()).from(StartAt::Beginning);
    if let Some(max_bytes) = max_bytes {
        builder = builder.fetch_bytes(max_bytes.try_into()?);
    }
    let mut consumer = builder.start().await?;
    let mut last = Instant::now();
    // The deadline is checked only while the client waits, as on the other side.
    while !audit.complete() {
        let heard = audit.received();
        let ended = timeout(SILENCE, async {
            while !audit.complete() && audit.received() < heard + 100_000 {
                if by_batch {
                    match consumer.next_batch().await {
                        Ok(Some(batch)) => batch.borrowed().for_each(|record| audit.record(record.value)),
                        Ok(None) => return true,
                        Err(_) => errors += 1,
                    }
                } else {
                    match consumer.try_next().await {
                        Ok(Some(message)) => audit.record(&message.value),
                        Ok(None) => return true,
                        Err(_) => errors += 1,
                    }
                }
                if errors > 100 {
                    return true;
                }
            }
            false
        })
        .await;
        if audit.received() > heard {
            last = Instant::now();
        }
        if ended.unwrap_or(audit.received() == heard) {
            break;
        }
    }
    let mut figures = if audit.complete() { meter.stop() } else { meter.stop_at(last) };
    audit.judge(&mut figures);
    figures.errors = errors;
    Ok(figures)
}

async fn latency(client: Client, job: BenchmarkJob, size: usize) -> Outcome<Figures> {
    let producer = producer(&client, &job.topic, None, Codec::None).await?;
    let mut payload = Payload::new(size);
    let mut times = Vec::with_capacity(job.records as usize);
    let meter = Meter::start();
    for number in 0..job.records {
        let value = payload.record(number);
        let began = Instant::now();
        producer.send(value).await?;
        times.push(began.elapsed().as_nanos() as u64);
    }
    Ok(Figures { records: job.records, ..meter.stop() }.with_latencies(times))
}

async fn stall(client: Client, job: BenchmarkJob, seconds: u64) -> Outcome<Figures> {
    let mut consumer = client.consumer(job.topic.as_str()).from(StartAt::Beginning).start().await?;
    let meter = Meter::start();
    consumer.try_next().await?.ok_or("there is no record")?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(Figures { records: 1, ..meter.stop() })
}
