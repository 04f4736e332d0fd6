//! Describing a topic, also when a partition fails.

use floe::{
    Client, Error, ErrorKind, Result, TopicSpec,
    layer::{Layer, Operation},
};
use futures_util::future::BoxFuture;

/// Offset queries of one partition fail with this kind of error.
#[derive(Debug)]
struct Fails(u32, ErrorKind);

impl Layer for Fails {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        if operation.kind.as_str() == "watermarks" && operation.partition == Some(self.0) {
            return Err(Error::new(self.1, "by order of the test"));
        }
        attempt().await
    }
}

async fn describe_with(layer: Fails) -> Result<floe::admin::TopicDescription> {
    let client = Client::builder("memory:").layer(layer).connect().await?;
    client.admin().create_topic(TopicSpec::new("orders").partitions(100)).await?;
    client.producer("orders").start().await?.send(floe::Record::new("a").partition(99)).await?;
    client.admin().describe("orders").await
}

#[tokio::test]
async fn a_damaged_partition_hides_no_other() {
    let description = describe_with(Fails(7, ErrorKind::CorruptData)).await.unwrap();
    for (number, one) in (0..100).zip(&description.partitions) {
        assert_eq!(one.partition, number);
        match &one.watermarks {
            Ok(marks) => assert_eq!(marks.high, i64::from(number == 99)),
            Err(error) => assert_eq!((number, error.kind()), (7, ErrorKind::CorruptData)),
        }
    }
    assert_eq!(description.partitions.iter().filter(|one| one.watermarks.is_err()).count(), 1);
    assert_eq!(description.partitions.len(), 100);
}

#[tokio::test]
async fn topic_deleted_during_describe_is_an_error() {
    let error = describe_with(Fails(7, ErrorKind::TopicNotFound)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
}
