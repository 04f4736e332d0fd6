//! Handles several records concurrently.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{Consumer, message::Message, settings::AckMode};
use crate::{Error, ErrorKind, payload::RecordDecoder};

impl<C: RecordDecoder> Consumer<C> {
    /// Calls `handle` for each record, with at most `max_concurrency` records in progress, and acknowledges each record when
    /// its handler has succeeded. Returns when the consumer ends. The handlers run concurrently on the calling task; a
    /// handler that computes for long should spawn. Needs [`AckMode::Explicit`], so that stored offsets follow the oldest
    /// unfinished record.
    ///
    /// In a [shared group](super::ConsumerBuilder::shared) a handler is dropped at its next `await` once another member may
    /// have the partition of its record; that member handles the record again.
    ///
    /// For order per key, retries and dead letters, use a [processor](crate::processor).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # let client = floe::Client::connect("memory:").await?;
    /// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// use floe::consumer::{AckMode, StartAt};
    ///
    /// client.producer("orders").start().await?.send_all(["tea", "milk"]).await?;
    /// let mut orders = client
    ///     .consumer("orders")
    ///     .from(StartAt::Beginning)
    ///     .ack_mode(AckMode::Explicit)
    ///     .stop_at_end()
    ///     .start()
    ///     .await?;
    /// orders
    ///     .handle_each(8, async |order| {
    ///         println!("{} bytes", order.value.len());
    ///         Ok::<_, floe::Error>(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error of a handler or of the consumer, after the running handlers have ended. A record whose handler failed
    /// is not acknowledged. [`ErrorKind::InvalidCommand`] without [`AckMode::Explicit`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the handlers as well, and their records are not acknowledged.
    pub async fn handle_each<F, Fut, E>(&mut self, max_concurrency: usize, mut handle: F) -> Result<(), E>
    where
        F: FnMut(Message<C::Value>) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        if self.core.settings.ack_mode != AckMode::Explicit {
            let message = "concurrent handlers need AckMode::Explicit, because any of them may finish first";
            return Err(Error::new(ErrorKind::InvalidCommand, message).into());
        }
        let mut running = FuturesUnordered::new();
        let mut failed = None;
        let mut reads = true;
        while reads || !running.is_empty() {
            tokio::select! {
                biased;
                Some(outcome) = running.next() => if let Err(error) = outcome {
                    failed.get_or_insert(error);
                    reads = false;
                },
                next = self.try_next(), if reads && running.len() < max_concurrency.max(1) => match next {
                    Ok(Some(message)) => {
                        let receipt = message.receipt();
                        let handling = handle(message);
                        running.push(async move {
                            if let Some(outcome) = receipt.while_held(handling).await {
                                outcome?;
                                receipt.ack();
                            }
                            Ok(())
                        });
                    }
                    Ok(None) => reads = false,
                    Err(error) => {
                        failed.get_or_insert(error.into());
                        reads = false;
                    }
                },
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
