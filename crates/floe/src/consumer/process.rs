//! Spans and measurements of the processing of messages.

use std::{borrow::Cow, fmt::Display};

use super::Message;
use crate::telemetry::{Telemetry, error_type};

impl Telemetry {
    /// Runs `work`, the processing of a message, in a span that is linked to the one in which the message was made, and
    /// measures it. The baggage of the message is current meanwhile. Without the feature `telemetry` it only runs `work`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> floe::Result<()> {
    /// # let client = floe::Client::connect("memory:").await?;
    /// # client.admin().create_topic(floe::TopicSpec::new("orders")).await?;
    /// # client.producer("orders").start().await?.send("one coffee").await?;
    /// # let mut orders = client.consumer("orders").from(floe::consumer::StartAt::Beginning).start().await?;
    /// let telemetry = client.telemetry().clone();
    /// if let Some(message) = orders.try_next().await? {
    ///     telemetry.process(&message, async { brew(&message.value).await }).await?;
    /// }
    /// # async fn brew(_: &[u8]) -> floe::Result<()> { Ok(()) }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of `work`.
    ///
    /// # Cancel safety
    /// As `work`. Dropping the future counts as the error `cancelled`.
    pub async fn process<V, T, E: Display + 'static>(
        &self,
        message: &Message<V>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.process_with(message, work, error_type).await
    }

    /// As [`Telemetry::process`], where the errors have codes of their own.
    pub(crate) async fn process_with<V, T, E: Display>(
        &self,
        message: &Message<V>,
        work: impl Future<Output = Result<T, E>>,
        code: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        let position = (&message.topic, message.partition, message.offset);
        self.process_linked(position, message.headers.borrowed(), work, code).await
    }

    /// As [`Telemetry::process`], with the span as a child of the one in which the message was made: one trace from the
    /// producer to the end, for applications that process each message alone.
    ///
    /// # Errors
    /// The error of `work`.
    ///
    /// # Cancel safety
    /// As [`Telemetry::process`].
    pub async fn process_as_child<V, T, E: Display + 'static>(
        &self,
        message: &Message<V>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let position = (&message.topic, message.partition, message.offset);
        self.process_child(position, message.headers.borrowed(), work).await
    }
}
