//! Meaning of the phrases after `ERR`.

use std::fmt;

use PhrasePosition::{Anywhere, Start};

/// Reason why a server refuses a request. Walrus has no error numbers: floe derives the reason from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The topic does not exist.
    UnknownTopic,
    /// The server does not know the command; also the answer of a server without the batch extension to its commands.
    UnknownCommand,
    /// A part of the request is missing or invalid.
    BadRequest,
    /// The request was too long or empty, and the server did not read its body: the connection is desynchronized.
    InvalidFrame,
    /// The request was not UTF-8; the connection stays usable.
    InvalidUtf8,
    /// The rules of the server do not let the client do that; the answer of floe's own server.
    PermissionDenied,
    /// The node does not hold the lease of the segment: it is being rolled over, or its leader has changed. Nothing
    /// was appended; a retry after a short delay usually succeeds.
    NotLeader,
    /// The node could not find the leader. Nothing was appended.
    NoLeader,
    /// The cluster did not reach consensus in time; the change may still happen.
    ProposalTimedOut,
    /// The node forwarded the request to the leader, and that failed. The leader may have executed it.
    ForwardFailed,
    /// Text unknown to floe.
    Other,
}

/// Position of a phrase in the text after `ERR `.
#[derive(Clone, Copy)]
enum PhrasePosition {
    Start,
    Anywhere,
}

/// Every known phrase. The first row that matches decides, so causes quoted inside other errors come before the errors
/// that quote them.
const PHRASES: &[(PhrasePosition, &str, Refusal)] = &[
    (Start, "unknown topic", Refusal::UnknownTopic),
    (Start, "unknown command", Refusal::UnknownCommand),
    (Start, "empty command", Refusal::UnknownCommand),
    (Start, "invalid frame length", Refusal::InvalidFrame),
    (Start, "invalid utf-8", Refusal::InvalidUtf8),
    (Start, "permission denied", Refusal::PermissionDenied),
    (Start, "REGISTER ", Refusal::BadRequest),
    (Start, "PUT ", Refusal::BadRequest),
    (Start, "GET ", Refusal::BadRequest),
    (Start, "STATE ", Refusal::BadRequest),
    (Start, "BATCH_PUT ", Refusal::BadRequest),
    (Start, "BATCH_GET ", Refusal::BadRequest),
    (Anywhere, "NotLeaderForPartition", Refusal::NotLeader),
    (Anywhere, "unknown addr for", Refusal::NoLeader),
    (Anywhere, "could not resolve addr", Refusal::NoLeader),
    (Anywhere, "propose timed out", Refusal::ProposalTimedOut),
    (Start, "forward append failed", Refusal::ForwardFailed),
    (Start, "forwarded metadata failed", Refusal::ForwardFailed),
];

impl Refusal {
    /// Returns the meaning of the text after `ERR `.
    #[must_use]
    pub fn of(text: &str) -> Self {
        PHRASES
            .iter()
            .find(|(position, phrase, _)| match position {
                Start => text.starts_with(phrase),
                Anywhere => text.contains(phrase),
            })
            .map_or(Self::Other, |(_, _, refusal)| *refusal)
    }
}

/// A refusal with the server's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Meaning of the text.
    pub refusal: Refusal,
    /// The text after `ERR `.
    pub text: String,
}

impl Refused {
    /// Creates a refusal from the server's text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { refusal: Refusal::of(&text), text }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_has_its_meaning() {
        let table = [
            ("unknown topic orders", Refusal::UnknownTopic),
            ("unknown topic PUT requires NotLeaderForPartition", Refusal::UnknownTopic),
            ("unknown command", Refusal::UnknownCommand),
            ("empty command", Refusal::UnknownCommand),
            ("invalid frame length", Refusal::InvalidFrame),
            ("invalid utf-8", Refusal::InvalidUtf8),
            ("permission denied: no rule of the server lets anonymous produce", Refusal::PermissionDenied),
            ("forward append failed: permission denied", Refusal::ForwardFailed),
            ("REGISTER requires a topic", Refusal::BadRequest),
            ("PUT requires a payload", Refusal::BadRequest),
            ("GET requires a topic", Refusal::BadRequest),
            ("STATE requires a topic", Refusal::BadRequest),
            ("BATCH_PUT requires a topic", Refusal::BadRequest),
            ("BATCH_GET requires a topic", Refusal::BadRequest),
            ("NotLeaderForPartition: t_orders_s_2", Refusal::NotLeader),
            ("forward append failed: NotLeaderForPartition: t_orders_s_2", Refusal::NotLeader),
            ("unknown addr for node 3", Refusal::NoLeader),
            ("could not resolve addr db:6001", Refusal::NoLeader),
            ("raft propose timed out", Refusal::ProposalTimedOut),
            ("forward append failed: connection reset", Refusal::ForwardFailed),
            ("forwarded metadata failed: no", Refusal::ForwardFailed),
            ("No space left on device", Refusal::Other),
            ("", Refusal::Other),
        ];
        for (text, refusal) in table {
            assert_eq!(Refused::new(text), Refused { refusal, text: text.to_owned() }, "{text}");
        }
    }
}
