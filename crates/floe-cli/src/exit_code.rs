//! Exit codes: a contract with scripts, listed by `floe --help` and in `docs/cli.md`.

use floe::ErrorKind;

/// Success, including a reader of standard output that closed the pipe.
pub(crate) const SUCCESS: u8 = 0;
/// Failure without a code of its own.
pub(crate) const FAILURE: u8 = 1;
/// Invalid command line or invalid setting.
pub(crate) const USAGE: u8 = 2;
/// Missing topic, partition, offset, or file.
pub(crate) const NOT_FOUND: u8 = 3;
/// Unreachable server, elapsed deadline, or exhausted retries.
pub(crate) const UNAVAILABLE: u8 = 4;
/// Refused access or failed TLS verification.
pub(crate) const DENIED: u8 = 5;
/// Damaged data, or a failed check of it.
pub(crate) const CORRUPTION: u8 = 6;
/// Missing records.
pub(crate) const LOSS: u8 = 7;
/// Partial success.
pub(crate) const PARTIAL: u8 = 8;
/// Termination by Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// Every exit code with its meaning in a few words.
const MEANINGS: [(u8, &str); 10] = [
    (SUCCESS, "success"),
    (FAILURE, "failure"),
    (USAGE, "usage error"),
    (NOT_FOUND, "not found"),
    (UNAVAILABLE, "unreachable or timed out"),
    (DENIED, "access denied"),
    (CORRUPTION, "data damaged"),
    (LOSS, "records missing"),
    (PARTIAL, "partial success"),
    (INTERRUPTED, "interrupted"),
];

/// Exit code of each error kind.
const KINDS: &[(ErrorKind, u8)] = &[
    (ErrorKind::ConnectionTimeout, UNAVAILABLE),
    (ErrorKind::ConnectionRefused, UNAVAILABLE),
    (ErrorKind::NetworkError, UNAVAILABLE),
    (ErrorKind::TlsFailed, DENIED),
    (ErrorKind::AuthFailed, DENIED),
    (ErrorKind::RequestTimeout, UNAVAILABLE),
    (ErrorKind::ServerError, FAILURE),
    (ErrorKind::ProtocolError, FAILURE),
    (ErrorKind::NotLeader, UNAVAILABLE),
    (ErrorKind::RateLimited, UNAVAILABLE),
    (ErrorKind::CircuitOpen, UNAVAILABLE),
    (ErrorKind::TopicNotFound, NOT_FOUND),
    (ErrorKind::TopicAlreadyExists, FAILURE),
    (ErrorKind::PartitionNotFound, NOT_FOUND),
    (ErrorKind::ModuleNotFound, NOT_FOUND),
    (ErrorKind::OffsetOutOfRange, NOT_FOUND),
    (ErrorKind::Gap, LOSS),
    (ErrorKind::RecordTooLarge, FAILURE),
    (ErrorKind::InvalidCommand, USAGE),
    (ErrorKind::InvalidConfig, USAGE),
    (ErrorKind::Unsupported, FAILURE),
    (ErrorKind::BufferFull, UNAVAILABLE),
    (ErrorKind::SerializationError, FAILURE),
    (ErrorKind::DeserializationError, FAILURE),
    (ErrorKind::HandlerFailed, FAILURE),
    (ErrorKind::Nondeterministic, FAILURE),
    (ErrorKind::CorruptData, CORRUPTION),
    (ErrorKind::StorageError, FAILURE),
    (ErrorKind::StoreInUse, FAILURE),
    (ErrorKind::Fenced, FAILURE),
    (ErrorKind::ConditionFailed, FAILURE),
    (ErrorKind::NotAMember, NOT_FOUND),
    (ErrorKind::Closed, FAILURE),
];

/// Returns the exit code of an error kind; [`FAILURE`] for a kind that a newer `floe` library adds.
pub(crate) fn of(kind: ErrorKind) -> u8 {
    KINDS.iter().find(|(known, _)| *known == kind).map_or(FAILURE, |(_, code)| *code)
}

/// Renders the exit codes for the end of `floe --help`, several on a line.
pub(crate) fn summary() -> String {
    let all = MEANINGS.map(|(code, meaning)| format!("{code} {meaning}"));
    let (first, second) = all.split_at(all.len() / 2);
    format!("Exit codes: {},\n{}.", first.join(", "), second.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_code;

    #[test]
    fn every_kind_has_exactly_one_exit_code() {
        for kind in ErrorKind::ALL {
            let listed = KINDS.iter().filter(|(known, _)| known == kind).count();
            assert_eq!(listed, 1, "{kind} is listed {listed} times");
        }
        assert_eq!(KINDS.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn manual_lists_every_exit_code_and_its_error_kinds() {
        let manual = include_str!("../../../docs/cli.md");
        for (code, meaning) in MEANINGS {
            let kinds = ErrorKind::ALL.iter().filter(|kind| code != SUCCESS && of(**kind) == code);
            let kinds = kinds.map(|kind| format!("`{kind}`"));
            let own = command_code::ALL.iter().filter(|own| own.exit_code == code);
            let kinds: Vec<_> = kinds.chain(own.map(|own| format!("`{}`", own.code))).collect();
            let row = manual.lines().find(|line| line.starts_with(&format!("| {code} | {meaning}")));
            let row = row.unwrap_or_else(|| panic!("docs/cli.md has no row for exit code {code}: {meaning}"));
            let listed = row.rsplit('|').nth(1).unwrap().trim();
            assert_eq!(listed, kinds.join(", "), "error codes of exit code {code} in docs/cli.md");
        }
    }
}
