//! What the answers of a Walrus node mean for the caller.

use std::time::Duration;

use floe_core::{Effect, Error, ErrorKind};
use floe_wire::{
    WireError,
    walrus::{Refusal, Refused, ReplyError},
};

/// How soon a refusal that passes by itself is worth another attempt: a segment rolls over in about this time.
const SOON: Duration = Duration::from_millis(100);

/// Kind, whether trying again helps, whether it may have happened.
fn meaning(refusal: Refusal) -> (ErrorKind, bool, Effect) {
    match refusal {
        Refusal::UnknownTopic => (ErrorKind::TopicNotFound, false, Effect::None),
        Refusal::UnknownCommand | Refusal::InvalidFrame => (ErrorKind::ProtocolError, false, Effect::None),
        Refusal::BadRequest | Refusal::InvalidUtf8 => (ErrorKind::InvalidCommand, false, Effect::None),
        Refusal::NotLeader | Refusal::NoLeader => (ErrorKind::NotLeader, true, Effect::None),
        Refusal::ProposalTimedOut => (ErrorKind::RequestTimeout, true, Effect::Unknown),
        // Words that mean nothing to us are mostly troubles between the nodes, which pass.
        _ => (ErrorKind::ServerError, true, Effect::Unknown),
    }
}

/// The server said no.
pub(super) fn refused(refused: Refused) -> Error {
    let (kind, retriable, effect) = meaning(refused.refusal);
    let error = Error::new(kind, refused.text).with_retriable(retriable).with_effect(effect);
    if kind == ErrorKind::NotLeader { error.with_retry_after(SOON) } else { error }
}

/// The node does not know a topic that is there: it has not caught up with the others yet.
pub(super) fn behind(refused: &Refused) -> Error {
    let message = format!("the node has not caught up with its cluster: {}", refused.text);
    Error::new(ErrorKind::NotLeader, message).with_retry_after(SOON)
}

/// The answer is not the one hoped for.
pub(super) fn reply(error: ReplyError) -> Error {
    match error {
        ReplyError::Refused(no) => refused(no),
        ReplyError::Malformed(error) => Error::new(ErrorKind::ProtocolError, error.to_string())
            // On another connection the answers are in step again.
            .with_retriable(true)
            .with_source(error),
    }
}

/// A request that was not sent because it would not have arrived as it is.
pub(super) fn request(error: WireError) -> Error {
    let kind = match &error {
        WireError::TooLarge { what: "Walrus topic name", .. } => ErrorKind::InvalidCommand,
        WireError::TooLarge { .. } => ErrorKind::RecordTooLarge,
        _ => ErrorKind::InvalidCommand,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// Whether a connection that gave this answer is out of step.
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
            assert_eq!(error.message(), text, "the words of the server are kept");
            assert_eq!(error.retry_after().is_some(), kind == ErrorKind::NotLeader);
        }
    }

    #[test]
    fn answers_out_of_step_poison_the_connection() {
        let said = |text: &str| ReplyError::Refused(Refused::new(text));
        assert!(poisons(&said("invalid frame length")));
        assert!(!poisons(&said("invalid utf-8")));
        assert!(!poisons(&said("unknown topic x")));
        assert!(poisons(&floe_wire::walrus::parse_done(b"EMPTY").unwrap_err()));
    }
}
