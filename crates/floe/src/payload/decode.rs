//! Decodes the values of records that were read.

use std::convert::Infallible;

use bytes::Bytes;

use super::{PayloadCodec, PayloadError, Untyped};

/// Turns the bytes of records into values.
///
/// The codec of a consumer, `C` in [`Consumer<C>`](crate::consumer::Consumer), decides which values the consumer returns:
/// [`Untyped`] leaves the bytes as they are, and a [`PayloadCodec`] decodes them. Both implementations are here; a program
/// that brings its own format implements [`PayloadCodec`].
pub trait RecordDecoder: Clone + Send + Sync + 'static {
    /// The type of the values.
    type Value: Send + 'static;

    /// The type of a failed decoding. [`Infallible`] where all bytes are a value.
    type Failure: Into<DecodeFailure>;

    /// Name of the format in messages, such as `json`.
    const FORMAT: &'static str;

    /// Decodes bytes that lie in `section`, the records of a batch.
    ///
    /// # Errors
    /// The bytes are not a value.
    fn decode_record(&self, value: &[u8], section: &Bytes) -> Result<Self::Value, Self::Failure>;

    /// Decodes bytes that the caller owns.
    ///
    /// # Errors
    /// The bytes are not a value.
    fn decode_bytes(&self, value: Bytes) -> Result<Self::Value, Self::Failure>;
}

/// Bytes that are not a value, and the reason.
#[derive(Debug)]
#[non_exhaustive]
pub struct DecodeFailure {
    /// The bytes.
    pub bytes: Bytes,
    /// The reason why they are not a value.
    pub cause: PayloadError,
}

impl From<Infallible> for DecodeFailure {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Box<Self>> for DecodeFailure {
    fn from(failure: Box<Self>) -> Self {
        *failure
    }
}

impl RecordDecoder for Untyped {
    type Value = Bytes;
    type Failure = Infallible;
    const FORMAT: &'static str = "bytes";

    #[inline]
    fn decode_record(&self, value: &[u8], section: &Bytes) -> Result<Bytes, Infallible> {
        Ok(section.slice_ref(value))
    }

    #[inline]
    fn decode_bytes(&self, value: Bytes) -> Result<Bytes, Infallible> {
        Ok(value)
    }
}

impl<C: PayloadCodec> RecordDecoder for C {
    type Value = C::Value;
    type Failure = Box<DecodeFailure>;
    const FORMAT: &'static str = C::NAME;

    #[inline]
    fn decode_record(&self, value: &[u8], section: &Bytes) -> Result<C::Value, Box<DecodeFailure>> {
        match self.decode_slice(value) {
            Some(Ok(value)) => Ok(value),
            Some(Err(cause)) => Err(Box::new(DecodeFailure { bytes: section.slice_ref(value), cause })),
            None => self.decode_bytes(section.slice_ref(value)),
        }
    }

    #[inline]
    fn decode_bytes(&self, bytes: Bytes) -> Result<C::Value, Box<DecodeFailure>> {
        self.decode(&bytes).map_err(|cause| Box::new(DecodeFailure { bytes, cause }))
    }
}
