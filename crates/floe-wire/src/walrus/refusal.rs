//! The phrases after `ERR` and what they mean.

use std::fmt;

use PhrasePosition::{Anywhere, Start};

/// Why a server refused a request. Walrus has no error numbers: the meaning is read from the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such topic.
    UnknownTopic,
    /// The server has no such command; also how a server without the batch extension answers its commands.
    UnknownCommand,
    /// The request lacks a part, or a part makes no sense.
    BadRequest,
    /// The request was too long or empty, and its body was not read: the connection is out of step.
    InvalidFrame,
    /// The request was not UTF-8; the connection stays usable.
    InvalidUtf8,
    /// The node does not hold the lease of the segment: it is being rolled over, or its leader has changed. Nothing was
    /// appended; trying again a little later helps.
    NotLeader,
    /// The node could not find the leader. Nothing was appended.
    NoLeader,
    /// The cluster did not agree in time; the change may still happen.
    ProposalTimedOut,
    /// The node passed the request on to the leader, and that failed; it may have been done all the same.
    ForwardFailed,
    /// Words that mean nothing to us.
    Other,
}

/// Position of a phrase in the text after `ERR `.
#[derive(Clone, Copy)]
enum PhrasePosition {
    Start,
    Anywhere,
}

/// Every phrase that is understood. The first row that matches decides, so causes quoted inside of other errors come
/// before the errors that quote them.
const PHRASES: &[(PhrasePosition, &str, Refusal)] = &[
    (Start, "unknown topic", Refusal::UnknownTopic),
    (Start, "unknown command", Refusal::UnknownCommand),
    (Start, "empty command", Refusal::UnknownCommand),
    (Start, "invalid frame length", Refusal::InvalidFrame),
    (Start, "invalid utf-8", Refusal::InvalidUtf8),
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
    /// What the text after `ERR ` means.
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

/// A refusal with the words of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the words mean.
    pub refusal: Refusal,
    /// The words after `ERR `.
    pub text: String,
}

impl Refused {
    /// A refusal in the server's words.
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
    fn every_phrase_is_understood() {
        let table = [
            ("unknown topic orders", Refusal::UnknownTopic),
            ("unknown topic PUT requires NotLeaderForPartition", Refusal::UnknownTopic),
            ("unknown command", Refusal::UnknownCommand),
            ("empty command", Refusal::UnknownCommand),
            ("invalid frame length", Refusal::InvalidFrame),
            ("invalid utf-8", Refusal::InvalidUtf8),
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
