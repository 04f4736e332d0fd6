//! The Fluvio engine against a scripted in-memory cluster: cut, malformed and missing replies.

mod appends;
mod connections;
mod faults;
mod hostile;
mod modules;
mod reads;
mod replicas;
mod sharing;

use std::sync::Arc;

use floe::{
    Client, Error, ErrorKind, Topic, TopicPartition,
    engine::{Acks, AppendRequest, BatchReader, Engine, FluvioEngine, Isolation, ReadRequest, Start},
    net::{Dial, Endpoint, Stream},
};
use floe_testkit::fluvio::{Cluster, SC, TOPIC};
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};
use futures_util::future::BoxFuture;

/// Dials the scripted cluster in place of the network.
#[derive(Debug)]
struct ScriptedDial(Cluster);

impl Dial for ScriptedDial {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, floe::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let refused =
                |error| Error::new(ErrorKind::ConnectionRefused, "connection refused").with_source(error);
            Ok(Box::new(self.0.connect(to.port).map_err(refused)?) as Box<dyn Stream>)
        })
    }
}

async fn connect(cluster: &Cluster) -> FluvioEngine {
    connect_with(cluster, "").await.unwrap()
}

async fn connect_with(cluster: &Cluster, options: &str) -> floe::Result<FluvioEngine> {
    let dial = Arc::new(ScriptedDial(cluster.clone()));
    FluvioEngine::connect_over(&format!("fluvio://sc:{SC}{options}"), dial).await
}

fn client(engine: &FluvioEngine) -> Client {
    Client::from_engine(Arc::new(engine.clone()))
}

fn at(partition: u32) -> TopicPartition {
    Topic::from(TOPIC).partition(partition)
}

fn batch(values: &[&str]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(256);
    for value in values {
        builder.append(1, None, value.as_bytes(), &[]).unwrap();
    }
    builder.finish(FinishOptions::default()).unwrap()
}

fn request(partition: u32, value: &str) -> AppendRequest {
    AppendRequest::new(at(partition), batch(&[value]), Acks::Leader)
}

async fn open(engine: &FluvioEngine, from: Start, max_bytes: usize) -> Box<dyn BatchReader> {
    let isolation = Isolation::ReadUncommitted;
    engine.open(ReadRequest::new(at(0), from).max_bytes(max_bytes).isolation(isolation)).await.unwrap()
}

fn values(batch: &EncodedBatch) -> Vec<String> {
    batch.verify_checksum().unwrap();
    let records = batch.records().unwrap();
    records.map(|record| String::from_utf8(record.unwrap().value.to_vec()).unwrap()).collect()
}

/// Returns all values stored in a partition of the cluster.
fn stored(cluster: &Cluster, partition: u32) -> Vec<String> {
    cluster.state.lock().partitions[&partition].iter().flat_map(values).collect()
}
