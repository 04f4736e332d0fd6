//! Errors by which a producer refuses a single record.

use crate::{Error, ErrorKind};

/// Returns whether the producer refused a record for its contents, so that a retry is useless and other records are not
/// affected.
pub(crate) fn refuses_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::RecordTooLarge
            | ErrorKind::InvalidCommand
            | ErrorKind::PartitionNotFound
            | ErrorKind::SerializationError
            | ErrorKind::Unsupported
    )
}
