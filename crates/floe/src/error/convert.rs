//! The one place where errors of lower crates become [`Error`].

use std::io;

use floe_log::LogError;
use floe_wire::WireError;

use super::{Effect, Error, ErrorKind};

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let kind = match &error {
            WireError::TooLarge { .. } => ErrorKind::RecordTooLarge,
            // The bytes may be intact: another build can read them.
            WireError::CodecNotCompiled { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::CorruptData,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::Locked { .. } => Self::new(ErrorKind::StoreInUse, message),
            LogError::TopicNotFound { .. } => Self::new(ErrorKind::TopicNotFound, message),
            LogError::TopicExists { .. } => Self::new(ErrorKind::TopicAlreadyExists, message),
            LogError::PartitionNotFound { .. } => Self::new(ErrorKind::PartitionNotFound, message),
            LogError::OutOfRange { .. } => Self::new(ErrorKind::OffsetOutOfRange, message),
            LogError::TooLarge { .. } => Self::new(ErrorKind::RecordTooLarge, message),
            LogError::BadBatch { .. } => Self::new(ErrorKind::CorruptData, message).with_effect(Effect::None),
            LogError::Corrupt { .. } => Self::new(ErrorKind::CorruptData, message),
            LogError::CatalogMissing { .. } => {
                Self::new(ErrorKind::CorruptData, message).with_effect(Effect::None)
            }
            // The write was undone, and room may be made while the producer waits.
            LogError::DiskFull { .. } => Self::new(ErrorKind::StorageError, message)
                .with_retriable(true)
                .with_effect(Effect::None)
                .with_source(io::Error::from(io::ErrorKind::StorageFull)),
            LogError::Io { path, operation, source } => {
                Self::new(ErrorKind::StorageError, format!("cannot {operation} {}", path.display()))
                    .with_source(source)
            }
            LogError::Closed => Self::new(ErrorKind::Closed, message),
            LogError::InvalidConfig { .. } => Self::new(ErrorKind::InvalidConfig, message),
            LogError::Format { .. } => Self::new(ErrorKind::StorageError, message).with_effect(Effect::None),
            _ => Self::new(ErrorKind::StorageError, message),
        }
    }
}
