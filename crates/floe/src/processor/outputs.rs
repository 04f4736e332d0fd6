//! Return types of handlers.

use crate::{Record, Result, payload::PayloadCodec};

/// Records made from one record: one [`Record`], none (`Option<Record<_>>` or `()`), or many (`Vec<Record<_>>`).
pub trait Outputs<C: PayloadCodec>: Send + 'static {
    /// Encodes the values of the records, in order.
    ///
    /// # Errors
    /// [`crate::ErrorKind::SerializationError`] for the first value that cannot be encoded.
    fn encode(self, codec: &C) -> Result<Vec<Record>>;
}

impl<C: PayloadCodec> Outputs<C> for Record<C::Value> {
    fn encode(self, codec: &C) -> Result<Vec<Record>> {
        Ok(vec![codec.record(self)?])
    }
}

impl<C: PayloadCodec> Outputs<C> for Option<Record<C::Value>> {
    fn encode(self, codec: &C) -> Result<Vec<Record>> {
        self.into_iter().map(|record| codec.record(record)).collect()
    }
}

impl<C: PayloadCodec> Outputs<C> for Vec<Record<C::Value>> {
    fn encode(self, codec: &C) -> Result<Vec<Record>> {
        self.into_iter().map(|record| codec.record(record)).collect()
    }
}

impl<C: PayloadCodec> Outputs<C> for () {
    fn encode(self, _codec: &C) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }
}
