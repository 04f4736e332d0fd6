//! MessagePack codec: one value in each record.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{PayloadCodec, PayloadError};

/// MessagePack through `serde`. Structs are encoded as maps with the names of their fields, so that fields can be added.
///
/// ```
/// use floe::payload::{MessagePack, PayloadCodec};
///
/// let codec = MessagePack::<Vec<u32>>::new();
/// let record = codec.record(vec![1, 2, 3])?;
/// assert_eq!(record.value, [0x93, 1, 2, 3].as_slice());
/// # Ok::<(), floe::Error>(())
/// ```
pub struct MessagePack<T>(PhantomData<fn() -> T>);

impl<T> MessagePack<T> {
    /// Returns the codec for values of one type.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for MessagePack<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for MessagePack<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for MessagePack<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessagePack")
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> PayloadCodec for MessagePack<T> {
    type Value = T;
    const NAME: &'static str = "messagepack";

    fn encode(&self, value: &T) -> Result<Bytes, PayloadError> {
        Ok(Bytes::from(rmp_serde::to_vec_named(value)?))
    }

    fn encode_to_vec(&self, value: &T) -> Result<Vec<u8>, PayloadError> {
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode(&self, bytes: &Bytes) -> Result<T, PayloadError> {
        Ok(rmp_serde::from_slice(bytes)?)
    }

    fn decode_slice(&self, bytes: &[u8]) -> Option<Result<T, PayloadError>> {
        Some(rmp_serde::from_slice(bytes).map_err(Into::into))
    }
}
