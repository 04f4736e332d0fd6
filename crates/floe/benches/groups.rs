//! The cost of an idle shared group: `cargo bench -p floe --bench groups`.
//!
//! The members of a group share the partitions of a topic in this process, on the engine `memory:`, and no record comes. The
//! report has the time until the shares were even, and then the processor time of the process and the bytes of the coordination
//! topic, for a minute. `MEMBERS`, `PARTITIONS` and `SECONDS` in the environment change the defaults of 100, 1,000 and 60.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run shall stop")]
#![allow(clippy::print_stdout, reason = "the report")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use floe::{
    Client, Result, TopicSpec,
    engine::BatchReader,
    layer::{Layer, Operation},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

/// Ticks in which Linux counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes that all members together have read of the coordination topic, as a layer.
#[derive(Debug, Clone, Default)]
struct Coordination(Arc<AtomicU64>);

impl Layer for Coordination {
    async fn around<'a, T, F>(&'a self, _: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        attempt().await
    }

    fn wrap_reader(&self, operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        if operation.topic.as_ref().is_some_and(|topic| topic.as_str() == "floe-groups") {
            Box::new(Counted { reader, bytes: Arc::clone(&self.0) })
        } else {
            reader
        }
    }
}

#[derive(Debug)]
struct Counted {
    reader: Box<dyn BatchReader>,
    bytes: Arc<AtomicU64>,
}

impl BatchReader for Counted {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let batch = self.reader.next().await?;
            let bytes = batch.as_ref().map_or(0, EncodedBatch::len);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(batch)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Processor time of this process so far, in seconds; `None` where the system does not tell.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process, in brackets, may have spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Waits until each member has its share, for some minutes at most.
async fn until_even(client: &Client, members: usize, partitions: usize) {
    for _ in 0..3000 {
        let group = client.groups().describe("billing").await.unwrap();
        let has_share = |id: &str| {
            let owned = group.partitions.iter().filter(|at| at.member.as_deref() == Some(id)).count();
            (partitions / members..=partitions.div_ceil(members)).contains(&owned)
        };
        if group.members.len() == members && group.members.iter().all(|member| has_share(&member.id)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the shares are uneven");
}

async fn run(members: usize, partitions: usize, seconds: usize) {
    let coordination = Coordination::default();
    let store = Client::connect("memory:").await.unwrap();
    let client = Client::from_engine(coordination.clone().layer(Arc::clone(store.engine())));
    let spec = TopicSpec::new("orders").partitions(u32::try_from(partitions).unwrap());
    client.admin().create_topic(spec).await.unwrap();
    let began = Instant::now();
    for _ in 0..members {
        let mut consumer = client.consumer("orders").group("billing").shared().start().await.unwrap();
        tokio::spawn(async move { while let Ok(Some(_)) = consumer.try_next().await {} });
    }
    until_even(&client, members, partitions).await;
    println!("{members} members over {partitions} partitions: even after {:.1?}", began.elapsed());

    let (began, bytes_before) = (Instant::now(), coordination.0.load(Ordering::Relaxed));
    let computed_before = processor_time();
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let took = began.elapsed().as_secs_f64();
    let read = (coordination.0.load(Ordering::Relaxed) - bytes_before) as f64 / took;
    if let Some((before, after)) = computed_before.zip(processor_time()) {
        println!("idle: {:.1} % of a processor", (after - before) / took * 100.0);
    }
    println!(
        "idle: {:.0} bytes/s written by all members, {:.0} bytes/s read by all, {:.0} by each",
        read / members as f64,
        read,
        read / members as f64
    );
}

fn main() {
    let (members, partitions) = (setting("MEMBERS", 100), setting("PARTITIONS", 1000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(members, partitions, setting("SECONDS", 60)));
}
