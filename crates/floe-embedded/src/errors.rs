//! The mapping of errors of the log.

use std::io;

use floe_core::{Effect, Error, ErrorKind, append_condition::NotAtEnd};
use floe_log::LogError;

/// Converts an error of the log. A function and not `From`, because both types are foreign here.
#[must_use]
pub fn log_error(error: LogError) -> Error {
    let message = error.to_string();
    match error {
        LogError::Locked { .. } => Error::new(ErrorKind::StoreInUse, message),
        LogError::TopicNotFound { .. } => Error::new(ErrorKind::TopicNotFound, message),
        LogError::TopicExists { .. } => Error::new(ErrorKind::TopicAlreadyExists, message),
        LogError::PartitionNotFound { .. } => Error::new(ErrorKind::PartitionNotFound, message),
        LogError::OutOfRange { .. } => Error::new(ErrorKind::OffsetOutOfRange, message),
        LogError::TooLarge { .. } => Error::new(ErrorKind::RecordTooLarge, message),
        LogError::Fenced { .. } => Error::new(ErrorKind::Fenced, message),
        LogError::NotAtEnd { expected, end } => NotAtEnd { expected, end }.into_error(),
        LogError::StoredBefore { .. } => Error::new(ErrorKind::ConditionFailed, message),
        LogError::TooManyFenced { .. } => {
            Error::new(ErrorKind::StorageError, message).with_effect(Effect::None)
        }
        LogError::BadBatch { .. } => Error::new(ErrorKind::CorruptData, message).with_effect(Effect::None),
        LogError::Corrupt { .. } => Error::new(ErrorKind::CorruptData, message),
        LogError::CatalogMissing { .. } | LogError::CatalogDamaged { .. } => {
            Error::new(ErrorKind::CorruptData, message).with_effect(Effect::None)
        }
        // Records that were acknowledged since the removal are gone with the files.
        LogError::Removed { .. } => Error::new(ErrorKind::CorruptData, message),
        LogError::Poisoned { source } => Error::new(ErrorKind::StorageError, message).with_source(source),
        LogError::ReadOnly { .. } => Error::new(ErrorKind::StorageError, message)
            .with_effect(Effect::None)
            .with_source(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)),
        // The words of the database become a cause, not the message.
        LogError::Catalog { .. } => {
            Error::new(ErrorKind::StorageError, "the catalog of the store cannot be read or changed")
                .with_source(error)
        }
        // The write was rolled back, and space may be freed while the producer waits.
        LogError::DiskFull { .. } => Error::new(ErrorKind::StorageError, message)
            .with_retriable(true)
            .with_effect(Effect::None)
            .with_source(io::Error::from(io::ErrorKind::StorageFull)),
        // Files are closed by age, so a retry may find room. The message names the limit.
        LogError::TooManyOpenFiles { .. } => {
            Error::new(ErrorKind::StorageError, message).with_retriable(true).with_effect(Effect::None)
        }
        LogError::Io { path, operation, source } => {
            Error::new(ErrorKind::StorageError, format!("cannot {operation} {}", path.display()))
                .with_source(source)
        }
        LogError::Closed => Error::new(ErrorKind::Closed, message),
        LogError::InvalidConfig { .. } => Error::new(ErrorKind::InvalidConfig, message),
        LogError::Format { .. } => Error::new(ErrorKind::StorageError, message).with_effect(Effect::None),
        _ => Error::new(ErrorKind::StorageError, message),
    }
}
