//! Batches of a selection, at the rate of the client.

use floe::{
    Message, Result,
    consumer::{Consumer, RecordBatch},
};
use futures_util::future::BoxFuture;

use super::caller::Caller;

/// A consumer whose reads count against the rate of the client that asked for them.
pub(super) struct PacedReader {
    pub(super) consumer: Consumer,
    caller: Caller,
    /// A wait for the rate, kept over a read that was cancelled: it is one wait.
    wait: Option<BoxFuture<'static, ()>>,
}

impl PacedReader {
    pub(super) fn new(consumer: Consumer, caller: Caller) -> Self {
        Self { consumer, caller, wait: None }
    }

    /// Returns the next batch; `None` at the end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.paid().await;
        let batch = self.consumer.next_batch().await?;
        self.caller.received(batch.as_ref().map_or(0, RecordBatch::memory));
        Ok(batch)
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn try_next(&mut self) -> Result<Option<Message>> {
        self.paid().await;
        let message = self.consumer.try_next().await?;
        self.caller.received(message.as_ref().map_or(0, message_bytes));
        Ok(message)
    }

    /// Waits until the records that were read are paid for.
    async fn paid(&mut self) {
        let caller = &self.caller;
        let wait = self.wait.get_or_insert_with(|| -> BoxFuture<'static, ()> {
            let caller = caller.clone();
            Box::pin(async move { caller.admit_reading().await })
        });
        wait.await;
        self.wait = None;
    }
}

/// Bytes of key, value and headers.
pub(super) fn message_bytes(message: &Message) -> usize {
    let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
    message.value.len() + message.key.as_ref().map_or(0, |key| key.len()) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use floe::{Client, TopicSpec, consumer::StartAt};
    use tokio::time::Instant;

    use super::*;
    use crate::{
        access::{ClientLimits, Gate, Principal},
        metrics::Frontend,
    };

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_paid_for_before_the_next_read() {
        let client = Client::connect("memory:").await.unwrap();
        client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
        let orders = client.producer("orders").start().await.unwrap();
        for _ in 0..5 {
            orders.send(vec![b'x'; 10_000]).await.unwrap();
        }
        let limits = ClientLimits { consume_bytes_per_second: Some(1_000), ..ClientLimits::default() };
        let gate = Arc::new(Gate::new(None, limits, Arc::default()));
        let session = Arc::new(gate.session(Frontend::Http, Principal::Anonymous, None));
        let consumer =
            client.consumer("orders").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
        let mut reader = PacedReader::new(consumer, Caller::of(session));
        let (begun, mut batches) = (Instant::now(), 0);
        while reader.next_batch().await.unwrap().is_some() {
            batches += 1;
        }
        // One second is free, and each batch is ten seconds.
        assert_eq!(batches, 5);
        assert!(begun.elapsed() >= Duration::from_secs(49), "{:?}", begun.elapsed());
    }
}
