//! The mapping of a Walrus node's error replies.

use std::time::Duration;

use floe_core::{Effect, Error, ErrorKind};
use floe_wire::{
    WireError,
    walrus::{Refusal, Refused, ReplyError},
};

/// Pause before a retry after a transient refusal: a segment rolls over in about this time.
const SOON: Duration = Duration::from_millis(100);

/// Returns kind, retriability and effect of a refusal.
fn meaning(refusal: Refusal) -> (ErrorKind, bool, Effect) {
    match refusal {
        Refusal::UnknownTopic => (ErrorKind::TopicNotFound, false, Effect::None),
        Refusal::UnknownCommand | Refusal::InvalidFrame => (ErrorKind::ProtocolError, false, Effect::None),
        Refusal::BadRequest | Refusal::InvalidUtf8 => (ErrorKind::InvalidCommand, false, Effect::None),
        Refusal::PermissionDenied => (ErrorKind::AuthFailed, false, Effect::None),
        Refusal::NotLeader | Refusal::NoLeader => (ErrorKind::NotLeader, true, Effect::None),
        Refusal::ProposalTimedOut => (ErrorKind::RequestTimeout, true, Effect::Unknown),
        // Unknown messages are mostly transient errors between nodes.
        _ => (ErrorKind::ServerError, true, Effect::Unknown),
    }
}

/// Converts a refusal of the server.
pub(super) fn refused(refused: Refused) -> Error {
    let (kind, retriable, effect) = meaning(refused.refusal);
    let error = Error::new(kind, refused.text).with_retriable(retriable).with_effect(effect);
    if kind == ErrorKind::NotLeader { error.with_retry_after(SOON) } else { error }
}

/// Converts the refusal of a node that does not know an existing topic, because it has not caught up yet.
pub(super) fn behind(refused: &Refused) -> Error {
    let message = format!("the node has not caught up with its cluster: {}", refused.text);
    Error::new(ErrorKind::NotLeader, message).with_retry_after(SOON)
}

/// Converts an error reply.
pub(super) fn reply(error: ReplyError) -> Error {
    match error {
        ReplyError::Refused(no) => refused(no),
        ReplyError::Malformed(error) => Error::new(ErrorKind::ProtocolError, error.to_string())
            // A new connection has no desync.
            .with_retriable(true)
            .with_source(error),
    }
}

/// Converts the error of a request that cannot be encoded without change.
pub(super) fn request(error: WireError) -> Error {
    let kind = match &error {
        WireError::TooLarge { what: "Walrus topic name", .. } => ErrorKind::InvalidCommand,
        WireError::TooLarge { .. } => ErrorKind::RecordTooLarge,
        _ => ErrorKind::InvalidCommand,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// Whether a reply shows a protocol desync, after which the connection must not be reused.
pub(super) fn poisons(error: &ReplyError) -> bool {
    match error {
        ReplyError::Refused(refused) => refused.refusal == Refusal::InvalidFrame,
        ReplyError::Malformed(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_become_kinds() {
        let table = [
            ("unknown topic t", ErrorKind::TopicNotFound, false, Effect::None),
            ("unknown command", ErrorKind::ProtocolError, false, Effect::None),
            ("invalid frame length", ErrorKind::ProtocolError, false, Effect::None),
            ("PUT requires a payload", ErrorKind::InvalidCommand, false, Effect::None),
            ("permission denied: no", ErrorKind::AuthFailed, false, Effect::None),
            ("invalid utf-8", ErrorKind::InvalidCommand, false, Effect::None),
            ("NotLeaderForPartition: x", ErrorKind::NotLeader, true, Effect::None),
            ("unknown addr for node 2", ErrorKind::NotLeader, true, Effect::None),
            ("raft propose timed out", ErrorKind::RequestTimeout, true, Effect::Unknown),
            ("forward append failed: io", ErrorKind::ServerError, true, Effect::Unknown),
            ("disk on fire", ErrorKind::ServerError, true, Effect::Unknown),
        ];
        for (text, kind, retriable, effect) in table {
            let error = refused(Refused::new(text));
            assert_eq!(
                (error.kind(), error.is_retriable(), error.effect()),
                (kind, retriable, effect),
                "{text}"
            );
            assert_eq!(error.message(), text, "the text of the server is kept");
            assert_eq!(error.retry_after().is_some(), kind == ErrorKind::NotLeader);
        }
    }

    #[test]
    fn protocol_desync_poisons_the_connection() {
        let said = |text: &str| ReplyError::Refused(Refused::new(text));
        assert!(poisons(&said("invalid frame length")));
        assert!(!poisons(&said("invalid utf-8")));
        assert!(!poisons(&said("unknown topic x")));
        assert!(poisons(&floe_wire::walrus::parse_done(b"EMPTY").unwrap_err()));
    }
}
