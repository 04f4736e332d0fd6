//! Tests an application against a cluster inside the test: no installation, no fixed port, nothing left behind.
//!
//! `cargo run -p floe-server --example test_kit`

use floe::{Client, Record, TopicSpec, consumer::StartAt};
use floe_server::testkit::TestServer;

/// The application, which knows only a URL.
async fn place_orders(url: &str, count: usize) -> floe::Result<()> {
    let client = Client::connect(url).await?;
    let orders = client.producer("orders").start().await?;
    orders.send_all((0..count).map(|n| Record::keyed("ada", format!("order {n}")))).await?;
    client.close().await
}

/// In an application, this is a `#[tokio::test]`.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let server = TestServer::start().await?;
    server.client().admin().create_topic(TopicSpec::new("orders")).await?;

    place_orders(&format!("fluvio://{}", server.fluvio_address()), 10).await?;

    // The test reads the topic from the engine, without a protocol in between.
    let mut seen = server.client().consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
    let mut count = 0;
    while seen.try_next().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 10);
    println!("{count} orders arrived");
    server.stop().await
}
