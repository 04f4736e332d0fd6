//! Advice on an error, in one line.

use std::{error::Error as _, io, sync::Arc};

use floe::{
    Error, ErrorKind,
    consumer::{Gap, GapReason},
};

/// Engine that can neither list nor delete topics.
const WALRUS: &str = "walrus";

/// Returns advice on an engine error, where there is any.
pub(crate) fn for_error(error: &Error) -> Option<String> {
    let topic = error.topic().map_or("NAME", |topic| topic.as_str());
    let is_walrus = error.engine() == Some(WALRUS);
    let hint = match error.kind() {
        ErrorKind::TopicNotFound => {
            let can_create = error.topic().is_none_or(|topic| topic.validate().is_ok());
            let create = format!("create it with `floe topic create {topic}`");
            return match (can_create, is_walrus) {
                (true, true) => Some(create),
                (true, false) => Some(format!("{create}, or see `floe topic list`")),
                (false, true) => None,
                (false, false) => Some("`floe topic list` shows the topics".to_owned()),
            };
        }
        ErrorKind::PartitionNotFound | ErrorKind::OffsetOutOfRange => {
            return Some(format!("`floe topic describe {topic}` shows the partitions and their offsets"));
        }
        ErrorKind::TopicAlreadyExists if is_walrus => "use the topic, or choose another name",
        ErrorKind::TopicAlreadyExists => {
            return Some(format!("use the topic, or delete it first with `floe topic delete {topic} --yes`"));
        }
        ErrorKind::ModuleNotFound if error.operation() == Some("delete_object") => {
            "`floe smartmodule list` shows the modules"
        }
        ErrorKind::ModuleNotFound => {
            "`floe smartmodule list` shows the modules; --smartmodule-path applies one from a file"
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
        // Groups with long names are too large as well.
        ErrorKind::RecordTooLarge
            if matches!(error.operation(), Some("append" | "produce" | "send") | None) =>
        {
            "split the record, or send only a reference to large data"
        }
        ErrorKind::StoreInUse => {
            "stop the process that has the store open, wait for it with --wait 10s, or use another store with --url \
             embedded:PATH"
        }
        ErrorKind::CorruptData => {
            "`floe check DIR` shows what is damaged: restore it from a backup, or see `floe check --help` for a repair"
        }
        // A full disk or the like may be the reason why a producer ran out of time.
        ErrorKind::StorageError | ErrorKind::RequestTimeout => {
            return io_cause(error).and_then(for_store).map(str::to_owned);
        }
        ErrorKind::ConnectionTimeout | ErrorKind::ConnectionRefused | ErrorKind::NetworkError => {
            "check the address, which comes from --url or from the cluster that --url names, and that the server runs"
        }
        ErrorKind::AuthFailed => {
            "ask the operator of the server for the right: `floe serve --access FILE` holds the rules, and its log names \
             each refusal with the subject of the certificate"
        }
        ErrorKind::TlsFailed => {
            "see `ca`, `domain`, `cert` and `key` in docs/fluvio.md, and check the clock of this machine"
        }
        ErrorKind::InvalidConfig => return for_setting(error.message()).map(str::to_owned),
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Returns advice on an invalid setting by where it comes from. Most messages say the right form themselves.
fn for_setting(message: &str) -> Option<&'static str> {
    if message.starts_with("URL ") {
        let says_the_form = message.contains("write ") || message.contains("did you mean");
        return (!says_the_form).then_some(
            "a URL looks like embedded:./floe-data, memory:, fluvio://HOST:PORT or walrus://HOST:PORT,HOST:PORT",
        );
    }
    if message.starts_with("no profile ") {
        return Some("`floe profile list` shows the profiles; `floe profile add NAME URL` adds one");
    }
    message.contains(".toml:").then_some("`floe config reference` shows all settings with their forms")
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

/// Returns advice on an error of the operating system at the files of a store, where there is any.
fn for_store(error: &io::Error) -> Option<&'static str> {
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

/// Returns advice on an error of the operating system at a file that the message names, where there is any.
pub(crate) fn for_file(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space on the disk of this file")
        }
        io::ErrorKind::FileTooLarge => Some("the file size limit is reached: raise it (`ulimit -f`)"),
        io::ErrorKind::PermissionDenied => Some("check the permissions of the file and of its directory"),
        _ => None,
    }
}

/// Returns advice on a failed write to standard output, where there is any.
pub(crate) fn for_output(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("the file that standard output goes to has no room; the store is not concerned")
        }
        _ => for_file(error),
    }
}

#[cfg(test)]
mod tests {
    use floe::{Topic, url::EngineUrl};

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

    /// A command that a hint names works on the engine of the error, with the topic of the error.
    #[test]
    fn hints_can_work_where_they_are_given() {
        for &kind in ErrorKind::ALL {
            for engine in ["embedded", "fluvio", WALRUS] {
                for name in ["orders", "A B", "../../etc", "-", ""] {
                    let topic = Topic::from(name);
                    let error = Error::new(kind, "broken").with_engine(engine).with_topic(&topic);
                    let hint = for_error(&error).unwrap_or_default();
                    let case = format!("{kind} on {engine}, {name:?}: {hint}");
                    assert!(!hint.contains("topic create") || topic.validate().is_ok(), "{case}");
                    let needs_list = hint.contains("topic list") || hint.contains("topic delete");
                    assert!(!needs_list || engine != WALRUS, "{case}");
                    assert!(!hint.contains('\n'), "{case}");
                }
            }
        }
    }

    #[test]
    fn hints_are_about_their_own_cause() {
        let operation = |kind, operation| for_error(&Error::new(kind, "broken").with_operation(operation));
        assert!(operation(ErrorKind::RecordTooLarge, "append").unwrap().contains("split the record"));
        assert_eq!(operation(ErrorKind::RecordTooLarge, "commit"), None, "the name of the group is too long");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!for_output(&full).unwrap().contains("retention"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!for_file(&denied).unwrap().contains("--url"), "a file to read is no store");
    }

    #[test]
    fn invalid_settings_get_the_advice_of_their_origin() {
        let url = |text: &str| for_error(&text.parse::<EngineUrl>().unwrap_err()).unwrap_or_default();
        assert!(url("kafka://h").contains("fluvio://HOST:PORT"));
        assert_eq!(url("127.0.0.1:9003"), "", "the message has the right form");
        let setting = |message: &'static str| for_error(&Error::new(ErrorKind::InvalidConfig, message));
        assert!(setting("floe.toml:2: producer.linger = \"5 parsec\"").unwrap().contains("config reference"));
        assert!(setting("no profile \"x\": no file has a profile").unwrap().contains("profile list"));
        for other in
            ["the group name is empty", "the authority /nope cannot be read", "compression.level is 99"]
        {
            assert_eq!(setting(other), None, "{other}");
        }
    }

    #[test]
    fn unknown_topic_suggests_creating_it() {
        let error = Error::new(ErrorKind::TopicNotFound, "no such topic").with_topic(&"orders".into());
        assert!(for_error(&error).unwrap().contains("`floe topic create orders`"));
    }
}
