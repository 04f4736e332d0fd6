//! Commands: clients write them, servers read them.

use std::str::from_utf8;

use bytes::{BufMut, BytesMut};

use super::{
    entry::{self, PACKED_PREFIX},
    frame::{MAX_BATCH_FRAME_LEN, MAX_FRAME_LEN, put_frame},
    refusal::Refused,
};
use crate::{WireError, batch::EncodedBatch};

/// Longest topic name that floe sends, in bytes. Walrus has no limit of its own; this one bounds the room that a topic
/// name takes from an entry.
pub const MAX_TOPIC_LEN: usize = 255;

/// Bytes of a `PUT` besides topic and payload: the word and two spaces.
pub const PUT_OVERHEAD: usize = 5;

/// Most entries of one batch command.
pub const MAX_BATCH_ENTRIES: usize = 2_000;

/// A command. Clients encode it, servers parse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `REGISTER <topic>`: creates the topic unless it exists.
    Register {
        /// Name of the topic.
        topic: &'a str,
    },
    /// `PUT <topic> <payload>`: appends an entry.
    Put {
        /// Name of the topic.
        topic: &'a str,
        /// The entry.
        payload: &'a str,
    },
    /// `GET <topic>`: takes the next entry.
    Get {
        /// Name of the topic.
        topic: &'a str,
    },
    /// `STATE <topic>`: segments and leaders of the topic.
    State {
        /// Name of the topic.
        topic: &'a str,
    },
    /// `METRICS`: the state of the node.
    Metrics,
    /// `BATCH_PUT …`, an extension: appends all entries or none.
    BatchPut {
        /// Name of the topic.
        topic: &'a str,
        /// The entries, at most [`MAX_BATCH_ENTRIES`].
        entries: Vec<&'a [u8]>,
    },
    /// `BATCH_GET …`, an extension: takes the next entries.
    BatchGet {
        /// Name of the topic.
        topic: &'a str,
        /// Most entries to return.
        max_entries: usize,
        /// Approximate size limit in bytes; the first entry is returned whatever its size.
        max_bytes: usize,
    },
    /// `BATCH_GET` without a topic, to detect the extension. A server with it asks for the topic, a server without it
    /// does not know the command; neither changes state.
    ProbeBatch,
}

/// Checks a topic name. On the wire a space ends it, and white space at its end is lost.
///
/// # Errors
/// [`WireError::Malformed`] that names the rule; [`WireError::TooLarge`] beyond [`MAX_TOPIC_LEN`].
pub fn check_topic(topic: &str) -> Result<(), WireError> {
    if topic.len() > MAX_TOPIC_LEN {
        return Err(WireError::TooLarge {
            what: "Walrus topic name",
            size: topic.len(),
            limit: MAX_TOPIC_LEN,
        });
    }
    if topic.is_empty() {
        return Err(WireError::malformed("Walrus topic name", "empty"));
    }
    if topic.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(WireError::malformed(
            "Walrus topic name",
            format!("{topic:?} has white space or control characters"),
        ));
    }
    Ok(())
}

/// Checks that an entry arrives unchanged: it must be text that is not empty and does not end in white space.
///
/// # Errors
/// [`WireError::Malformed`] that names the rule.
pub fn check_text(payload: &[u8]) -> Result<&str, WireError> {
    let malformed = |problem: &str| Err(WireError::malformed("Walrus entry", problem));
    let Ok(text) = from_utf8(payload) else {
        return malformed("not UTF-8; the plain framing carries text only");
    };
    if text.is_empty() {
        return malformed("empty; the plain framing carries no empty entries");
    }
    if text.ends_with(char::is_whitespace) {
        return malformed("ends in white space, which the server would drop");
    }
    Ok(text)
}

/// Returns the largest batch, in bytes, whose packed entry fits a `PUT` to a topic whose name has `topic_len` bytes.
#[must_use]
pub const fn max_packed_batch(topic_len: usize) -> usize {
    let overhead = PUT_OVERHEAD + topic_len + PACKED_PREFIX.len();
    MAX_FRAME_LEN.saturating_sub(overhead) / 4 * 3
}

/// Returns the largest value, in bytes, that fits a `PUT` to a topic whose name has `topic_len` bytes.
#[must_use]
pub const fn max_plain_value(topic_len: usize) -> usize {
    MAX_FRAME_LEN.saturating_sub(PUT_OVERHEAD + topic_len)
}

/// Encodes the `PUT` of a packed batch without an intermediate copy and without the checks that text needs.
///
/// # Errors
/// The errors of [`Command::encode`]; [`WireError::TooLarge`] if the batch does not fit one frame.
pub fn encode_packed_put(out: &mut BytesMut, topic: &str, batch: &EncodedBatch) -> Result<(), WireError> {
    check_topic(topic)?;
    let size = PUT_OVERHEAD + topic.len() + entry::packed_len(batch.len());
    if size > MAX_FRAME_LEN {
        return Err(WireError::TooLarge { what: "Walrus frame", size, limit: MAX_FRAME_LEN });
    }
    out.reserve(size + super::LENGTH_LEN);
    put_frame(out, MAX_FRAME_LEN, |out| {
        out.put_slice(b"PUT ");
        out.put_slice(topic.as_bytes());
        out.put_u8(b' ');
        entry::pack_into(out, batch);
    })
}

impl<'a> Command<'a> {
    /// Appends the command as one frame. Nothing is appended on an error.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] for a command longer than servers read, [`WireError::Malformed`] for a topic or an
    /// entry that would not arrive unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let limit = match self {
            Self::BatchPut { .. } => MAX_BATCH_FRAME_LEN,
            _ => MAX_FRAME_LEN,
        };
        if let Some(topic) = self.topic() {
            check_topic(topic)?;
        }
        let mut simple = |word: &[u8], rest: &str| {
            put_frame(out, limit, |out| {
                out.put_slice(word);
                out.put_slice(rest.as_bytes());
            })
        };
        match self {
            Self::Register { topic } => simple(b"REGISTER ", topic),
            Self::Get { topic } => simple(b"GET ", topic),
            Self::State { topic } => simple(b"STATE ", topic),
            Self::Metrics => simple(b"METRICS", ""),
            Self::ProbeBatch => simple(b"BATCH_GET", ""),
            Self::Put { topic, payload } => {
                check_text(payload.as_bytes())?;
                put_frame(out, limit, |out| {
                    out.put_slice(b"PUT ");
                    out.put_slice(topic.as_bytes());
                    out.put_u8(b' ');
                    out.put_slice(payload.as_bytes());
                })
            }
            Self::BatchGet { topic, max_entries, max_bytes } => {
                simple(b"BATCH_GET ", &format!("{topic} {max_entries} {max_bytes}"))
            }
            Self::BatchPut { topic, entries } => {
                if entries.is_empty() || entries.len() > MAX_BATCH_ENTRIES {
                    return Err(WireError::malformed(
                        "Walrus batch",
                        format!("{} entries, 1 to {MAX_BATCH_ENTRIES} allowed", entries.len()),
                    ));
                }
                put_frame(out, limit, |out| {
                    out.put_slice(format!("BATCH_PUT {topic} {}", entries.len()).as_bytes());
                    put_entries(out, entries.iter().copied());
                })
            }
        }
    }

    /// Parses a command like a Walrus node: drops white space at the end of the line, then splits at the first two
    /// single spaces. Batches are parsed byte for byte.
    ///
    /// # Errors
    /// The answer for the client.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Refused> {
        if let Some(rest) = frame.strip_prefix(b"BATCH_PUT ") {
            return parse_batch_put(rest);
        }
        let text = from_utf8(frame).map_err(|_| Refused::new("invalid utf-8"))?.trim_end();
        let mut parts = text.splitn(3, ' ');
        let word = parts.next().unwrap_or_default();
        let mut next =
            |what: &str| parts.next().ok_or_else(|| Refused::new(format!("{word} requires {what}")));
        match word {
            "REGISTER" => Ok(Self::Register { topic: next("a topic")? }),
            "PUT" => Ok(Self::Put { topic: next("a topic")?, payload: next("a payload")? }),
            "GET" => Ok(Self::Get { topic: next("a topic")? }),
            "STATE" => Ok(Self::State { topic: next("a topic")? }),
            "METRICS" => Ok(Self::Metrics),
            "BATCH_PUT" => Err(Refused::new("BATCH_PUT requires a topic")),
            "BATCH_GET" => {
                let topic = next("a topic")?;
                let limits = next("max_entries and max_bytes")?;
                let numbers =
                    limits.split_once(' ').and_then(|(most, bytes)| Some((number(most)?, number(bytes)?)));
                match numbers {
                    Some((max_entries, max_bytes)) if max_entries > 0 => {
                        Ok(Self::BatchGet { topic, max_entries, max_bytes })
                    }
                    _ => Err(Refused::new("BATCH_GET requires max_entries and max_bytes")),
                }
            }
            _ => Err(Refused::new("unknown command")),
        }
    }

    /// Returns the topic of the command, if it has one.
    #[must_use]
    pub fn topic(&self) -> Option<&'a str> {
        match self {
            Self::Register { topic }
            | Self::Put { topic, .. }
            | Self::Get { topic }
            | Self::State { topic }
            | Self::BatchPut { topic, .. }
            | Self::BatchGet { topic, .. } => Some(topic),
            Self::Metrics | Self::ProbeBatch => None,
        }
    }
}

/// Appends ` <len> <entry>` for each entry.
pub(super) fn put_entries<'a>(out: &mut BytesMut, entries: impl Iterator<Item = &'a [u8]>) {
    for entry in entries {
        out.put_slice(format!(" {} ", entry.len()).as_bytes());
        out.put_slice(entry);
    }
}

/// Parses the entries after a count: ` <len> <entry>`, exactly `count` times, up to the end of the input.
pub(super) fn take_entries(mut rest: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    // Every entry takes at least three bytes, so the capacity is bounded by the input.
    let mut entries = Vec::with_capacity(count.min(rest.len() / 3 + 1));
    for _ in 0..count {
        rest = rest.strip_prefix(b" ")?;
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let length = number(from_utf8(rest.get(..end)?).ok()?)?;
        let start = end + 1;
        entries.push(rest.get(start..start.checked_add(length)?)?);
        rest = rest.get(start + length..)?;
    }
    rest.is_empty().then_some(entries)
}

/// Parses a decimal number without sign.
pub(super) fn number(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse_batch_put(rest: &[u8]) -> Result<Command<'_>, Refused> {
    let bad = |problem: &str| Refused::new(format!("BATCH_PUT {problem}"));
    let mut fields = rest.splitn(2, |byte| *byte == b' ');
    let topic = fields.next().and_then(|topic| from_utf8(topic).ok()).filter(|topic| !topic.is_empty());
    let topic = topic.ok_or_else(|| bad("requires a topic"))?;
    let rest = fields.next().ok_or_else(|| bad("requires a count"))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (count, rest) = rest.split_at_checked(digits).unwrap_or_default();
    let count = from_utf8(count).ok().and_then(number).ok_or_else(|| bad("requires a count"))?;
    if count == 0 || count > MAX_BATCH_ENTRIES {
        return Err(bad(&format!("takes 1 to {MAX_BATCH_ENTRIES} entries")));
    }
    let entries = take_entries(rest, count).ok_or_else(|| bad("lengths do not fit the entries"))?;
    Ok(Command::BatchPut { topic, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walrus::entry::tests::batch;

    fn body(command: &Command<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        command.encode(&mut out).unwrap();
        assert_eq!(u32::from_le_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
        out[4..].to_vec()
    }

    #[test]
    fn commands_round_trip() {
        let table: [(Command<'_>, &[u8]); 8] = [
            (Command::Register { topic: "orders" }, b"REGISTER orders"),
            (Command::Put { topic: "orders", payload: "  a b\nc" }, b"PUT orders   a b\nc"),
            (Command::Get { topic: "orders" }, b"GET orders"),
            (Command::State { topic: "\u{e4}" }, "STATE \u{e4}".as_bytes()),
            (Command::Metrics, b"METRICS"),
            (
                Command::BatchPut { topic: "t", entries: vec![b"a b", b"", b"\xff 1 "] },
                b"BATCH_PUT t 3 3 a b 0  4 \xff 1 ",
            ),
            (Command::BatchGet { topic: "t", max_entries: 20, max_bytes: 4096 }, b"BATCH_GET t 20 4096"),
            (Command::BatchPut { topic: "t", entries: vec![b"x "] }, b"BATCH_PUT t 1 2 x "),
        ];
        for (command, expected) in table {
            let encoded = body(&command);
            assert_eq!(encoded, expected);
            assert_eq!(Command::parse(&encoded), Ok(command));
        }
        assert_eq!(body(&Command::ProbeBatch), b"BATCH_GET");
    }

    #[test]
    fn commands_are_parsed_like_a_walrus_node() {
        assert_eq!(
            Command::parse(b"PUT orders  two  \n\t"),
            Ok(Command::Put { topic: "orders", payload: " two" }),
            "leading space kept, trailing white space dropped"
        );
        assert_eq!(Command::parse(b"GET orders extra"), Ok(Command::Get { topic: "orders" }));
        assert_eq!(Command::parse(b"GET  orders"), Ok(Command::Get { topic: "" }));
        for (frame, answer) in [
            (&b"REGISTER"[..], "REGISTER requires a topic"),
            (b"REGISTER ", "REGISTER requires a topic"),
            (b"PUT orders ", "PUT requires a payload"),
            (b"PUT", "PUT requires a topic"),
            (b"\xff", "invalid utf-8"),
            (b"get orders", "unknown command"),
            (b"", "unknown command"),
            (b"BATCH_GET", "BATCH_GET requires a topic"),
            (b"BATCH_GET t", "BATCH_GET requires max_entries and max_bytes"),
            (b"BATCH_GET t 0 1", "BATCH_GET requires max_entries and max_bytes"),
            (b"BATCH_GET t +1 1", "BATCH_GET requires max_entries and max_bytes"),
            (b"BATCH_PUT", "BATCH_PUT requires a topic"),
            (b"BATCH_PUT t", "BATCH_PUT requires a count"),
            (b"BATCH_PUT t 0", "BATCH_PUT takes 1 to 2000 entries"),
            (b"BATCH_PUT t 99999999999999999999 1 a", "BATCH_PUT requires a count"),
            (b"BATCH_PUT t 1 2 a", "BATCH_PUT lengths do not fit the entries"),
            (b"BATCH_PUT t 1 1 aa", "BATCH_PUT lengths do not fit the entries"),
            (b"BATCH_PUT t 1 18446744073709551615 a", "BATCH_PUT lengths do not fit the entries"),
        ] {
            assert_eq!(Command::parse(frame).unwrap_err().text, answer, "{frame:?}");
        }
    }

    #[test]
    fn the_largest_batch_fits_exactly() {
        for topic_len in [1, 2, 3, 63, MAX_TOPIC_LEN] {
            let topic = "t".repeat(topic_len);
            let limit = max_packed_batch(topic_len);
            // Batch overhead around the value.
            let overhead = batch(40_000).len() - 40_000;
            let largest = batch(limit - overhead);
            assert_eq!(largest.len(), limit);
            let mut out = BytesMut::new();
            encode_packed_put(&mut out, &topic, &largest).unwrap();
            assert!(out.len() - 4 <= MAX_FRAME_LEN && out.len() > MAX_FRAME_LEN - 4);
            assert!(encode_packed_put(&mut out, &topic, &batch(limit - overhead + 1)).is_err());
        }
        assert_eq!(max_packed_batch(MAX_FRAME_LEN), 0);
    }

    #[test]
    fn commands_that_would_not_arrive_unchanged_are_refused() {
        let mut out = BytesMut::new();
        for topic in ["", "a b", "a\n", "a\u{a0}b", &"x".repeat(MAX_TOPIC_LEN + 1)] {
            assert!(Command::Get { topic }.encode(&mut out).is_err(), "{topic:?}");
        }
        for payload in ["", " ", "x ", "x\n", "x\u{2003}"] {
            assert!(Command::Put { topic: "t", payload }.encode(&mut out).is_err(), "{payload:?}");
        }
        assert!(check_text(b"\xff").is_err());
        let longest = "x".repeat(MAX_FRAME_LEN - PUT_OVERHEAD - 1);
        assert!(Command::Put { topic: "t", payload: &longest }.encode(&mut out).is_ok());
        out.clear();
        let longer = format!("{longest}x");
        assert_eq!(
            Command::Put { topic: "t", payload: &longer }.encode(&mut out),
            Err(WireError::TooLarge { what: "Walrus frame", size: 65_537, limit: 65_536 })
        );
        let many = vec![&b"a"[..]; MAX_BATCH_ENTRIES + 1];
        assert!(Command::BatchPut { topic: "t", entries: many }.encode(&mut out).is_err());
        assert!(Command::BatchPut { topic: "t", entries: vec![] }.encode(&mut out).is_err());
        assert!(out.is_empty(), "nothing is written");
    }
}
