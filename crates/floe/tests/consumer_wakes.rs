//! A consumer delivers buffered records at once, also while its readers reconnect.

use std::time::Duration;

use floe::{
    Client, Error, ErrorKind, Result, RetryPolicy, TopicSpec,
    consumer::StartAt,
    engine::BatchReader,
    layer::{Layer, Operation},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Readers of this engine return one batch and then fail.
#[derive(Debug)]
struct OneEach;

#[derive(Debug)]
struct OneOf {
    reader: Box<dyn BatchReader>,
    given: bool,
}

impl Layer for OneEach {
    fn wrap_reader(&self, _operation: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(OneOf { reader, given: false })
    }
}

impl BatchReader for OneOf {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        if std::mem::replace(&mut self.given, true) {
            return Box::pin(async { Err(Error::new(ErrorKind::NetworkError, "broken")) });
        }
        self.reader.next()
    }
}

#[tokio::test(start_paused = true)]
async fn reader_reopens_promptly_for_a_new_record() -> Result<()> {
    let client = Client::builder("memory:").layer(OneEach).connect().await?;
    client.admin().create_topic(TopicSpec::new("orders")).await?;
    let producer = client.producer("orders").start().await?;
    let patient = Duration::from_secs(600);
    let mut consumer = client
        .consumer("orders")
        .from(StartAt::Beginning)
        .retry(RetryPolicy::default().first_delay(patient).max_delay(patient))
        .start()
        .await?;
    // A task of its own, which only the consumer's waker polls.
    let waiting = tokio::spawn(async move {
        let message = consumer.try_next().await;
        (message, Instant::now())
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    producer.send("a").await?;
    let sent = Instant::now();
    let (message, came) = waiting.await.expect("the consumer does not panic");
    assert_eq!(message?.as_ref().map(|message| &message.value[..]), Some(&b"a"[..]));
    assert_eq!(came - sent, Duration::ZERO, "the record was delayed");
    Ok(())
}
