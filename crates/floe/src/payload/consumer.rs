//! Reading values.

use std::{fmt, future::poll_fn};

use futures_core::Stream;
use futures_util::stream;

use super::{Json, PayloadCodec, Text, Undecodable, forward_consumer_settings};
use crate::{
    Client, Message, Result,
    consumer::{Consumer, ConsumerBuilder},
    dead_letter::{DeadLetterWriter, Reason},
    topic::Topic,
};

/// What happens to a record that does not decode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnUndecodable {
    /// An error of kind [`crate::ErrorKind::DeserializationError`], once for each record; its source is
    /// [`Undecodable`]. The next call goes on after it.
    #[default]
    Fail,
    /// A `warn` event, and it counts in [`TypedConsumer::undecodable`].
    Skip,
    /// It goes to this topic, with headers that say where it came from and what is wrong; see
    /// [`crate::dead_letter`]. The topic is created if it does not exist.
    DeadLetter(Topic),
}

impl ConsumerBuilder {
    /// Reads values from JSON.
    pub fn json<T>(self) -> TypedConsumerBuilder<Json<T>>
    where
        Json<T>: PayloadCodec,
    {
        self.payload(Json::new())
    }

    /// Reads values from UTF-8 text.
    pub fn text(self) -> TypedConsumerBuilder<Text> {
        self.payload(Text)
    }

    /// Reads values from MessagePack.
    #[cfg(feature = "messagepack")]
    pub fn message_pack<T>(self) -> TypedConsumerBuilder<super::MessagePack<T>>
    where
        super::MessagePack<T>: PayloadCodec,
    {
        self.payload(super::MessagePack::new())
    }

    /// Reads values in a format of the program's own.
    pub fn payload<C: PayloadCodec>(self, codec: C) -> TypedConsumerBuilder<C> {
        TypedConsumerBuilder {
            client: self.client().clone(),
            inner: self,
            codec,
            on_undecodable: OnUndecodable::default(),
        }
    }
}

/// Configures a typed consumer before it starts; from [`ConsumerBuilder::json`] and its neighbours.
#[must_use = "a builder does nothing until start"]
pub struct TypedConsumerBuilder<C> {
    client: Client,
    inner: ConsumerBuilder,
    codec: C,
    on_undecodable: OnUndecodable,
}

impl<C: PayloadCodec> TypedConsumerBuilder<C> {
    forward_consumer_settings!();

    /// What happens to a record that does not decode. Default: [`OnUndecodable::Fail`], because only the program knows
    /// whether it can do without.
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.on_undecodable = policy;
        self
    }

    /// Finds the partitions and their starts, and begins to read ahead.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::start`]; with a dead-letter topic also whatever keeps it from being created and written
    /// to, such as [`crate::ErrorKind::Unsupported`] on an engine without headers.
    pub async fn start(self) -> Result<TypedConsumer<C>> {
        let writer = match &self.on_undecodable {
            OnUndecodable::DeadLetter(topic) => Some(DeadLetterWriter::open(&self.client, topic).await?),
            OnUndecodable::Fail | OnUndecodable::Skip => None,
        };
        Ok(TypedConsumer {
            inner: self.inner.start().await?,
            codec: self.codec,
            skips: self.on_undecodable == OnUndecodable::Skip,
            writer,
            dead: None,
            undecodable: 0,
        })
    }
}

impl<C> fmt::Debug for TypedConsumerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedConsumerBuilder")
            .field("inner", &self.inner)
            .field("on_undecodable", &self.on_undecodable)
            .finish_non_exhaustive()
    }
}

/// Reads values of one type from one topic.
pub struct TypedConsumer<C> {
    inner: Consumer,
    codec: C,
    skips: bool,
    writer: Option<DeadLetterWriter>,
    /// On its way to the dead-letter topic; kept until it is there.
    dead: Option<Undecodable>,
    undecodable: u64,
}

impl<C: PayloadCodec> TypedConsumer<C> {
    /// The next value; waits for one. `None` when nothing more comes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::DeserializationError`] for a record that does not decode, with [`OnUndecodable::Fail`]; the
    /// next call goes on after it. An error of the dead-letter topic; the next call tries that record again. Otherwise
    /// as [`Consumer::try_next`].
    ///
    /// # Cancel safety
    /// Dropping the future loses no record. A record that was on its way to the dead-letter topic may get there twice,
    /// with the same coordinates.
    pub async fn try_next(&mut self) -> Result<Option<Message<C::Value>>> {
        loop {
            if self.dead.is_some() {
                self.bury().await?;
            }
            let (inner, codec) = (&mut self.inner, &self.codec);
            let next = poll_fn(|cx| {
                inner.poll_message_as(cx, |message| match codec.decode(&message.value) {
                    Ok(value) => Ok(message.map(|_| value)),
                    Err(problem) => Err(Box::new(Undecodable::new(message, C::NAME, problem))),
                })
            });
            let bad = match next.await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(Ok(message))) => return Ok(Some(message)),
                Some(Ok(Err(bad))) => *bad,
            };
            self.undecodable += 1;
            if self.writer.is_some() {
                self.dead = Some(bad);
                continue;
            }
            // Nobody will be able to acknowledge it.
            bad.message.ack();
            if !self.skips {
                return Err(bad.into_error());
            }
            let error = bad.into_error();
            tracing::warn!(%error, "a record was left out");
        }
    }

    /// Sends the undecodable record that waits, if there is one, to the dead-letter topic.
    async fn bury(&mut self) -> Result<()> {
        if let (Some(writer), Some(bad)) = (&self.writer, &self.dead) {
            let error = bad.clone().into_error();
            let reason = Reason { code: error.kind().as_str(), text: error.message(), attempts: 1 };
            writer.enqueue(&bad.message, &reason).await?.await?;
            bad.message.ack();
            self.dead = None;
        }
        Ok(())
    }

    /// The values as a stream; it goes on after errors and ends as [`TypedConsumer::try_next`] does.
    pub fn into_stream(self) -> impl Stream<Item = Result<Message<C::Value>>> + Send {
        stream::unfold(self, |mut consumer| async {
            let next = consumer.try_next().await.transpose()?;
            Some((next, consumer))
        })
    }

    /// How many records did not decode so far.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// As [`Consumer::commit`].
    ///
    /// # Errors
    /// As [`Consumer::commit`]; an error of the dead-letter topic.
    pub async fn commit(&mut self) -> Result<()> {
        self.bury().await?;
        self.inner.commit().await
    }

    /// As [`Consumer::close`]. A record on its way to the dead-letter topic gets there first.
    ///
    /// # Errors
    /// As [`Consumer::close`]; an error of the dead-letter topic, after which nothing is committed.
    pub async fn close(mut self) -> Result<()> {
        self.bury().await?;
        if let Some(writer) = &self.writer {
            writer.close().await?;
        }
        self.inner.close().await
    }

    /// The consumer of bytes inside: to pause, seek, and look at positions. Records taken from it are not decoded.
    pub fn raw(&mut self) -> &mut Consumer {
        &mut self.inner
    }
}

impl<C> fmt::Debug for TypedConsumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedConsumer")
            .field("inner", &self.inner)
            .field("undecodable", &self.undecodable)
            .finish_non_exhaustive()
    }
}
