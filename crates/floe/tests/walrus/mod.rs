//! A small Walrus cluster inside the test, and what tests of the engine share.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]

pub mod server;

use std::sync::Arc;

use floe::{
    Client, Result,
    consumer::{Consumer, StartAt},
    engine::WalrusEngine,
};
use server::Cluster;

/// A client of the cluster, with options for the URL.
pub async fn client(cluster: &Cluster, options: &str) -> Client {
    try_client(cluster, options).await.unwrap().0
}

/// The client and its engine.
pub async fn try_client(cluster: &Cluster, options: &str) -> Result<(Client, Arc<WalrusEngine>)> {
    let url = format!("walrus://{}?{options}", cluster.hosts()).parse()?;
    let engine = Arc::new(WalrusEngine::connect_with(&url, Arc::new(cluster.clone())).await?);
    Ok((Client::over(engine.clone()), engine))
}

/// A consumer that begins where the cursor of the topic is.
pub async fn consumer(client: &Client, topic: &str) -> Consumer {
    client.consumer(topic).from(StartAt::Beginning).start().await.unwrap()
}

/// The values of the next records.
pub async fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let message = consumer.try_next().await.unwrap().expect("the consumer ended");
        values.push(String::from_utf8(message.value.to_vec()).unwrap());
    }
    values
}

/// `name-0`, `name-1`, …
pub fn numbered(name: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{name}-{number}")).collect()
}
