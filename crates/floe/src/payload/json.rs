//! JSON codec: one document in each record.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{PayloadCodec, PayloadError};

/// JSON through `serde`.
///
/// ```
/// use floe::payload::{Json, PayloadCodec};
///
/// let codec = Json::<Vec<u32>>::new();
/// let record = codec.record(vec![1, 2, 3])?;
/// assert_eq!(record.value, "[1,2,3]");
/// # Ok::<(), floe::Error>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// Returns the codec for values of one type.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> PayloadCodec for Json<T> {
    type Value = T;
    const NAME: &'static str = "json";

    fn encode(&self, value: &T) -> Result<Bytes, PayloadError> {
        Ok(Bytes::from(serde_json::to_vec(value)?))
    }

    fn encode_to_vec(&self, value: &T) -> Result<Vec<u8>, PayloadError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: &Bytes) -> Result<T, PayloadError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    #[inline]
    fn decode_slice(&self, bytes: &[u8]) -> Option<Result<T, PayloadError>> {
        Some(serde_json::from_slice(bytes).map_err(Into::into))
    }
}
