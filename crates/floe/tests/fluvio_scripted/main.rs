//! The engine for Fluvio against a small cluster in memory that does what a script says: cut replies, wrong ones, none.

mod appends;
mod connections;
mod faults;
mod modules;
mod peer;
mod reads;
mod replicas;
mod sharing;

use std::sync::Arc;

use floe::{
    Client, Topic, TopicPartition,
    engine::{Acks, AppendRequest, BatchReader, Engine, FluvioEngine, Isolation, ReadRequest, Start},
};
use floe_wire::batch::{BatchBuilder, EncodedBatch, FinishOptions};
use peer::{Cluster, SC, TOPIC};

async fn connect(cluster: &Cluster) -> FluvioEngine {
    connect_with(cluster, "").await.unwrap()
}

async fn connect_with(cluster: &Cluster, options: &str) -> floe::Result<FluvioEngine> {
    FluvioEngine::connect_over(&format!("fluvio://sc:{SC}{options}"), Arc::new(cluster.clone())).await
}

fn client(engine: &FluvioEngine) -> Client {
    Client::over(Arc::new(engine.clone()))
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

/// All values that the cluster stores in a partition.
fn stored(cluster: &Cluster, partition: u32) -> Vec<String> {
    cluster.state.lock().partitions[&partition].iter().flat_map(values).collect()
}
