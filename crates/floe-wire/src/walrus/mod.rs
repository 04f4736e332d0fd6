//! The text protocol of distributed Walrus (0.3), both directions, and its batch extension.
//!
//! | file | holds |
//! | --- | --- |
//! | `frame` | the length before every message |
//! | `command` | the commands: clients encode them, servers parse them |
//! | `reply` | the answers: what servers write and clients read |
//! | `refusal` | the phrases after `ERR` and their meaning |
//! | `entry` | the content of a topic's entry: a packed record batch, or text |
//! | `cluster` | the JSON answers to `STATE` and `METRICS` |
//!
//! A message is a length (four bytes, little endian) and that many bytes of UTF-8. A server answers the requests of a
//! connection one at a time, in order. The protocol has no handshake.

mod cluster;
mod command;
mod entry;
mod frame;
mod refusal;
mod reply;

pub use cluster::{NodeMetrics, TopicState};
pub use command::{
    Command, MAX_BATCH_ENTRIES, MAX_TOPIC_LEN, PUT_OVERHEAD, check_text, check_topic, encode_packed_put,
    max_packed_batch, max_plain_value,
};
pub use entry::{EntryContent, PACKED_PREFIX, pack_into, packed_len};
pub use frame::{LENGTH_LEN, MAX_BATCH_FRAME_LEN, MAX_FRAME_LEN, MAX_REPLY_LEN, put_frame, take_frame};
pub use refusal::{Refusal, Refused};
pub use reply::{
    Reply, ReplyError, parse_batch_get, parse_batch_put, parse_done, parse_get, parse_metrics, parse_state,
};

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), word in 0usize..8) {
            let words = ["", "OK ", "ERR ", "BATCH_PUT t ", "BATCH_GET t ", "PUT t ", "floe1:", "OK 2 "];
            let frame = Bytes::from([words[word].as_bytes(), &bytes].concat());
            let _ = Command::parse(&frame);
            let _ = (parse_done(&frame), parse_get(&frame), parse_batch_put(&frame), parse_batch_get(&frame));
            let _ = (parse_state(&frame), parse_metrics(&frame), EntryContent::parse(frame.clone()));
            let mut received = BytesMut::from(&frame[..]);
            while let Ok(Some(taken)) = take_frame(&mut received, MAX_FRAME_LEN) {
                prop_assert!(!taken.is_empty());
            }
        }

        #[test]
        fn batches_of_any_entries_round_trip(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..20),
        ) {
            let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            let command = Command::BatchPut { topic: "t", entries: entries.clone() };
            let mut out = BytesMut::new();
            command.encode(&mut out).unwrap();
            let frame = take_frame(&mut out, MAX_BATCH_FRAME_LEN).unwrap().unwrap();
            prop_assert_eq!(Command::parse(&frame), Ok(command));
            let owned: Vec<Bytes> = entries.iter().map(|entry| Bytes::copy_from_slice(entry)).collect();
            Reply::Entries(owned.clone()).encode(&mut out).unwrap();
            let frame = take_frame(&mut out, MAX_REPLY_LEN).unwrap().unwrap();
            prop_assert_eq!(parse_batch_get(&frame), Ok(owned));
        }
    }
}
