//! Reading values.

use std::{fmt, future::poll_fn, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream;

use super::{PayloadCodec, PayloadError, Undecodable, formats, forward_consumer_settings};
use crate::{
    Error, Message, Result,
    client_core::ClientCore,
    consumer::{Consumer, ConsumerBuilder, handle_each},
    dead_letter::{DeadLetterWriter, Reason},
    producer::Delivery,
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
    formats!(TypedConsumerBuilder);

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
    client: ClientCore,
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

/// A record on its way to the dead-letter topic.
struct Dead {
    bad: Undecodable,
    /// Set once the letter is sent. A call that is dropped while waiting leaves it to the next one.
    delivery: Option<Delivery>,
}

/// Reads values of one type from one topic.
pub struct TypedConsumer<C> {
    inner: Consumer,
    codec: C,
    skips: bool,
    writer: Option<DeadLetterWriter>,
    /// On its way to the dead-letter topic; kept until it is there.
    dead: Option<Dead>,
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
    /// Dropping the future loses no record and repeats none.
    pub async fn try_next(&mut self) -> Result<Option<Message<C::Value>>> {
        loop {
            if self.dead.is_some() {
                self.bury().await?;
            }
            let Self { inner, codec, .. } = &mut *self;
            if !poll_fn(|cx| inner.poll_record(cx)).await? {
                return Ok(None);
            }
            let Some(message) = inner.take_record(|value, section| decode(codec, value, section)) else {
                continue;
            };
            let (message, value) = message.split();
            let (bytes, problem) = match value {
                Ok(value) => return Ok(Some(message.map(|()| value))),
                Err(bad) => *bad,
            };
            self.meet(message.map(|()| bytes), problem)?;
        }
    }

    /// The next values, at most `max`, gathered for at most `wait` after the first one, for which it waits as long as it
    /// takes. Empty when nothing more comes. As [`Consumer::next_chunk`], but a chunk ends before a record that does not
    /// decode.
    ///
    /// # Errors
    /// As [`TypedConsumer::try_next`]; values gathered before the error come first.
    ///
    /// # Cancel safety
    /// As [`Consumer::next_chunk`].
    pub async fn next_chunk(&mut self, max: usize, wait: Duration) -> Result<Vec<Message<C::Value>>> {
        loop {
            self.bury().await?;
            let Self { inner, codec, .. } = &mut *self;
            let decode = |message: Message| match codec.decode(&message.value) {
                Ok(value) => Ok(message.map(|_| value)),
                Err(problem) => Err(Box::new((message, problem))),
            };
            match inner.next_chunk_as(max, wait, decode).await? {
                Ok(values) => return Ok(values),
                Err(refused) => self.meet(refused.0, refused.1)?,
            }
        }
    }

    /// Calls `handle` for each value, with at most `max_concurrency` being handled at once, and acknowledges each when its
    /// handler is done; as [`Consumer::handle_each`].
    ///
    /// # Errors
    /// As [`Consumer::handle_each`], and [`TypedConsumer::try_next`].
    ///
    /// # Cancel safety
    /// As [`Consumer::handle_each`].
    pub async fn handle_each<F, Fut, E>(&mut self, max_concurrency: usize, handle: F) -> Result<(), E>
    where
        F: FnMut(Message<C::Value>) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        self.inner.check_acknowledges()?;
        handle_each(async || self.try_next().await, max_concurrency, handle).await
    }

    /// Does with a record that does not decode what the policy says; what it cannot do at once waits in `dead`.
    fn meet(&mut self, message: Message, problem: PayloadError) -> Result<()> {
        self.undecodable += 1;
        let bad = Undecodable::new(message, C::NAME, problem);
        if self.writer.is_some() {
            self.dead = Some(Dead { bad, delivery: None });
            return Ok(());
        }
        // Nobody will be able to acknowledge it.
        bad.message.ack();
        let error = bad.into_error();
        if self.skips {
            tracing::warn!(%error, "a record was left out");
            return Ok(());
        }
        Err(error)
    }

    /// Sends the undecodable record that waits, if there is one, to the dead-letter topic.
    async fn bury(&mut self) -> Result<()> {
        let (Some(writer), Some(dead)) = (&self.writer, &mut self.dead) else { return Ok(()) };
        let delivery = match &mut dead.delivery {
            Some(delivery) => delivery,
            none => {
                let error = dead.bad.clone().into_error();
                let reason = Reason { code: error.kind().as_str(), text: error.message(), attempts: 1 };
                none.insert(writer.enqueue(&dead.bad.message, &reason).await?)
            }
        };
        let delivered = delivery.await;
        dead.delivery = None;
        delivered?;
        dead.bad.message.ack();
        self.dead = None;
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

/// What is wrong with bytes, and the bytes.
type Bad = Box<(Bytes, PayloadError)>;

/// The value of some bytes, which lie in `section`.
#[inline]
fn decode<C: PayloadCodec>(codec: &C, bytes: &[u8], section: &Bytes) -> Result<C::Value, Bad> {
    let decoded = match codec.decode_slice(bytes) {
        Some(decoded) => decoded,
        None => codec.decode(&section.slice_ref(bytes)),
    };
    decoded.map_err(|problem| Box::new((section.slice_ref(bytes), problem)))
}

impl<C> fmt::Debug for TypedConsumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedConsumer")
            .field("inner", &self.inner)
            .field("undecodable", &self.undecodable)
            .finish_non_exhaustive()
    }
}
