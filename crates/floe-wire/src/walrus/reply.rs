//! Answers: servers write them, clients read them.
//!
//! An answer does not name its request; the client matches them by order.

use std::str::from_utf8;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    cluster::{NodeMetrics, TopicState},
    command::{number, put_entries, take_entries},
    frame::{MAX_REPLY_LEN, put_frame},
    refusal::Refused,
};
use crate::WireError;

/// An answer, as a server writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `OK`
    Done,
    /// `OK <payload>`: the answer to `GET`.
    Entry(Bytes),
    /// `EMPTY`: no entry is available.
    Empty,
    /// JSON without any prefix: the answer to `STATE` and `METRICS`.
    Json(String),
    /// `OK <count>`: the answer to `BATCH_PUT`.
    Count(usize),
    /// `OK <count> <len1> <entry1> …`: the answer to `BATCH_GET`.
    Entries(Vec<Bytes>),
    /// `ERR <text>`
    Refused(Refused),
}

impl Reply {
    /// Appends the answer as one frame.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] above [`MAX_REPLY_LEN`].
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        put_frame(out, MAX_REPLY_LEN, |out| match self {
            Self::Done => out.put_slice(b"OK"),
            Self::Entry(payload) => {
                out.put_slice(b"OK ");
                out.put_slice(payload);
            }
            Self::Empty => out.put_slice(b"EMPTY"),
            Self::Json(text) => out.put_slice(text.as_bytes()),
            Self::Count(count) => out.put_slice(format!("OK {count}").as_bytes()),
            Self::Entries(entries) => {
                out.put_slice(format!("OK {}", entries.len()).as_bytes());
                put_entries(out, entries.iter().map(|entry| &entry[..]));
            }
            Self::Refused(refused) => {
                out.put_slice(b"ERR ");
                out.put_slice(refused.text.as_bytes());
            }
        })
    }
}

/// Failure of a request, as read from its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyError {
    /// The server refused the request; the connection stays usable.
    Refused(Refused),
    /// The answer does not fit the request: the connection is desynchronized, or the peer is not a Walrus node.
    Malformed(WireError),
}

impl ReplyError {
    fn malformed(what: &'static str, reply: &[u8]) -> Self {
        let start: String =
            String::from_utf8_lossy(reply.get(..reply.len().min(60)).unwrap_or_default()).into();
        Self::Malformed(WireError::malformed(what, format!("unexpected answer {start:?}")))
    }
}

/// Fails with the text after `ERR `, if the answer is a refusal.
fn check_refusal(reply: &[u8]) -> Result<(), ReplyError> {
    match reply.strip_prefix(b"ERR ") {
        Some(text) => Err(ReplyError::Refused(Refused::new(String::from_utf8_lossy(text)))),
        None => Ok(()),
    }
}

/// Parses the answer to `REGISTER` or `PUT`.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_done(reply: &[u8]) -> Result<(), ReplyError> {
    check_refusal(reply)?;
    if reply == b"OK" { Ok(()) } else { Err(ReplyError::malformed("answer to a Walrus command", reply)) }
}

/// Parses the answer to `GET`: the entry, or `None` if no entry is available.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_get(reply: &Bytes) -> Result<Option<Bytes>, ReplyError> {
    check_refusal(reply)?;
    if reply == &b"EMPTY"[..] {
        return Ok(None);
    }
    if reply.starts_with(b"OK ") {
        return Ok(Some(reply.slice(3..)));
    }
    Err(ReplyError::malformed("answer to GET", reply))
}

/// Parses the answer to `STATE`.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_state(reply: &[u8]) -> Result<TopicState, ReplyError> {
    check_refusal(reply)?;
    TopicState::from_json(reply).ok_or_else(|| ReplyError::malformed("answer to STATE", reply))
}

/// Parses the answer to `METRICS`.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_metrics(reply: &[u8]) -> Result<NodeMetrics, ReplyError> {
    check_refusal(reply)?;
    NodeMetrics::from_json(reply).ok_or_else(|| ReplyError::malformed("answer to METRICS", reply))
}

/// Parses the answer to `BATCH_PUT`: the number of entries appended.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_batch_put(reply: &[u8]) -> Result<usize, ReplyError> {
    check_refusal(reply)?;
    let count = reply.strip_prefix(b"OK ").and_then(|count| number(from_utf8(count).ok()?));
    count.ok_or_else(|| ReplyError::malformed("answer to BATCH_PUT", reply))
}

/// Parses the answer to `BATCH_GET`: the available entries.
///
/// # Errors
/// [`ReplyError::Refused`] or [`ReplyError::Malformed`].
pub fn parse_batch_get(reply: &Bytes) -> Result<Vec<Bytes>, ReplyError> {
    check_refusal(reply)?;
    if reply == &b"EMPTY"[..] {
        return Ok(Vec::new());
    }
    let entries = || {
        let rest = reply.strip_prefix(b"OK ")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (count, rest) = rest.split_at_checked(digits)?;
        let entries = take_entries(rest, number(from_utf8(count).ok()?)?)?;
        Some(entries.into_iter().map(|entry| reply.slice_ref(entry)).collect())
    };
    entries().ok_or_else(|| ReplyError::malformed("answer to BATCH_GET", reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walrus::{Refusal, take_frame};

    fn encoded(reply: &Reply) -> Bytes {
        let mut out = BytesMut::new();
        reply.encode(&mut out).unwrap();
        take_frame(&mut out, MAX_REPLY_LEN).unwrap().unwrap()
    }

    fn refused(text: &str) -> ReplyError {
        ReplyError::Refused(Refused::new(text))
    }

    #[test]
    fn answers_round_trip() {
        assert_eq!(parse_done(&encoded(&Reply::Done)), Ok(()));
        assert_eq!(
            parse_get(&encoded(&Reply::Entry(Bytes::from("ERR no")))),
            Ok(Some(Bytes::from("ERR no")))
        );
        assert_eq!(parse_get(&encoded(&Reply::Entry(Bytes::new()))), Ok(Some(Bytes::new())));
        assert_eq!(parse_get(&encoded(&Reply::Empty)), Ok(None));
        assert_eq!(parse_batch_put(&encoded(&Reply::Count(12))), Ok(12));
        let entries = vec![Bytes::from("a 1"), Bytes::new(), Bytes::from(&b"\xff "[..])];
        assert_eq!(parse_batch_get(&encoded(&Reply::Entries(entries.clone()))), Ok(entries));
        assert_eq!(parse_batch_get(&encoded(&Reply::Empty)), Ok(vec![]));
    }

    #[test]
    fn every_answer_may_be_a_refusal() {
        let reply = encoded(&Reply::Refused(Refused::new("unknown topic t")));
        assert_eq!(&reply[..], b"ERR unknown topic t");
        let expected = refused("unknown topic t");
        assert_eq!(parse_done(&reply), Err(expected.clone()));
        assert_eq!(parse_get(&reply), Err(expected.clone()));
        assert_eq!(parse_batch_put(&reply), Err(expected.clone()));
        assert_eq!(parse_batch_get(&reply), Err(expected.clone()));
        assert_eq!(parse_state(&reply).unwrap_err(), expected);
        assert_eq!(parse_metrics(&reply).unwrap_err(), expected);
        let ReplyError::Refused(refused) = expected else { panic!() };
        assert_eq!(refused.refusal, Refusal::UnknownTopic);
    }

    #[test]
    fn answers_to_another_command_are_malformed() {
        let malformed =
            |result: Result<(), ReplyError>| assert!(matches!(result, Err(ReplyError::Malformed(_))));
        malformed(parse_done(b"EMPTY"));
        malformed(parse_done(b"OK 1"));
        malformed(parse_get(&Bytes::from("OK")).map(drop));
        malformed(parse_get(&Bytes::from("{}")).map(drop));
        malformed(parse_state(b"OK").map(drop));
        malformed(parse_metrics(b"[]").map(drop));
        malformed(parse_batch_put(b"OK").map(drop));
        malformed(parse_batch_put(b"OK -1").map(drop));
        for reply in ["OK", "OK 1", "OK 1 1 ab", "OK 2 1 a", "OK 1 9 a", "OK 99999999999999999999 1 a"] {
            malformed(parse_batch_get(&Bytes::from(reply)).map(drop));
        }
    }
}
