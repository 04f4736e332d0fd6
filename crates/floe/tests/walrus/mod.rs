//! Clients of the scripted Walrus cluster, for the tests of the engine.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of this")]

use std::sync::Arc;

use floe::{
    Client, Error, ErrorKind, Result,
    consumer::{Consumer, StartAt},
    engine::WalrusEngine,
    net::{Dial, Endpoint, Stream},
};
use floe_testkit::walrus::Cluster;
use futures_util::future::BoxFuture;

/// Dials the scripted cluster in place of the network.
#[derive(Debug)]
struct ScriptedDial(Cluster);

impl Dial for ScriptedDial {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> BoxFuture<'a, Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let refused =
                |error| Error::new(ErrorKind::ConnectionRefused, "connection refused").with_source(error);
            Ok(Box::new(self.0.connect(&to.host).map_err(refused)?) as Box<dyn Stream>)
        })
    }
}

/// Returns a client of the cluster; `options` is the query of the URL.
pub async fn client(cluster: &Cluster, options: &str) -> Client {
    try_client(cluster, options).await.unwrap().0
}

/// Returns a client and its engine.
pub async fn try_client(cluster: &Cluster, options: &str) -> Result<(Client, Arc<WalrusEngine>)> {
    let url = format!("walrus://{}?{options}", cluster.hosts()).parse()?;
    let dial = Arc::new(ScriptedDial(cluster.clone()));
    let engine = Arc::new(WalrusEngine::connect_with(&url, dial).await?);
    Ok((Client::from_engine(engine.clone()), engine))
}

/// Starts a consumer at the topic's cursor.
pub async fn consumer(client: &Client, topic: &str) -> Consumer {
    client.consumer(topic).from(StartAt::Beginning).start().await.unwrap()
}

/// Reads the next records and returns their values.
pub async fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let message = consumer.try_next().await.unwrap().expect("the consumer ended");
        values.push(String::from_utf8(message.value.to_vec()).unwrap());
    }
    values
}

/// Returns `name-0`, `name-1`, …
pub fn numbered(name: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{name}-{number}")).collect()
}
