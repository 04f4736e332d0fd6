//! Every recorded frame of official clients and servers decodes completely and encodes to the same bytes.

use std::collections::HashMap;

use bytes::BytesMut;
use floe_wire::fluvio::{TopicSpec, WatchRequest, frame};

use crate::{
    recordings::{RecordedFrame, recordings},
    reencode::{ReencodeReply, reencode_reply, reencode_request},
};

/// Stream opened before the recording of `fluvio-watch.jsonl` began: file, connection, correlation id.
const OPENED_BEFORE: (&str, u64, i32) = ("fluvio-watch.jsonl", 2, 3);

#[test]
fn recorded_frames_decode_and_encode_to_the_same_bytes() {
    let mut problems = Vec::new();
    let (mut requests, mut replies) = (0, 0);
    for frames in recordings() {
        // A stream sends any number of replies, so an exchange stays open; clients may reuse correlation ids.
        let mut open: HashMap<(u64, i32), (i16, ReencodeReply)> = HashMap::new();
        for recorded in frames {
            let body = recorded.body();
            let outcome = if recorded.from_client {
                requests += 1;
                reencode_request(recorded.peer, body).map(|request| {
                    let key = (recorded.connection, request.header.correlation_id);
                    open.insert(key, (request.header.version, request.reply));
                    request.frame
                })
            } else {
                replies += 1;
                let (correlation_id, _) = frame::split_reply(body.clone()).expect("a correlation id");
                let exchange = open.get(&(recorded.connection, correlation_id)).copied();
                let exchange = exchange.or_else(|| opened_before(&recorded, correlation_id));
                let Some((version, reencode)) = exchange else {
                    problems.push(format!("{}: a reply without a request", recorded.place()));
                    continue;
                };
                reencode(body, version)
            };
            match outcome {
                Ok(again) if again == recorded.bytes => {}
                Ok(again) => problems.push(format!(
                    "{}: encodes differently\n  recorded {:02x?}\n  encoded  {again:02x?}",
                    recorded.place(),
                    recorded.bytes
                )),
                Err(error) => problems.push(format!("{}: {error}", recorded.place())),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // Exact counts detect missing recordings.
    assert_eq!((requests, replies), (118, 224));
}

fn opened_before(recorded: &RecordedFrame, correlation_id: i32) -> Option<(i16, ReencodeReply)> {
    let stream = (recorded.file.as_str(), recorded.connection, correlation_id);
    (stream == OPENED_BEFORE).then_some((19, reencode_reply::<WatchRequest<TopicSpec>> as ReencodeReply))
}

#[test]
fn frames_of_a_recorded_connection_are_split_from_its_byte_stream() {
    for frames in recordings() {
        for from_client in [true, false] {
            let expected: Vec<_> = frames.iter().filter(|frame| frame.from_client == from_client).collect();
            let stream: Vec<u8> = expected.iter().flat_map(|frame| frame.bytes.clone()).collect();
            // The pieces end within sizes, headers and bodies.
            let mut received = BytesMut::new();
            let mut found = Vec::new();
            for piece in stream.chunks(61) {
                received.extend_from_slice(piece);
                while let Some(frame) =
                    frame::split_frame(&mut received, frame::DEFAULT_FRAME_LIMIT).expect("sane sizes")
                {
                    found.push(frame);
                }
            }
            assert!(received.is_empty());
            assert_eq!(found, expected.iter().map(|frame| frame.body()).collect::<Vec<_>>());
        }
    }
}
