//! Batches that no reader could decode.

use bytes::Bytes;
use floe_server::testkit::TestServer;
use floe_wire::{
    batch::{BatchBuilder, EncodedBatch, FinishOptions},
    compress::{Codec, compress},
    fluvio::{ErrorCode, RecordSet},
    walrus::pack_into,
};

use crate::{
    peer::{Peer, WalrusPeer, batch, numbered, produce, records},
    server::Attacked,
};

/// Position of the record section.
const SECTION: usize = 57;

/// Encodes a zig-zag number.
fn number(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Batch with a correct checksum whose records have these offset deltas and values.
fn forged(codec: Codec, last_offset_delta: i32, deltas: &[i64], value: &[u8]) -> EncodedBatch {
    let mut section = (deltas.len() as u32).to_be_bytes().to_vec();
    for delta in deltas {
        let mut body = vec![0, 0];
        number(&mut body, *delta);
        body.push(0);
        number(&mut body, value.len() as i64);
        body.extend_from_slice(value);
        body.push(0);
        number(&mut section, body.len() as i64);
        section.extend_from_slice(&body);
    }
    let mut packed = Vec::new();
    compress(codec, None, &section, &mut packed).unwrap();
    with_section(codec.code(), last_offset_delta, &packed)
}

fn with_section(attributes: i16, last_offset_delta: i32, section: &[u8]) -> EncodedBatch {
    let mut builder = BatchBuilder::new(64);
    builder.append(5, None, b"", &[]).unwrap();
    let mut bytes = builder.finish(FinishOptions::default()).unwrap().to_bytes()[..SECTION].to_vec();
    bytes[8..12].copy_from_slice(&((SECTION - 12 + section.len()) as i32).to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    bytes.extend_from_slice(section);
    let checksum = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    EncodedBatch::parse(Bytes::from(bytes)).unwrap()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 * (crc & 1));
        }
    }
    !crc
}

/// Batches that are refused, with the rule that refuses them.
fn poison() -> Vec<(&'static str, EncodedBatch, &'static str)> {
    let mut all = Vec::new();
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        all.extend([
            ("a delta far beyond the span", forged(codec, 0, &[1 << 40], b"poison"), "batch_malformed"),
            ("a delta one beyond the span", forged(codec, 1, &[0, 2], b"poison"), "batch_malformed"),
            ("a negative delta", forged(codec, 0, &[-7], b"poison"), "batch_malformed"),
            ("more records than offsets", forged(codec, 0, &[0, 1, 2, 3], b"poison"), "batch_malformed"),
            ("deltas that go back", forged(codec, 3, &[2, 1], b"poison"), "batch_malformed"),
            ("no records", forged(codec, 3, &[], b""), "batch_malformed"),
        ]);
    }
    all.push(("records that are none", with_section(0, 0, &[0, 0, 0, 1, 2, 9]), "batch_malformed"));
    all.push(("a section that is not compressed", with_section(4, 0, b"plain"), "batch_does_not_decompress"));
    all.push(("a bomb", forged(Codec::Zstd, 0, &[0], &[0; 2 << 20]), "batch_too_large"));
    all
}

#[tokio::test]
async fn poisoned_batches_are_refused_and_change_nothing() {
    let attacked = Attacked::start(|limits| limits.unpacked_bytes = 1 << 20).await;
    let mut peer = Peer::data(&attacked.server).await;
    for (name, bad, rule) in poison() {
        let count = || attacked.metric("floe_server_refusals_total", &[("rule", rule)]);
        let before = count();
        // One bad batch refuses its entry, also behind a good one.
        let set = RecordSet::from_batches(&[batch(&["good"]), bad]);
        let reply = peer.call(&produce("well", &[(0, set)])).await;
        let code = &reply.topics[0].partitions[0].error_code;
        assert_eq!(count(), before + 1, "{name}: {code:?}");
        match rule {
            "batch_too_large" => assert_eq!(*code, ErrorCode::MessageTooLarge),
            "batch_does_not_decompress" => assert_eq!(*code, ErrorCode::CompressionError),
            _ => assert!(matches!(code, ErrorCode::Other(_)), "{name}: {code:?}"),
        }
        assert_eq!(peer.offsets("well", 0).await.last_stable_offset, 0, "{name}");
    }
    attacked.is_well().await;
}

#[tokio::test]
async fn packed_entries_of_walrus_clients_are_checked_too() {
    let attacked = Attacked::start(|limits| limits.unpacked_bytes = 1 << 20).await;
    let mut walrus = WalrusPeer::connect(&attacked.server).await;
    for (name, bad, _) in poison() {
        let mut entry = bytes::BytesMut::from(&b"PUT well "[..]);
        pack_into(&mut entry, &bad);
        let answer = walrus.ask(&entry).await;
        assert!(answer.starts_with("ERR "), "{name}: {answer}");
    }
    assert_eq!(walrus.ask("GET well").await, "EMPTY");
    attacked.is_well().await;
}

#[tokio::test]
async fn leniencies_of_a_real_server_remain() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::data(&attacked.server).await;
    // Official producers send the number of records less one as the base offset.
    for (base, offset) in [(1, 0), (i64::MAX, 2), (-1, 4)] {
        let odd = EncodedBatch::parse(batch(&["a", "b"]).with_base_offset(base).to_bytes()).unwrap();
        let reply = peer.produce("well", &[odd]).await;
        assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, offset));
    }
    // Fewer records than offsets.
    let reply = peer.produce("well", &[forged(Codec::None, 9, &[0, 7], b"v")]).await;
    assert_eq!((reply.error_code, reply.base_offset), (ErrorCode::None, 6));
    assert_eq!(peer.offsets("well", 0).await.last_stable_offset, 16);
    let id = peer.open("well", 6, 1000).await;
    let found = records(&peer.pushed(id).await.partition.records);
    assert_eq!(found, [(6, "v".to_owned()), (13, "v".to_owned())]);
}

/// Appends a batch to the engine itself, as a server that trusted its batches did.
async fn append(server: &TestServer, batch: EncodedBatch) {
    use floe::engine::{Acks, AppendRequest};
    let target = floe::Topic::from("old").partition(0);
    server.client().engine().append(AppendRequest::new(target, batch, Acks::Leader)).await.unwrap();
}

#[tokio::test]
async fn a_cursor_passes_poison_that_is_stored_already() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..2 {
        let server = TestServer::at(folder.path()).await.unwrap();
        let mut walrus = WalrusPeer::connect(&server).await;
        assert_eq!(walrus.ask("REGISTER old").await, "OK");
        for (name, bad) in [
            ("beyond", forged(Codec::None, 0, &[1 << 40], b"poison")),
            ("negative", forged(Codec::None, 0, &[-7], b"poison")),
            ("crowded", forged(Codec::None, 0, &[0, 1, 2, 3], b"first only")),
            ("mixed", forged(Codec::None, 2, &[0, 1 << 20, 2], b"kept")),
        ] {
            append(&server, batch(&[name])).await;
            append(&server, bad).await;
            expected.push(format!("OK {name}"));
            match name {
                "crowded" => expected.push("OK first only".to_owned()),
                "mixed" => expected.extend(["OK kept".to_owned(), "OK kept".to_owned()]),
                _ => {}
            }
        }
        assert_eq!(walrus.ask("PUT old last").await, "OK");
        expected.push("OK last".to_owned());
        // Some answers are left for the next server.
        let left = if round == 0 { 3 } else { 0 };
        while expected.len() > left {
            assert_eq!(walrus.ask("GET old").await, expected.remove(0), "round {round}");
        }
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_cursor_beyond_the_end_moves_back() {
    let server = TestServer::start().await.unwrap();
    let mut walrus = WalrusPeer::connect(&server).await;
    assert_eq!(walrus.ask("REGISTER old").await, "OK");
    assert_eq!(walrus.ask("PUT old before").await, "OK");
    let at = floe::Topic::from("old").partition(0);
    server.client().engine().commit("__walrus-cursor".into(), vec![(at, 1 << 40)]).await.unwrap();
    assert_eq!(walrus.ask("GET old").await, "EMPTY");
    assert_eq!(walrus.ask("PUT old after").await, "OK");
    assert_eq!(walrus.ask("GET old").await, "OK after");
}

#[tokio::test]
async fn numbers_of_stored_batches_stay_in_their_span() {
    let attacked = Attacked::start(|_| {}).await;
    let mut peer = Peer::data(&attacked.server).await;
    peer.produce("well", &[batch(&["a", "b"]), batch(&["c"])]).await;
    let id = peer.open("well", 0, 1000).await;
    assert_eq!(records(&peer.pushed(id).await.partition.records), numbered(0, &["a", "b", "c"]));
}
