//! Hostile input: decoders return without a panic, decoded messages encode again, and memory is bounded by the input.

use floe_wire::{
    WireError,
    fluvio::{Input, frame},
};
use proptest::prelude::*;

use crate::{
    recordings::{RecordedFrame, recordings},
    reencode::{REPLIES, fuzz_replies, fuzz_requests, reencode_request},
};

fn all_frames() -> Vec<RecordedFrame> {
    recordings().into_iter().flatten().collect()
}

/// Feeds a request to the request decoders, or a reply to the decoder of every reply type.
fn feed(from_client: bool, frame: &[u8]) {
    if from_client {
        return fuzz_requests(frame);
    }
    for (index, (_, newest, _)) in REPLIES.iter().enumerate() {
        let mut data =
            vec![u8::try_from(index).expect("few types"), u8::try_from(*newest).expect("a version")];
        data.extend_from_slice(frame);
        fuzz_replies(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_requests(&data);
        fuzz_replies(&data);
        // Most random sizes fit no frame, so the same bytes are fed again with a correct size.
        let size = u32::try_from(data.len()).expect("short").to_be_bytes();
        let framed = [&size[..], &data].concat();
        fuzz_requests(&framed);
        feed(false, &framed);
    }

    #[test]
    fn recorded_frames_with_bytes_changed_never_panic(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        static FRAMES: std::sync::LazyLock<Vec<RecordedFrame>> = std::sync::LazyLock::new(all_frames);
        let recorded = which.get(&FRAMES);
        let mut bytes = recorded.body().to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let size = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        feed(recorded.from_client, &[&size[..], &bytes].concat());
    }
}

#[test]
fn a_request_truncated_at_any_byte_is_an_error() {
    for recorded in all_frames().into_iter().filter(|recorded| recorded.from_client) {
        let body = recorded.body();
        for length in 0..body.len() {
            let cut = reencode_request(recorded.peer, body.slice(..length));
            assert!(cut.is_err(), "{} cut after {length} bytes", recorded.place());
        }
    }
}

/// Replaces each four bytes of each recorded frame, which may be a count or a length, by an enormous number.
#[test]
fn enormous_counts_and_lengths_never_panic() {
    for recorded in all_frames() {
        let body = recorded.body();
        // The first 400 bytes hold every field: large frames continue with similar elements.
        for at in 0..body.len().saturating_sub(4).min(400) {
            for claim in [i32::MAX, i32::MIN, -1] {
                let mut bytes = body.to_vec();
                bytes[at..at + 4].copy_from_slice(&claim.to_be_bytes());
                let size = u32::try_from(bytes.len()).expect("short").to_be_bytes();
                let framed = [&size[..], &bytes].concat();
                if recorded.from_client {
                    fuzz_requests(&framed);
                } else {
                    fuzz_replies(&[&[u8::try_from(at % REPLIES.len()).unwrap(), 19][..], &framed].concat());
                }
            }
        }
    }
}

#[test]
fn an_enormous_count_in_a_short_frame_is_refused() {
    use floe_wire::fluvio::{
        FetchOffsetsRequest, ListReply, ListRequest, ProduceRequest, Request, TopicSpec, UpdateOffsetsRequest,
    };

    fn refused<R: Request>(body: &[u8], version: i16) {
        let outcome = frame::decode_request::<R>(Input::new(body.to_vec().into()), version);
        assert!(matches!(outcome, Err(WireError::Truncated { .. })), "{}", R::NAME);
    }

    let claim = [0x7f, 0xff, 0xff, 0xff];
    refused::<FetchOffsetsRequest>(&claim, 25);
    refused::<UpdateOffsetsRequest>(&[&claim[..], &[0; 12]].concat(), 0);
    // Option, isolation, timeout, then the topics.
    refused::<ProduceRequest>(&[&[0, 0, 1, 0, 0, 0, 0][..], &claim, &[0; 40]].concat(), 25);
    // A topic with a partition whose records claim two gigabytes.
    refused::<ProduceRequest>(
        &[&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0][..], &claim, &[0; 9]]
            .concat(),
        25,
    );
    // An envelope that claims two gigabytes, and one with a list that claims as many elements.
    refused::<ListRequest<TopicSpec>>(&[&b"\0\x05Topic"[..], &claim, &[0; 6]].concat(), 19);
    refused::<ListRequest<TopicSpec>>(&[&b"\0\x05Topic\0\0\0\x06"[..], &claim, &[0; 2]].concat(), 19);
    let list = [&b"\0\x05Topic\0\0\0\x08"[..], &claim, &[0; 4]].concat();
    let reply = frame::decode_reply::<ListRequest<TopicSpec>>(Input::new(list.into()), 19);
    assert!(matches!(reply, Err::<ListReply<TopicSpec>, _>(WireError::Truncated { .. })));
}

#[test]
fn an_unknown_error_code_is_kept_without_payload_and_fails_its_reply_with_one() {
    use floe_wire::fluvio::{DeleteConsumerOffsetRequest, ErrorCode};

    let decode = |body: &'static [u8]| {
        frame::decode_reply::<DeleteConsumerOffsetRequest>(Input::new(body.into()), 25)
            .map(|reply| reply.error_code)
    };
    assert_eq!(decode(&[0x10, 0x92]), Ok(ErrorCode::Unknown(4242)));
    assert_eq!(
        decode(&[0x10, 0x92, 0, 2, b'n', b'o']).unwrap_err().to_string(),
        "DeleteConsumerOffset: unknown error code 4242 with details that cannot be skipped"
    );
    assert_eq!(
        decode(&[0, 6, 0]).unwrap_err().to_string(),
        "DeleteConsumerOffsetReply.error_code: 1 bytes follow the end of the message"
    );
}

#[test]
fn unknown_versions_are_refused() {
    use floe_wire::fluvio::{ProduceRequest, TopicSpec, WatchRequest};

    for version in [-1, 26, i16::MAX, i16::MIN] {
        let outcome = frame::decode_request::<ProduceRequest>(Input::new(vec![0; 64].into()), version);
        assert_eq!(
            outcome,
            Err(WireError::OutOfRange { what: "Produce", value: i64::from(version), min: 0, max: 25 })
        );
    }
    assert!(frame::encode_request(&WatchRequest::<TopicSpec>::default(), 14, 1, "floe").is_err());
}
