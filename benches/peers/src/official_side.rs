//! Measurements of the official client.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use fluvio::{
    Compression, Fluvio, FluvioClusterConfig, Isolation, Offset, RecordKey, TopicProducerConfigBuilder,
    TopicProducerPool, consumer::ConsumerConfigExtBuilder,
};
use fluvio_future::timer::sleep;
use futures_util::{
    StreamExt,
    future::{Either, select},
};

use crate::{
    Outcome,
    figures::{Audit, Figures},
    job::{BenchmarkJob, Codec, Work},
    payload::Payload,
    usage::Meter,
};

/// Time without records after which missing ones count as lost.
const SILENCE: Duration = Duration::from_secs(3);

pub(crate) async fn run(job: BenchmarkJob) -> Outcome<Figures> {
    let client = Fluvio::connect_with_config(&FluvioClusterConfig::new(job.sc.as_str())).await?;
    match job.work {
        Work::Produce { size, batch, codec } => produce(&client, &job, size, (batch, codec)).await,
        Work::Consume { max_bytes, .. } => consume(&client, &job, max_bytes).await,
        Work::Latency { size } => latency(&client, &job, size).await,
        Work::Stall { seconds } => stall(&client, &job, seconds).await,
        Work::Encode { .. } => Err("only without a client".into()),
    }
}

async fn producer(
    client: &Fluvio,
    topic: &str,
    (batch, codec): (Option<usize>, Codec),
    linger: Option<Duration>,
) -> Outcome<TopicProducerPool> {
    let mut config = TopicProducerConfigBuilder::default();
    config.isolation(Isolation::ReadUncommitted).compression(match codec {
        Codec::None => Compression::None,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    });
    if let Some(batch) = batch {
        config.batch_size(batch);
    }
    if let Some(linger) = linger {
        config.linger(linger);
    }
    Ok(client.topic_producer_with_config(topic, config.build()?).await?)
}

async fn produce(
    client: &Fluvio,
    job: &BenchmarkJob,
    size: usize,
    (batch, codec): (Option<usize>, Codec),
) -> Outcome<Figures> {
    let producer = producer(client, &job.topic, (batch, codec), None).await?;
    let mut payload = Payload::new(size);
    let meter = Meter::start();
    let mut errors = 0;
    for number in 0..job.records {
        errors += u64::from(producer.send(RecordKey::NULL, payload.record(number)).await.is_err());
    }
    errors += u64::from(producer.flush().await.is_err());
    Ok(Figures { records: job.records, errors, ..meter.stop() })
}

async fn consume(client: &Fluvio, job: &BenchmarkJob, max_bytes: Option<i32>) -> Outcome<Figures> {
    let mut config = ConsumerConfigExtBuilder::default();
    config.topic(job.topic.clone()).offset_start(Offset::beginning()).isolation(Isolation::ReadUncommitted);
    if let Some(max_bytes) = max_bytes {
        config.max_bytes(max_bytes);
    }
    let config = config.build()?;
    let mut audit = Audit::new(job.records);
    let mut errors = 0;
    let meter = Meter::start();
    let mut records = client.consumer_with_config(config).await?;
    let mut last = Instant::now();
    // One timer for many records: a timer per record would add a cost that the official client does not have.
    let mut silence = Box::pin(sleep(SILENCE));
    let mut heard = 0;
    while !audit.complete() {
        match select(pin!(records.next()), &mut silence).await {
            Either::Left((Some(Ok(record)), _)) => {
                audit.record(record.value());
                if audit.received() % 1024 == 0 {
                    last = Instant::now();
                }
            }
            Either::Left((Some(Err(_)), _)) => errors += 1,
            Either::Left((None, _)) => break,
            Either::Right(_) if audit.received() > heard => {
                heard = audit.received();
                silence = Box::pin(sleep(SILENCE));
            }
            Either::Right(_) => break,
        }
        if errors > 100 {
            break;
        }
    }
    let mut figures = if audit.complete() { meter.stop() } else { meter.stop_at(last) };
    audit.judge(&mut figures);
    figures.errors = errors;
    Ok(figures)
}

async fn latency(client: &Fluvio, job: &BenchmarkJob, size: usize) -> Outcome<Figures> {
    let producer = producer(client, &job.topic, (None, Codec::None), Some(Duration::ZERO)).await?;
    let mut payload = Payload::new(size);
    let mut times = Vec::with_capacity(job.records as usize);
    let meter = Meter::start();
    for number in 0..job.records {
        let value = payload.record(number);
        let began = Instant::now();
        producer.send(RecordKey::NULL, value).await?.wait().await?;
        times.push(began.elapsed().as_nanos() as u64);
    }
    Ok(Figures { records: job.records, ..meter.stop() }.with_latencies(times))
}

async fn stall(client: &Fluvio, job: &BenchmarkJob, seconds: u64) -> Outcome<Figures> {
    let mut config = ConsumerConfigExtBuilder::default();
    config.topic(job.topic.clone()).offset_start(Offset::beginning());
    let mut records = client.consumer_with_config(config.build()?).await?;
    let meter = Meter::start();
    records.next().await.ok_or("there is no record")??;
    sleep(Duration::from_secs(seconds)).await;
    Ok(Figures { records: 1, ..meter.stop() })
}
