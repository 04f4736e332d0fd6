//! Notices a coordination log that went backwards and has grown again beyond the place where a reader stands.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::{
    Error, ErrorKind, Message, Result,
    consumer::fetch_range::{FetchLimit, fetch_range},
    engine::{BatchReader, SharedEngine},
    layer::{Layer, Operation, OperationKind},
    topic::TopicPartition,
};

/// The last record that was read of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenRecord {
    offset: i64,
    hash: u64,
}

impl SeenRecord {
    fn new(offset: i64, time: Option<i64>, key: Option<&[u8]>, value: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (time, key, value).hash(&mut hasher);
        Self { offset, hash: hasher.finish() }
    }

    pub(super) fn of(message: &Message) -> Self {
        Self::new(message.offset, message.timestamp, message.key.as_deref(), &message.value)
    }

    fn last_of(batch: &EncodedBatch) -> Option<Self> {
        let last = batch.records().ok()?.map_while(std::result::Result::ok).last()?;
        Some(Self::new(last.offset, last.timestamp, last.key.as_deref(), &last.value))
    }
}

/// Layer below the reader of the coordination partition. Whenever a reader was opened, it reads the last record again that the
/// one before has read: if the log has another record in its place, its end was lost meanwhile. A loss comes with the end of
/// the connection, so that later records of an open reader follow those before.
#[derive(Debug)]
pub(super) struct TailGuard {
    engine: SharedEngine,
    at: TopicPartition,
    seen: Arc<Mutex<Option<SeenRecord>>>,
}

impl TailGuard {
    pub(super) fn new(engine: SharedEngine, at: TopicPartition, seen: Option<SeenRecord>) -> Self {
        Self { engine, at, seen: Arc::new(Mutex::new(seen)) }
    }

    /// Reads the last record again.
    async fn check(&self) -> Result<()> {
        let Some(seen) = *self.seen.lock() else { return Ok(()) };
        let bounds = self.engine.watermarks(self.at.clone()).await?;
        if seen.offset < bounds.start {
            // Retention has removed it.
            return Ok(());
        }
        if seen.offset >= bounds.high {
            // A new leader may not know yet what is committed. If the record is lost, the next reader is refused.
            return Err(Error::new(ErrorKind::NetworkError, "the record read last is not there yet"));
        }
        let limit = FetchLimit::default().records(1);
        let found = fetch_range(&self.engine, self.at.clone(), seen.offset, limit).await?;
        if found.first().is_some_and(|message| SeenRecord::of(message) == seen) {
            return Ok(());
        }
        let message = format!("the log went backwards: another record has the offset {}", seen.offset);
        Err(Error::new(ErrorKind::CorruptData, message).with_topic(&self.at.topic))
    }
}

impl Layer for TailGuard {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let outcome = attempt().await?;
        if operation.kind == OperationKind::Open {
            self.check().await?;
        }
        Ok(outcome)
    }

    fn wrap_reader(&self, _: &Operation, reader: Box<dyn BatchReader>) -> Box<dyn BatchReader> {
        Box::new(GuardedReader { reader, seen: Arc::clone(&self.seen) })
    }
}

#[derive(Debug)]
struct GuardedReader {
    reader: Box<dyn BatchReader>,
    seen: Arc<Mutex<Option<SeenRecord>>>,
}

impl BatchReader for GuardedReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move {
            let next = self.reader.next().await?;
            if let Some(last) = next.as_ref().and_then(SeenRecord::last_of) {
                *self.seen.lock() = Some(last);
            }
            Ok(next)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        self.reader.ready()
    }

    fn looked_up_to(&self) -> Option<i64> {
        self.reader.looked_up_to()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Client, Record, TopicSpec,
        engine::{ReadRequest, Start},
        topic::Topic,
    };

    async fn write(client: &Client, values: &[&str]) {
        client.admin().create_topic(TopicSpec::new("log")).await.unwrap();
        let producer = client.producer("log").start().await.unwrap();
        for value in values {
            producer.send(Record::new((*value).to_owned())).await.unwrap();
        }
        assert_eq!(producer.close().await.unwrap().undelivered.len(), 0);
    }

    #[tokio::test]
    async fn a_log_that_went_backwards_and_grew_again_is_noticed() {
        let client = Client::connect("memory:").await.unwrap();
        write(&client, &["a", "b", "c"]).await;
        let at = Topic::from("log").partition(0);
        let guarded = TailGuard::new(Arc::clone(client.engine()), at.clone(), None);
        let engine = guarded.layer(Arc::clone(client.engine()));
        let open = |from: i64| engine.open(ReadRequest::new(at.clone(), Start::Offset(from)));
        let mut reader = open(0).await.unwrap();
        let mut next = 0;
        while next < 3 {
            next = reader.next().await.unwrap().unwrap().next_offset();
        }
        drop(reader);
        // The connection broke, and nothing was lost.
        open(3).await.unwrap();

        // The last record was lost, and another one came in its place.
        client.admin().delete_topic("log").await.unwrap();
        write(&client, &["a", "b", "d", "e"]).await;
        let error = open(3).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CorruptData);
        assert!(error.to_string().contains("went backwards"), "{error}");

        // The last record was lost, and nothing has come in its place yet.
        client.admin().delete_topic("log").await.unwrap();
        write(&client, &["a", "b"]).await;
        assert!(open(3).await.is_err());
    }
}
