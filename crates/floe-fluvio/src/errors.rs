//! The table of Fluvio's error codes: kind, whether a retry makes sense, whether the operation may have taken effect.

use floe_core::{Effect, Error, ErrorKind};
use floe_wire::fluvio::ErrorCode;

/// One code: number, kind, retriable, effect.
type Row = (i16, ErrorKind, bool, Effect);

/// Every code of the protocol, including those that only official clients use, in case a server sends one.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    (-1,    ErrorKind::ServerError,         true,  Effect::Unknown),
    (1,     ErrorKind::OffsetOutOfRange,    false, Effect::None),
    (2,     ErrorKind::ServerError,         false, Effect::Unknown),
    (6,     ErrorKind::NotLeader,           true,  Effect::None),
    // Written to the leader and not committed: it may commit later, or be truncated after an election.
    (7,     ErrorKind::RequestTimeout,      true,  Effect::Unknown),
    (10,    ErrorKind::RecordTooLarge,      false, Effect::None),
    (13,    ErrorKind::AuthFailed,          false, Effect::None),
    (56,    ErrorKind::StorageError,        false, Effect::Unknown),
    (60,    ErrorKind::InvalidCommand,      false, Effect::None),
    (61,    ErrorKind::InvalidCommand,      false, Effect::None),
    (71,    ErrorKind::OffsetOutOfRange,    false, Effect::None),
    // Retention frees space sooner or later.
    (72,    ErrorKind::StorageError,        true,  Effect::None),
    // Lasts until the server is restarted.
    (73,    ErrorKind::StorageError,        false, Effect::None),
    (1000,  ErrorKind::ServerError,         false, Effect::Unknown),
    (1001,  ErrorKind::ServerError,         true,  Effect::None),
    (1002,  ErrorKind::NotLeader,           true,  Effect::None),
    (1003,  ErrorKind::InvalidCommand,      false, Effect::None),
    (1004,  ErrorKind::InvalidCommand,      false, Effect::None),
    (2000,  ErrorKind::InvalidCommand,      false, Effect::None),
    (2001,  ErrorKind::TopicNotFound,       false, Effect::None),
    (2002,  ErrorKind::TopicAlreadyExists,  false, Effect::None),
    (2003,  ErrorKind::NotLeader,           true,  Effect::None),
    (2004,  ErrorKind::InvalidCommand,      false, Effect::None),
    // The topic remains, incomplete.
    (2005,  ErrorKind::ServerError,         false, Effect::Unknown),
    (2006,  ErrorKind::InvalidCommand,      false, Effect::None),
    (2007,  ErrorKind::TopicNotFound,       false, Effect::None),
    (2008,  ErrorKind::InvalidCommand,      false, Effect::None),
    (3000,  ErrorKind::NotLeader,           true,  Effect::None),
    (3001,  ErrorKind::NotLeader,           true,  Effect::None),
    // The stream died with its connection; another one may be opened.
    (3002,  ErrorKind::NetworkError,        true,  Effect::None),
    (3003,  ErrorKind::ServerError,         true,  Effect::Unknown),
    (3004,  ErrorKind::Unsupported,         false, Effect::None),
    (3005,  ErrorKind::ServerError,         false, Effect::Unknown),
    (5000,  ErrorKind::Unsupported,         false, Effect::None),
    (5001,  ErrorKind::Unsupported,         false, Effect::None),
    (5002,  ErrorKind::Unsupported,         false, Effect::None),
    (6000,  ErrorKind::ServerError,         false, Effect::Unknown),
    // A module that was just created has not reached every data server yet.
    (6001,  ErrorKind::ModuleNotFound,      true,  Effect::None),
    (6002,  ErrorKind::InvalidCommand,      false, Effect::None),
    (6003,  ErrorKind::InvalidCommand,      false, Effect::None),
    (6004,  ErrorKind::ServerError,         false, Effect::None),
    (6005,  ErrorKind::InvalidCommand,      false, Effect::None),
    (6006,  ErrorKind::InvalidCommand,      false, Effect::None),
    (6007,  ErrorKind::ServerError,         false, Effect::None),
    (6008,  ErrorKind::ServerError,         false, Effect::None),
    (7000,  ErrorKind::ServerError,         false, Effect::Unknown),
    (7001,  ErrorKind::InvalidCommand,      false, Effect::None),
    (7002,  ErrorKind::InvalidCommand,      false, Effect::None),
    (8000,  ErrorKind::Unsupported,         false, Effect::None),
    (8001,  ErrorKind::Unsupported,         false, Effect::None),
    (8002,  ErrorKind::Unsupported,         false, Effect::None),
    (8003,  ErrorKind::Unsupported,         false, Effect::None),
    (9000,  ErrorKind::InvalidConfig,       false, Effect::None),
    (10000, ErrorKind::InvalidCommand,      false, Effect::None),
    (10001, ErrorKind::InvalidCommand,      false, Effect::None),
    (11001, ErrorKind::InvalidCommand,      false, Effect::None),
    (11002, ErrorKind::InvalidCommand,      false, Effect::None),
    (11003, ErrorKind::InvalidCommand,      false, Effect::None),
    (11004, ErrorKind::InvalidCommand,      false, Effect::None),
    (11005, ErrorKind::InvalidCommand,      false, Effect::None),
    (11006, ErrorKind::InvalidCommand,      false, Effect::None),
    (12001, ErrorKind::InvalidCommand,      false, Effect::None),
    (12002, ErrorKind::InvalidCommand,      false, Effect::None),
];

/// Converts a code to an error. Callers handle [`ErrorCode::None`] first.
pub(super) fn error(code: &ErrorCode) -> Error {
    explained(code, None)
}

/// Converts a code to an error as [`error`], with the text that the server added.
pub(super) fn explained(code: &ErrorCode, text: Option<&str>) -> Error {
    let (kind, retriable, effect) = meaning(code);
    let message = match text.map(str::trim) {
        Some(text) if !text.is_empty() => format!("{code}: {text} (code {} {})", code.code(), code.name()),
        _ => format!("{code} (code {} {})", code.code(), code.name()),
    };
    Error::new(kind, message).with_retriable(retriable).with_effect(effect)
}

/// Converts a code to a result.
pub(super) fn check(code: ErrorCode) -> floe_core::Result<()> {
    code.into_result().map_err(|code| error(&code))
}

fn meaning(code: &ErrorCode) -> (ErrorKind, bool, Effect) {
    if let ErrorCode::Other(text) = code
        && text.contains("greater than leo")
    {
        // Platform 0.18 reports an offset beyond the end with this text.
        return (ErrorKind::OffsetOutOfRange, false, Effect::None);
    }
    // `floe serve` has no other code for appends that it refuses by their producer.
    let refused = [ErrorKind::Fenced, ErrorKind::ConditionFailed];
    if let ErrorCode::Other(text) = code
        && let Some(kind) = refused.into_iter().find(|kind| text.ends_with(&format!(" ({kind})")))
    {
        return (kind, false, Effect::None);
    }
    let row = ROWS.iter().find(|(number, ..)| *number == code.code());
    row.map_or((ErrorKind::ServerError, false, Effect::Unknown), |(_, kind, retriable, effect)| {
        (*kind, *retriable, *effect)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_of_the_protocol_has_one_row() {
        let known: BTreeSet<_> =
            ErrorCode::TABLE.iter().map(|(code, _)| *code).filter(|code| *code != 0).collect();
        let rows: BTreeSet<_> = ROWS.iter().map(|row| row.0).collect();
        assert_eq!(rows, known);
        assert_eq!(rows.len(), ROWS.len(), "a code has two rows");
    }

    fn codes(wanted: impl Fn(&Row) -> bool) -> Vec<i16> {
        ROWS.iter().filter(|row| wanted(row)).map(|row| row.0).collect()
    }

    /// Lists the codes after which a producer or consumer continues, and the ambiguous ones.
    #[test]
    fn codes_by_retriability_effect_and_kind() {
        assert_eq!(
            codes(|row| row.2),
            [-1, 6, 7, 72, 1001, 1002, 2003, 3000, 3001, 3002, 3003, 6001],
            "retriable"
        );
        assert_eq!(
            codes(|row| row.3 == Effect::Unknown),
            [-1, 2, 7, 56, 1000, 2005, 3003, 3005, 6000, 7000],
            "may have taken effect"
        );
        assert_eq!(codes(|row| row.1 == ErrorKind::NotLeader), [6, 1002, 2003, 3000, 3001]);
        assert_eq!(codes(|row| row.1 == ErrorKind::OffsetOutOfRange), [1, 71]);
        assert_eq!(codes(|row| row.1 == ErrorKind::TopicNotFound), [2001, 2007]);
        assert_eq!(codes(|row| row.1 == ErrorKind::StorageError), [56, 72, 73]);
        assert_eq!(codes(|row| row.1 == ErrorKind::AuthFailed), [13]);
        assert_eq!(codes(|row| row.1 == ErrorKind::RecordTooLarge), [10]);
        assert_eq!(codes(|row| row.1 == ErrorKind::TopicAlreadyExists), [2002]);
        assert_eq!(codes(|row| row.1 == ErrorKind::RequestTimeout), [7]);
    }

    #[test]
    fn messages_show_the_code_and_the_text_of_the_server() {
        let beyond = error(&ErrorCode::Other("start offset: 12 is greater than leo: 10".to_owned()));
        assert_eq!(beyond.kind(), ErrorKind::OffsetOutOfRange);
        assert!(beyond.message().contains("12 is greater"), "{beyond}");
        for kind in [ErrorKind::Fenced, ErrorKind::ConditionFailed] {
            let refused = error(&ErrorCode::Other(format!("epoch 3 is too old ({kind})")));
            assert_eq!((refused.kind(), refused.effect()), (kind, Effect::None));
        }
        let evicted = error(&ErrorCode::OffsetEvicted { offset: 3, next_available: 9 });
        assert!(evicted.message().contains('9') && evicted.message().contains("71"), "{evicted}");
        let why = explained(&ErrorCode::TopicError, Some("0 partitions"));
        assert!(why.message().contains("0 partitions"), "{why}");
        let unknown = error(&ErrorCode::Unknown(4711));
        assert_eq!((unknown.kind(), unknown.effect()), (ErrorKind::ServerError, Effect::Unknown));
        assert!(check(ErrorCode::None).is_ok());
    }
}
