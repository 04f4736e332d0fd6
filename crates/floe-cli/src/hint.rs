//! Advice on an error, in one line.

use std::{error::Error as _, io, sync::Arc};

use floe::{
    Error, ErrorKind,
    consumer::{Gap, GapReason},
};

/// Returns advice on an engine error, where there is any.
pub(crate) fn for_error(error: &Error) -> Option<String> {
    let topic = error.topic().map_or("NAME", |topic| topic.as_str());
    let hint = match error.kind() {
        ErrorKind::TopicNotFound => {
            return Some(format!("create it with `floe topic create {topic}`, or see `floe topic list`"));
        }
        ErrorKind::PartitionNotFound | ErrorKind::OffsetOutOfRange => {
            return Some(format!("`floe topic describe {topic}` shows the partitions and their offsets"));
        }
        ErrorKind::TopicAlreadyExists => {
            return Some(format!("use the topic, or delete it first with `floe topic delete {topic} --yes`"));
        }
        ErrorKind::Gap => match Gap::of(error).map(|gap| gap.reason) {
            Some(GapReason::Corrupt) => {
                "reading continues after the gap; restore the store from a backup to recover the records"
            }
            Some(GapReason::Evicted) => {
                "reading continues after the gap; read more often, or extend the retention"
            }
            _ => "reading continues after the gap",
        },
        ErrorKind::RecordTooLarge => "split the record, or send only a reference to large data",
        ErrorKind::StoreInUse => {
            "stop the process that has the store open, or use another store with --url embedded:PATH"
        }
        ErrorKind::CorruptData => {
            "`floe check DIR` shows what is damaged: restore it from a backup, or see `floe check --help` for a repair"
        }
        // A full disk or the like may be the reason why a producer ran out of time.
        ErrorKind::StorageError | ErrorKind::RequestTimeout => {
            return io_cause(error).and_then(for_io).map(str::to_owned);
        }
        ErrorKind::ConnectionTimeout | ErrorKind::ConnectionRefused | ErrorKind::NetworkError => {
            "check the address in --url, and that the server runs"
        }
        ErrorKind::AuthFailed => {
            "ask the operator of the server for the right: `floe serve --access FILE` holds the rules, and its log names \
             each refusal with the subject of the certificate"
        }
        ErrorKind::TlsFailed => {
            "see `ca`, `domain`, `cert` and `key` in docs/fluvio.md, and check the clock of this machine"
        }
        ErrorKind::InvalidConfig => "`floe --help` shows the options; a URL looks like embedded:./floe-data",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns the operating system's error in the causes of `error`.
fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        // The log shares one error among all waiters of the same write.
        let shared = || cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        if let Some(io) = cause.downcast_ref::<io::Error>().or_else(shared) {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

/// Returns advice on an error of the operating system, where there is any.
pub(crate) fn for_io(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("the disk is full: free space, or set a retention on the topics that grow")
        }
        io::ErrorKind::FileTooLarge => {
            Some("the file size limit is reached: raise it (`ulimit -f`), or use a smaller --segment-bytes")
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => {
            Some("choose a writable directory with --url embedded:PATH or FLOE_URL")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_has_its_own_advice() {
        let full = Error::new(ErrorKind::StorageError, "append failed")
            .with_source(io::Error::from(io::ErrorKind::StorageFull));
        assert!(for_error(&full).unwrap().contains("disk is full"));
        let denied = Error::new(ErrorKind::StorageError, "append failed")
            .with_source(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(for_error(&denied).unwrap().contains("FLOE_URL"));
        let shared = Error::new(ErrorKind::StorageError, "append failed")
            .with_source(Arc::new(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)));
        assert!(for_error(&shared).unwrap().contains("FLOE_URL"));
        let late = Error::new(ErrorKind::RequestTimeout, "not acknowledged within 30s").with_source(full);
        assert!(for_error(&late).unwrap().contains("disk is full"));
        for kind in [ErrorKind::StorageError, ErrorKind::RequestTimeout] {
            assert_eq!(for_error(&Error::new(kind, "broken")), None);
        }
    }

    #[test]
    fn unknown_topic_suggests_creating_it() {
        let error = Error::new(ErrorKind::TopicNotFound, "no such topic").with_topic(&"orders".into());
        assert!(for_error(&error).unwrap().contains("`floe topic create orders`"));
    }
}
