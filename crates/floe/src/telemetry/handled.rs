//! The record that an application handles, as telemetry sees it.

use floe_wire::batch::BorrowedHeaders;

use crate::Topic;

/// Position and headers of a record that an application handles. Made of a reference to a
/// [`Message`](crate::consumer::Message).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HandledRecord<'a> {
    /// The topic of the record.
    pub topic: &'a Topic,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record.
    pub offset: i64,
    /// The headers of the record.
    pub headers: BorrowedHeaders<'a>,
}

impl<'a> HandledRecord<'a> {
    /// Describes a record.
    #[must_use]
    pub fn new(topic: &'a Topic, partition: u32, offset: i64, headers: BorrowedHeaders<'a>) -> Self {
        Self { topic, partition, offset, headers }
    }
}
