//! Handling several records at once.

use std::future::Future;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{AckMode, Consumer, Message};
use crate::{Error, ErrorKind};

impl Consumer {
    /// Calls `handle` for each record, with at most `max_concurrency` records being handled at once, and acknowledges
    /// each when its handler is done. Ends when the consumer does. The handlers run on the calling task, side by side; a
    /// handler that computes for long should spawn. Needs [`AckMode::Explicit`], so that stored offsets follow the oldest
    /// record that is not done.
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
    /// The first error, of a handler or of the consumer, after the handlers that still run are done. A record whose
    /// handler failed is not acknowledged. [`ErrorKind::InvalidCommand`] without [`AckMode::Explicit`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the handlers are as well, and their records are not acknowledged.
    pub async fn handle_each<F, Fut, E>(&mut self, max_concurrency: usize, handle: F) -> Result<(), E>
    where
        F: FnMut(Message) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        self.check_acknowledges()?;
        handle_each(async || self.try_next().await, max_concurrency, handle).await
    }

    /// Whether records are acknowledged one by one.
    pub(crate) fn check_acknowledges(&self) -> crate::Result<()> {
        if self.settings.ack_mode == AckMode::Explicit {
            return Ok(());
        }
        let message = "records handled at once need AckMode::Explicit: any of them may be done first";
        Err(Error::new(ErrorKind::InvalidCommand, message))
    }
}

/// Handles what `next` gives, at most `max_concurrency` of it at once. The future of `next` may be dropped and made anew.
pub(crate) async fn handle_each<V, F, Fut, E>(
    mut next: impl AsyncFnMut() -> crate::Result<Option<Message<V>>>,
    max_concurrency: usize,
    mut handle: F,
) -> Result<(), E>
where
    F: FnMut(Message<V>) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: From<Error>,
{
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
            next = next(), if reads && running.len() < max_concurrency.max(1) => match next {
                Ok(Some(message)) => {
                    let receipt = message.receipt();
                    let handling = handle(message);
                    running.push(async move {
                        handling.await?;
                        receipt.ack();
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
