//! Maps engine errors to Fluvio codes. No other file does.

use std::{error::Error as _, io, sync::Arc};

use floe::{Effect, Error, ErrorKind, TopicPartition};
use floe_wire::fluvio::{ErrorCode, RequestKind};

use crate::access::Denied;

/// Returns the code for what the rules of the server do not allow.
pub(super) fn of_denied(_: Denied) -> ErrorCode {
    ErrorCode::PermissionDenied
}

/// Returns the code for a failed append.
pub(super) fn of_append(error: &Error, at: &TopicPartition, timeout_ms: i32) -> ErrorCode {
    match error.kind() {
        ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound | ErrorKind::NotLeader => {
            ErrorCode::NotLeaderForPartition
        }
        ErrorKind::RecordTooLarge => ErrorCode::MessageTooLarge,
        ErrorKind::StorageError if is_full(error) => {
            ErrorCode::PartitionFull { topic: at.topic.to_string(), partition: at.partition }
        }
        ErrorKind::StorageError => ErrorCode::StorageError,
        ErrorKind::AuthFailed => ErrorCode::PermissionDenied,
        ErrorKind::Closed => ErrorCode::SpuOffline,
        // The protocol has no code for these. Clients of floe know the end of the text.
        kind @ (ErrorKind::Fenced | ErrorKind::ConditionFailed) => {
            ErrorCode::Other(format!("{} ({kind})", error.message()))
        }
        // This code stands for an unknown outcome: an engine behind a network may have stored the batch.
        ErrorKind::RequestTimeout | ErrorKind::NetworkError if error.effect() == Effect::Unknown => {
            timed_out(timeout_ms)
        }
        _ => ErrorCode::Other(error.to_string()),
    }
}

/// Returns the code for a failed read.
pub(super) fn of_read(error: &Error) -> ErrorCode {
    match error.kind() {
        ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound | ErrorKind::NotLeader => {
            ErrorCode::NotLeaderForPartition
        }
        ErrorKind::StorageError | ErrorKind::CorruptData => ErrorCode::StorageError,
        ErrorKind::AuthFailed => ErrorCode::PermissionDenied,
        ErrorKind::Closed => ErrorCode::SpuOffline,
        _ => ErrorCode::Other(error.to_string()),
    }
}

/// Returns the code for an admin request that failed inside the engine.
pub(super) fn of_admin(error: &Error) -> ErrorCode {
    match error.kind() {
        ErrorKind::StorageError | ErrorKind::CorruptData => ErrorCode::StorageError,
        ErrorKind::AuthFailed => ErrorCode::PermissionDenied,
        _ => ErrorCode::TopicError,
    }
}

/// Returns the code for a produce request that reached its deadline.
pub(super) fn timed_out(timeout_ms: i32) -> ErrorCode {
    ErrorCode::RequestTimedOut {
        timeout_ms: u64::try_from(timeout_ms).unwrap_or(0),
        kind: RequestKind::Produce,
    }
}

/// Whether the disk is full, a failure that passes once space is freed.
fn is_full(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        let shared = || cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        if let Some(io) = cause.downcast_ref::<io::Error>().or_else(shared) {
            return matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let at = floe::Topic::from("t").partition(3);
        let append = |error: &Error| of_append(error, &at, 50);
        let plain = |kind| Error::new(kind, "words");
        for (kind, expected) in [
            (ErrorKind::TopicNotFound, ErrorCode::NotLeaderForPartition),
            (ErrorKind::PartitionNotFound, ErrorCode::NotLeaderForPartition),
            (ErrorKind::NotLeader, ErrorCode::NotLeaderForPartition),
            (ErrorKind::RecordTooLarge, ErrorCode::MessageTooLarge),
            (ErrorKind::StorageError, ErrorCode::StorageError),
            (ErrorKind::AuthFailed, ErrorCode::PermissionDenied),
            (ErrorKind::Closed, ErrorCode::SpuOffline),
            (ErrorKind::RequestTimeout, timed_out(50)),
            (ErrorKind::NetworkError, timed_out(50)),
            (ErrorKind::Fenced, ErrorCode::Other("words (fenced)".to_owned())),
            (ErrorKind::ConditionFailed, ErrorCode::Other("words (condition_failed)".to_owned())),
            (ErrorKind::RateLimited, ErrorCode::Other("words (rate_limited)".to_owned())),
        ] {
            assert_eq!(append(&plain(kind)), expected, "{kind}");
        }
        let harmless = plain(ErrorKind::NetworkError).with_effect(Effect::None);
        assert_eq!(append(&harmless), ErrorCode::Other("words (network_error)".to_owned()));
        for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = plain(ErrorKind::StorageError).with_source(io::Error::from(full));
            assert_eq!(append(&error), ErrorCode::PartitionFull { topic: "t".to_owned(), partition: 3 });
            let shared = plain(ErrorKind::StorageError).with_source(Arc::new(io::Error::from(full)));
            assert_eq!(append(&shared), ErrorCode::PartitionFull { topic: "t".to_owned(), partition: 3 });
        }
        let broken = plain(ErrorKind::StorageError).with_source(io::Error::other("broken"));
        assert_eq!(append(&broken), ErrorCode::StorageError);
        for (kind, expected) in [
            (ErrorKind::TopicNotFound, ErrorCode::NotLeaderForPartition),
            (ErrorKind::CorruptData, ErrorCode::StorageError),
            (ErrorKind::Closed, ErrorCode::SpuOffline),
            (ErrorKind::Unsupported, ErrorCode::Other("words (unsupported)".to_owned())),
        ] {
            assert_eq!(of_read(&plain(kind)), expected, "{kind}");
        }
        for (kind, expected) in [
            (ErrorKind::StorageError, ErrorCode::StorageError),
            (ErrorKind::CorruptData, ErrorCode::StorageError),
            (ErrorKind::AuthFailed, ErrorCode::PermissionDenied),
            (ErrorKind::RequestTimeout, ErrorCode::TopicError),
        ] {
            assert_eq!(of_admin(&plain(kind)), expected, "{kind}");
        }
    }
}
