//! How an application tests itself against a cluster that lives inside of its own tests: no installation, no fixed port,
//! nothing left behind.
//!
//! `cargo run -p floe-server --example test_kit`

use floe::{Client, Record, TopicSpec, consumer::StartAt};
use floe_server::testkit::TestServer;

/// The application: it knows a URL and nothing of tests.
async fn place_orders(url: &str, count: usize) -> floe::Result<()> {
    let client = Client::connect(url).await?;
    let orders = client.producer("orders").start().await?;
    orders.send_all((0..count).map(|n| Record::keyed("ada", format!("order {n}")))).await?;
    client.close().await
}

/// What would be a `#[tokio::test]` in the application.
#[tokio::main]
pub async fn main() -> floe::Result<()> {
    let server = TestServer::start().await?;
    server.client().admin().create_topic(TopicSpec::new("orders")).await?;

    place_orders(&format!("fluvio://{}", server.fluvio_address()), 10).await?;

    // The test looks at the topic behind the back of the protocol.
    let mut seen = server.client().consumer("orders").from(StartAt::Beginning).stop_at_end().start().await?;
    let mut count = 0;
    while seen.try_next().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 10);
    println!("{count} orders arrived");
    server.stop().await
}
