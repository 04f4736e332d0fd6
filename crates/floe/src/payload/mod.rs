//! Typed payloads: a program sends and reads values of its own types.
//!
//! A [`PayloadCodec`] turns a value into bytes and back. [`Json`], [`Text`] and [`Raw`] are here, `MessagePack` with
//! the feature `messagepack`, and a program can implement its own. The codec is the type parameter of a producer, consumer
//! or outbox; `.json::<T>()` and the like choose it before the start:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe::{Client, Record, TopicSpec, consumer::StartAt};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Order {
//!     item: String,
//!     count: u32,
//! }
//!
//! let client = Client::connect("memory:").await?;
//! client.admin().create_topic(TopicSpec::new("orders")).await?;
//!
//! let orders = client.producer("orders").json::<Order>().start().await?;
//! orders.send(Record::keyed("ada", Order { item: "tea".to_owned(), count: 2 })).await?;
//!
//! let mut inbox = client.consumer("orders").json::<Order>().from(StartAt::Beginning).start().await?;
//! let message = inbox.try_next().await?.expect("one order");
//! assert_eq!(message.value.count, 2);
//! # Ok(())
//! # }
//! ```
//!
//! A record that does not decode is one error with its coordinates, and the records after it are still read; see
//! [`OnUndecodable`](crate::consumer::OnUndecodable).

mod decode;
mod encode;
mod json;
#[cfg(feature = "messagepack")]
mod message_pack;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use decode::{DecodeFailure, RecordDecoder};
pub use encode::RecordEncoder;
pub use json::Json;
#[cfg(feature = "messagepack")]
pub use message_pack::MessagePack;

use crate::{Error, ErrorKind, Record, Result};

/// The codec of producers, consumers and outboxes of bytes, which pass values through unchanged. It is no
/// [`PayloadCodec`]: records of all types that hold bytes are sent without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Untyped;

/// The reason why a value could not be encoded or decoded.
pub type PayloadError = Box<dyn std::error::Error + Send + Sync>;

/// Turns values into bytes and back.
///
/// ```
/// use floe::{Bytes, payload::{PayloadCodec, PayloadError}};
///
/// /// Temperatures in 1/100 degree, four bytes each.
/// #[derive(Debug, Clone)]
/// struct Centidegrees;
///
/// impl PayloadCodec for Centidegrees {
///     type Value = f64;
///     const NAME: &'static str = "centidegrees";
///
///     fn encode(&self, value: &f64) -> Result<Bytes, PayloadError> {
///         Ok(Bytes::copy_from_slice(&((value * 100.0) as i32).to_be_bytes()))
///     }
///
///     fn decode(&self, bytes: &Bytes) -> Result<f64, PayloadError> {
///         Ok(f64::from(i32::from_be_bytes(bytes[..].try_into()?)) / 100.0)
///     }
/// }
///
/// let bytes = Centidegrees.encode(&21.5)?;
/// assert_eq!(Centidegrees.decode(&bytes)?, 21.5);
/// assert!(Centidegrees.decode(&Bytes::from("too long")).is_err());
/// # Ok::<(), PayloadError>(())
/// ```
pub trait PayloadCodec: Clone + Send + Sync + 'static {
    /// The type of the values.
    type Value: Send + 'static;

    /// Name of the format in messages, such as `json`.
    const NAME: &'static str;

    /// Encodes a value.
    ///
    /// # Errors
    /// The reason why the value cannot be written in this format.
    fn encode(&self, value: &Self::Value) -> Result<Bytes, PayloadError>;

    /// Decodes a value. The bytes may come from any program.
    ///
    /// # Errors
    /// The reason why the bytes are not a value.
    fn decode(&self, bytes: &Bytes) -> Result<Self::Value, PayloadError>;

    /// As [`PayloadCodec::decode`], for borrowed bytes; `None`, the default, for a format whose values keep the bytes.
    /// Formats whose values do not keep them should implement it: it saves one reference count for each record.
    ///
    /// # Errors
    /// As [`PayloadCodec::decode`].
    fn decode_slice(&self, _bytes: &[u8]) -> Option<Result<Self::Value, PayloadError>> {
        None
    }

    /// As [`PayloadCodec::encode`], for bytes that are copied into a batch at once. Formats whose writer returns a vector
    /// should implement it: it saves one allocation for each record.
    ///
    /// # Errors
    /// As [`PayloadCodec::encode`].
    fn encode_to_vec(&self, value: &Self::Value) -> Result<Vec<u8>, PayloadError> {
        Ok(Vec::from(self.encode(value)?))
    }

    /// Returns a record with the bytes of its value, for interfaces that take bytes only.
    ///
    /// # Errors
    /// [`ErrorKind::SerializationError`] with the reason as its source.
    fn record(&self, record: impl Into<Record<Self::Value>>) -> Result<Record> {
        let record = record.into();
        let bytes = self.encode(&record.value).map_err(cannot_encode::<Self>)?;
        Ok(record.map(|_| bytes))
    }
}

#[cold]
fn cannot_encode<C: PayloadCodec>(problem: PayloadError) -> Error {
    Error::new(ErrorKind::SerializationError, format!("the value cannot be encoded as {}", C::NAME))
        .with_source(problem)
}

/// Bytes, unchanged, as a codec: for processors, and where the codec is a parameter. Producers and consumers of bytes need
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Raw;

impl PayloadCodec for Raw {
    type Value = Bytes;
    const NAME: &'static str = "raw";

    fn encode(&self, value: &Bytes) -> Result<Bytes, PayloadError> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: &Bytes) -> Result<Bytes, PayloadError> {
        Ok(bytes.clone())
    }
}

/// UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text;

impl PayloadCodec for Text {
    type Value = String;
    const NAME: &'static str = "text";

    fn encode(&self, value: &String) -> Result<Bytes, PayloadError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn decode(&self, bytes: &Bytes) -> Result<String, PayloadError> {
        Ok(str::from_utf8(bytes)?.to_owned())
    }

    fn decode_slice(&self, bytes: &[u8]) -> Option<Result<String, PayloadError>> {
        Some(str::from_utf8(bytes).map(str::to_owned).map_err(Into::into))
    }
}

/// Defines the methods that choose a codec of floe, for a builder whose method `payload` changes its parameter.
macro_rules! formats {
    ($builder:ident) => {
        /// Sends or reads values as JSON.
        pub fn json<T>(self) -> $builder<crate::payload::Json<T>>
        where
            crate::payload::Json<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::Json::new())
        }

        /// Sends or reads values as UTF-8 text.
        pub fn text(self) -> $builder<crate::payload::Text> {
            self.payload(crate::payload::Text)
        }

        /// Sends or reads values as MessagePack.
        #[cfg(feature = "messagepack")]
        pub fn message_pack<T>(self) -> $builder<crate::payload::MessagePack<T>>
        where
            crate::payload::MessagePack<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::MessagePack::new())
        }
    };
}

pub(crate) use formats;
