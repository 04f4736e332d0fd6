//! Records to send.

use bytes::Bytes;

/// A record to send.
///
/// ```
/// use floe_core::Record;
/// let plain = Record::new("hello");
/// let keyed = Record::keyed("ada", r#"{"total": 3}"#).header("origin", "web");
/// assert_eq!(keyed.key.as_deref(), Some(b"ada".as_slice()));
/// # let _ = plain;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record<V = Bytes> {
    /// Key: the default partitioner sends equal keys to one partition, where they stay in order.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: V,
    /// Names and values that travel with the record, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Milliseconds since the Unix epoch; the time of sending where `None`.
    pub timestamp: Option<i64>,
    /// Target partition, in place of the partitioner's choice.
    pub partition: Option<u32>,
}

impl<V> Record<V> {
    /// A record without a key.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self { key: None, value, headers: Vec::new(), timestamp: None, partition: None }
    }

    /// A record with a key. An empty key is a key.
    #[must_use]
    pub fn keyed(key: impl Into<Bytes>, value: V) -> Self {
        Self { key: Some(key.into()), ..Self::new(value) }
    }

    /// Adds a header. Names may repeat.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the time of the record in milliseconds since the Unix epoch, at least 1: in the batches of Fluvio (platform 0.18)
    /// a time of 0 or below stands for none, so that producers refuse it. Default: the time of sending.
    #[must_use]
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// Sets the target partition, in place of the partitioner's choice.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same record with another value.
    #[must_use]
    pub fn map<T>(self, change: impl FnOnce(V) -> T) -> Record<T> {
        Record {
            key: self.key,
            value: change(self.value),
            headers: self.headers,
            timestamp: self.timestamp,
            partition: self.partition,
        }
    }
}

impl<V> From<V> for Record<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// A [`Record`], or a value alone, which becomes a record without a key.
pub trait IntoRecord {
    /// The payload, as it will be copied into a batch.
    type Value: AsRef<[u8]>;

    /// The record to send.
    fn into_record(self) -> Record<Self::Value>;
}

impl<V: AsRef<[u8]>> IntoRecord for Record<V> {
    type Value = V;

    fn into_record(self) -> Self {
        self
    }
}

macro_rules! value_alone {
    ($($value:ty),*) => {
        $(impl IntoRecord for $value {
            type Value = Self;

            fn into_record(self) -> Record<Self> {
                Record::new(self)
            }
        })*
    };
}

value_alone!(&str, &[u8], &String, &Vec<u8>, String, Vec<u8>, Bytes);
