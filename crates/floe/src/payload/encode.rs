//! Encodes records on their way to a topic.

use floe_core::IntoRecord;

use super::{PayloadCodec, Untyped, cannot_encode};
use crate::{Record, Result, topic::Topic};

/// An encoder of records of type `R`.
///
/// The codec of a producer, `C` in [`Producer<C>`](crate::producer::Producer), decides which records the producer takes:
/// [`Untyped`] takes everything that holds bytes, and a [`PayloadCodec`] takes its values, alone or in a [`Record`]. Both
/// implementations are here; a program that brings its own format implements [`PayloadCodec`].
pub trait RecordEncoder<R> {
    /// The encoded value.
    type Bytes: AsRef<[u8]>;

    /// Encodes a record for `topic`.
    ///
    /// # Errors
    /// [`ErrorKind::SerializationError`](crate::ErrorKind::SerializationError) with the topic, and with the reason as its
    /// source.
    fn encode_record(&self, record: R, topic: &Topic) -> Result<Record<Self::Bytes>>;
}

impl<R: IntoRecord> RecordEncoder<R> for Untyped {
    type Bytes = R::Value;

    #[inline]
    fn encode_record(&self, record: R, _topic: &Topic) -> Result<Record<Self::Bytes>> {
        Ok(record.into_record())
    }
}

impl<C: PayloadCodec, R: Into<Record<C::Value>>> RecordEncoder<R> for C {
    type Bytes = Vec<u8>;

    #[inline]
    fn encode_record(&self, record: R, topic: &Topic) -> Result<Record<Self::Bytes>> {
        let record = record.into();
        match self.encode_to_vec(&record.value) {
            Ok(bytes) => Ok(record.map(|_| bytes)),
            Err(problem) => Err(cannot_encode::<C>(problem).with_operation("produce").with_topic(topic)),
        }
    }
}
