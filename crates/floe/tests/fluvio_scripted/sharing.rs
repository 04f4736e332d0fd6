//! Readers of one data server share a few connections.

use floe::engine::{BatchReader, Engine, FluvioEngine, ReadRequest, Start};
use floe_testkit::fluvio::{Cluster, SC};

use super::{at, batch, connect, values};

const READERS: u32 = 40;

/// Creates a cluster with one batch per partition, named after the partition.
fn cluster() -> Cluster {
    let cluster = Cluster::new(READERS);
    for partition in 0..READERS {
        cluster.append(partition, batch(&[&format!("first of {partition}")]));
    }
    cluster
}

async fn reader(engine: &FluvioEngine, partition: u32) -> Box<dyn BatchReader> {
    engine.open(ReadRequest::new(at(partition), Start::Earliest)).await.unwrap()
}

async fn readers(engine: &FluvioEngine) -> Vec<Box<dyn BatchReader>> {
    let mut readers = Vec::new();
    for partition in 0..READERS {
        readers.push(reader(engine, partition).await);
    }
    readers
}

async fn next(reader: &mut Box<dyn BatchReader>) -> Vec<String> {
    values(&reader.next().await.unwrap().unwrap())
}

/// Returns the number of connections to data servers so far.
fn dialled(cluster: &Cluster) -> usize {
    cluster.state.lock().dialled.iter().filter(|port| **port != SC).count()
}

#[tokio::test(start_paused = true)]
async fn readers_share_few_connections() {
    let cluster = cluster();
    let engine = connect(&cluster).await;
    let mut readers = readers(&engine).await;
    // One for requests, four for streams.
    assert_eq!(dialled(&cluster), 5);
    for (reader, partition) in readers.iter_mut().zip(0..) {
        assert_eq!(next(reader).await, [format!("first of {partition}")]);
    }
    // The other readers stall, and do not block this one.
    for round in 0..20 {
        for partition in 0..READERS {
            cluster.append(partition, batch(&[&format!("{round} of {partition}")]));
        }
        assert_eq!(next(&mut readers[7]).await, [format!("{round} of 7")]);
    }
    assert_eq!(next(&mut readers[8]).await, ["0 of 8"]);
    assert_eq!(dialled(&cluster), 5);
}

#[tokio::test(start_paused = true)]
async fn last_reader_closes_the_shared_connection() {
    let cluster = cluster();
    let engine = connect(&cluster).await;
    let mut readers = readers(&engine).await;
    let mut last = readers.pop().unwrap();
    drop(readers);
    cluster.append(READERS - 1, batch(&["still here"]));
    assert_eq!(next(&mut last).await, [format!("first of {}", READERS - 1)]);
    assert_eq!(next(&mut last).await, ["still here"]);
    drop(last);
    let before = dialled(&cluster);
    let mut again = reader(&engine, 3).await;
    assert_eq!(next(&mut again).await, ["first of 3"]);
    assert_eq!(dialled(&cluster), before + 1, "the last reader closed its connection");
}

#[tokio::test(start_paused = true)]
async fn connection_with_many_abandoned_streams_takes_no_more() {
    let cluster = cluster();
    let engine = connect(&cluster).await;
    let _kept = readers(&engine).await;
    let before = dialled(&cluster);
    for _ in 0..100 {
        let mut passing = reader(&engine, 0).await;
        assert_eq!(next(&mut passing).await, ["first of 0"]);
    }
    let more = dialled(&cluster) - before;
    assert!((1..100).contains(&more), "{more} connections for 100 short readers");
}

#[tokio::test(start_paused = true)]
async fn broken_shared_connection_is_not_reused() {
    let cluster = cluster();
    let engine = connect(&cluster).await;
    let mut readers = readers(&engine).await;
    for reader in &mut readers {
        next(reader).await;
    }
    cluster.hang_up();
    for reader in &mut readers {
        reader.next().await.unwrap_err();
    }
    // The old readers still exist.
    let mut fresh = reader(&engine, 5).await;
    assert_eq!(next(&mut fresh).await, ["first of 5"]);
}
