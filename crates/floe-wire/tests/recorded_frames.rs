//! Every batch in frames recorded between the official client and a Fluvio cluster.

use bytes::{Buf, Bytes};
use floe_wire::{
    batch::{EncodedBatch, Split, Tail, TrailerState},
    compress::Codec,
};

const PRODUCE: &str = include_str!("fixtures/fluvio/fluvio-produce.jsonl");
const CONSUME: &str = include_str!("fixtures/fluvio/fluvio-consume.jsonl");
const TRUNCATED: &str = include_str!("fixtures/fluvio/fluvio-truncated.jsonl");

const PRODUCE_KEY: u16 = 0;
const STREAM_FETCH_KEY: u16 = 1003;

/// Returns the frames of the connections to the SPU, without their size: whether the client sent it, and its bytes.
fn frames(capture: &str) -> Vec<(bool, Bytes)> {
    let field = |line: &str, name: &str| -> Option<String> {
        let (_, rest) = line.split_once(&format!("\"{name}\": \""))?;
        Some(rest.split_once('"').unwrap().0.to_owned())
    };
    let unhex = |hex: &str| -> Bytes {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    capture
        .lines()
        .filter(|line| field(line, "peer").as_deref() == Some("spu"))
        .map(|line| {
            let mut frame = unhex(&field(line, "hex").unwrap());
            let size = usize::try_from(frame.get_u32()).unwrap();
            assert_eq!(frame.len(), size);
            (field(line, "dir").unwrap() == "c2s", frame)
        })
        .collect()
}

fn string(frame: &mut Bytes) -> String {
    let length = usize::from(frame.get_u16());
    String::from_utf8(frame.split_to(length).to_vec()).unwrap()
}

/// Topics, each with a record set sent to it or read from it.
type RecordSets = Vec<(String, Bytes)>;

/// Returns the record sets of the produce entries, and of the stream replies.
fn record_sets(capture: &str) -> (RecordSets, RecordSets) {
    let (mut produced, mut streamed, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for (from_client, mut frame) in frames(capture) {
        if from_client {
            let key = frame.get_u16();
            let _version = frame.get_i16();
            let correlation = frame.get_i32();
            let _client = string(&mut frame);
            match key {
                STREAM_FETCH_KEY => streams.push(correlation),
                PRODUCE_KEY => {
                    assert_eq!(frame.get_u8(), 0, "no transactional id");
                    frame.advance(2 + 4);
                    for _topic in 0..frame.get_u32() {
                        let topic = string(&mut frame);
                        for _partition in 0..frame.get_u32() {
                            let _partition = frame.get_u32();
                            let length = usize::try_from(frame.get_u32()).unwrap();
                            produced.push((topic.clone(), frame.split_to(length)));
                        }
                    }
                    assert_eq!(frame.get_u32(), 0, "no SmartModules");
                    assert!(frame.is_empty());
                }
                _ => {}
            }
        } else if streams.contains(&frame.get_i32()) {
            let topic = string(&mut frame);
            frame.advance(4 + 4);
            assert_eq!(frame.get_i16(), 0, "no error");
            frame.advance(8 + 8 + 8);
            assert_eq!(frame.get_u8(), 0, "no aborted transactions");
            let length = usize::try_from(frame.get_u32()).unwrap();
            assert_eq!(frame.len(), length);
            streamed.push((topic, frame));
        }
    }
    (produced, streamed)
}

fn whole(set: &Bytes) -> Vec<EncodedBatch> {
    let mut split = Split::new(set.clone());
    let batches = split.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(split.tail(), Tail::Empty);
    batches
}

fn codec_of(topic: &str) -> Codec {
    topic.strip_prefix("fx-").unwrap().parse().unwrap()
}

fn assert_three_records(topic: &str, set: &Bytes) {
    let batches = whole(set);
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    assert_eq!(batch.verify_checksum(), Ok(()));
    assert_eq!(batch.header().attributes.codec(), Ok(codec_of(topic)));
    assert_eq!(batch.header().offset_span(), 3);
    assert!(!batch.header().producer.is_some());
    let records = batch.records().unwrap();
    assert_eq!((records.record_count(), records.trailer_state()), (3, TrailerState::Absent));
    let records: Vec<_> = records.map(Result::unwrap).collect();
    let contents: Vec<_> = records.iter().map(|record| (record.key.as_deref(), &record.value[..])).collect();
    let expected: [(Option<&[u8]>, &[u8]); 3] = [
        (None, b"first"),
        (Some(b"key-2"), "second \u{2603}".as_bytes()),
        (Some(&[0x00, 0x01, 0x02, 0xff]), &[0; 40]),
    ];
    assert_eq!(contents, expected, "{topic}");
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.offset, batch.base_offset() + i64::try_from(index).unwrap());
        assert_eq!(record.timestamp, Some(batch.header().first_timestamp));
        assert!(record.headers.is_empty());
    }
}

#[test]
fn batches_of_the_official_producer_decode_with_each_codec() {
    let (produced, _) = record_sets(PRODUCE);
    let topics: Vec<_> = produced.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["fx-none", "fx-gzip", "fx-snappy", "fx-lz4", "fx-zstd"]);
    for (topic, set) in &produced {
        assert_three_records(topic, set);
    }
}

#[test]
fn batches_served_by_the_cluster_decode_with_each_codec() {
    let (_, streamed) = record_sets(CONSUME);
    let topics: Vec<_> = streamed.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, ["fx-none", "fx-gzip", "fx-snappy", "fx-lz4", "fx-zstd"]);
    for (topic, set) in &streamed {
        assert_three_records(topic, set);
        assert_eq!(whole(set)[0].base_offset(), 0, "assigned by the cluster");
    }
}

#[test]
fn floe_writes_the_same_uncompressed_batch() {
    let (produced, _) = record_sets(PRODUCE);
    let theirs = &whole(&produced[0].1)[0];
    let mut builder = floe_wire::batch::BatchBuilder::new(1024);
    for record in theirs.records().unwrap().map(Result::unwrap) {
        builder.append(record.timestamp.unwrap(), record.key.as_deref(), &record.value, &[]).unwrap();
    }
    let ours = builder.finish(floe_wire::batch::FinishOptions::default()).unwrap();
    assert_eq!(ours.with_base_offset(theirs.base_offset()).to_bytes(), theirs.to_bytes());
}

fn numbered(batch: &EncodedBatch, first: usize) {
    assert_eq!(batch.verify_checksum(), Ok(()));
    let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records.len(), 15);
    for (index, record) in records.iter().enumerate() {
        let start = format!("record-{:04}-", first + index);
        assert!(record.value.starts_with(start.as_bytes()), "{start}");
        assert_eq!(record.value.len(), 52);
    }
}

#[test]
fn truncated_replies_give_their_whole_batches_and_report_the_tail() {
    let (produced, streamed) = record_sets(TRUNCATED);
    let sent: Vec<_> = produced.iter().flat_map(|(_, set)| whole(set)).collect();
    assert_eq!(sent.len(), 4);
    for (index, batch) in sent.iter().enumerate() {
        numbered(batch, 15 * index);
    }
    // Between the two replies the official client acknowledged 30, and lost the 15 records of the truncated batch.
    assert_eq!(streamed.len(), 2);
    for ((_, set), base_offset) in streamed.iter().zip([0usize, 30]) {
        assert_eq!(set.len(), 1500);
        let mut split = Split::new(set.clone());
        let batches = split.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].base_offset(), i64::try_from(base_offset).unwrap());
        assert_eq!(batches[0].next_offset(), i64::try_from(base_offset + 15).unwrap());
        numbered(&batches[0], base_offset);
        assert_eq!(split.tail(), Tail::Incomplete { available: 554, needed: Some(946) });
        assert_eq!(split.remaining().len(), 554);
    }
}
