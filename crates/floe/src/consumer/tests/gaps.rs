//! Missing records (evicted, lost, damaged) under each gap policy.

use bytes::Bytes;

use super::*;

/// Bytes of one record with a value of one byte.
const RECORD: usize = 8;
const RECORDS_START: usize = 61;

async fn with_policy(engine: &FakeEngine, policy: GapPolicy) -> Consumer {
    let builder = over(engine).consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    builder.on_gap(policy).start().await.unwrap()
}

fn seen(consumer: &Consumer) -> Vec<(i64, i64, GapReason)> {
    consumer.gaps().into_iter().map(|gap| (gap.from, gap.to, gap.reason)).collect()
}

/// Changes the bytes of a batch.
fn alter(batch: &EncodedBatch, change: impl FnOnce(&mut [u8])) -> EncodedBatch {
    let mut bytes = batch.to_bytes().to_vec();
    change(&mut bytes);
    EncodedBatch::parse(Bytes::from(bytes)).unwrap()
}

/// Changes the bytes of a batch and makes the checksum fit again.
fn forge(batch: &EncodedBatch, change: impl FnOnce(&mut [u8])) -> EncodedBatch {
    alter(batch, |bytes| {
        change(bytes);
        let mut crc = !0u32;
        for byte in &bytes[21..] {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82F6_3B78 * (crc & 1));
            }
        }
        bytes[17..21].copy_from_slice(&(!crc).to_be_bytes());
    })
}

fn last(bytes: &mut [u8]) -> &mut u8 {
    bytes.last_mut().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_policy_handles_a_lost_batch() {
    let expected = [(3, 6, GapReason::Missing)];
    for policy in [GapPolicy::Fail, GapPolicy::Report, GapPolicy::Skip] {
        let engine = ten().await;
        engine.lose_batch(TOPIC, 0, 1);
        let mut consumer = with_policy(&engine, policy).await;
        let mut came = drain(&mut consumer).await;
        if policy == GapPolicy::Fail {
            assert_eq!(came.remove(3), Err(ErrorKind::Gap), "once");
        }
        assert_eq!(came, [0, 1, 2, 6, 7, 8, 9].map(Ok), "{policy:?}");
        let told = if policy == GapPolicy::Skip { &expected[..0] } else { &expected };
        assert_eq!(seen(&consumer), told, "{policy:?}");
        assert_eq!(consumer.position(0), Some(10));
    }
}

#[tokio::test(start_paused = true)]
async fn holes_are_no_gap_on_engines_with_sparse_offsets() {
    let capabilities = crate::engine::Capabilities::FULL.with(|it| it.dense_offsets = false);
    let engine = ten().await.with_capabilities(capabilities);
    engine.lose_batch(TOPIC, 0, 1);
    let mut consumer = with_policy(&engine, GapPolicy::Fail).await;
    assert_eq!(drain(&mut consumer).await, [0, 1, 2, 6, 7, 8, 9].map(Ok));
}

#[tokio::test(start_paused = true)]
async fn records_evicted_while_reading_are_a_gap() {
    let engine = ten().await;
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning).prefetch_bytes(1);
    let mut consumer = builder.start().await.unwrap();
    offsets(&mut consumer, 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.evict(TOPIC, 0, 9);
    // The second batch was prefetched.
    assert_eq!(offsets(&mut consumer, 3).await, [3, 4, 5]);
    let error = next_error(&mut consumer).await;
    assert_eq!(error.kind(), ErrorKind::Gap);
    let gap = Gap::of(&error).unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (6, 9, GapReason::Evicted));
    assert_eq!(offsets(&mut consumer, 1).await, [9]);
}

#[tokio::test(start_paused = true)]
async fn a_jump_over_evicted_records_is_an_eviction() {
    let engine = ten().await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    // The reader is open at 0. The fake engine would refuse; a real one may continue at the oldest record.
    consumer.pause(&[0]);
    let fetch = |at| {
        Fetch::new(
            Arc::new(engine.clone()),
            Topic::from(TOPIC).partition(0),
            consumer.core.settings.fetch.clone(),
            OffsetCheck::new(at, None, offset_check::Holes::None),
        )
    };
    engine.evict(TOPIC, 0, 6);
    assert_eq!(fetch(0).judge(0, 6, GapReason::Missing).await, (6, GapReason::Evicted));
    assert_eq!(fetch(0).judge(0, 7, GapReason::Missing).await, (7, GapReason::Missing));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_checksum_is_a_gap_over_its_batch() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    append(&engine, 0, &["a", "b"]).await;
    append_batch(&engine, 0, alter(&batch_at(1, &["c", "d"]), |bytes| *last(bytes) ^= 1)).await;
    append(&engine, 0, &["e"]).await;
    let mut consumer = with_policy(&engine, GapPolicy::Report).await;
    assert_eq!(drain(&mut consumer).await, [0, 1, 4].map(Ok));
    assert_eq!(seen(&consumer), [(2, 4, GapReason::Corrupt)]);
}

#[test]
fn a_damaged_header_does_not_hide_the_batches_behind_it() {
    for claimed in [0i32, 5, 1_000_000, i32::MAX, -7] {
        let mut check = OffsetCheck::new(0, None, offset_check::Holes::None);
        let batch = |base| batch_at(0, &["a", "b"]).with_base_offset(base);
        let damaged = alter(&batch(2), |bytes| bytes[23..27].copy_from_slice(&claimed.to_be_bytes()));
        let mut came = Vec::new();
        let mut gaps = Vec::new();
        for batch in [batch(0), damaged, batch(4), batch(6), batch(6)] {
            for found in check.accept(batch).into_iter().flat_map(Found::check) {
                match found {
                    Found::Records(part) => came.extend(part.records().map(|record| record.offset)),
                    Found::Gap(from, to, _) => gaps.extend([from, to]),
                }
            }
        }
        assert_eq!(came, [0, 1, 4, 5, 6, 7], "{claimed}");
        assert!(gaps[0] == 2 && *gaps.last().unwrap() >= 4, "{claimed}: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_last_batch_is_a_gap_no_longer_than_the_partition() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    append(&engine, 0, &["a", "b"]).await;
    append(&engine, 0, &["c", "d"]).await;
    engine.replace_batch(TOPIC, 0, 1, |batch| {
        alter(&batch, |bytes| bytes[23..27].copy_from_slice(&1_000_000i32.to_be_bytes()))
    });
    let builder = over(&engine).consumer(TOPIC).from(StartAt::Beginning).on_gap(GapPolicy::Report);
    let mut consumer = builder.start().await.unwrap();
    offsets(&mut consumer, 2).await;
    assert_silent(&mut consumer).await;
    assert_eq!(seen(&consumer), [(2, 4, GapReason::Corrupt)]);
    assert_eq!(consumer.position(0), Some(4));
}

/// Four records, the third of which has an invalid key flag.
fn with_a_broken_record() -> EncodedBatch {
    forge(&batch_at(1, &["a", "b", "c", "d"]), |bytes| bytes[RECORDS_START + 2 * RECORD + 4] = 9)
}

#[tokio::test(start_paused = true)]
async fn only_the_record_that_does_not_decode_is_a_gap() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    append_batch(&engine, 0, with_a_broken_record()).await;
    append(&engine, 0, &["e"]).await;
    let mut consumer = with_policy(&engine, GapPolicy::Report).await;
    assert_eq!(drain(&mut consumer).await, [0, 1, 3, 4].map(Ok));
    assert_eq!(seen(&consumer), [(2, 3, GapReason::Corrupt)]);
}

/// Reads batches that lie in the middle of a partition, and returns the offsets of their records, and the gaps.
fn read(holes: offset_check::Holes, batches: Vec<EncodedBatch>) -> (Vec<i64>, Vec<(i64, i64, GapReason)>) {
    let mut check = OffsetCheck::new(batches[0].base_offset(), None, holes);
    let (mut came, mut gaps) = (Vec::new(), Vec::new());
    for found in batches.into_iter().flat_map(|batch| check.accept(batch)).flat_map(Found::check) {
        match found {
            Found::Records(part) => came.extend(part.records().map(|record| record.offset)),
            Found::Gap(from, to, reason) => gaps.push((from, to, reason)),
        }
    }
    (came, gaps)
}

#[test]
fn a_record_that_does_not_decode_is_a_gap_on_every_engine() {
    use offset_check::Holes;
    for holes in [Holes::None, Holes::WithinBatches, Holes::Anywhere] {
        let batches =
            vec![with_a_broken_record().with_base_offset(10), batch_at(0, &["e"]).with_base_offset(14)];
        let (came, gaps) = read(holes, batches);
        assert_eq!(came, [10, 11, 13, 14], "{holes:?}");
        assert_eq!(gaps, [(12, 13, GapReason::Corrupt)], "{holes:?}");
    }
}

#[test]
fn no_offset_lies_beyond_its_batch() {
    use offset_check::Holes;
    // A delta of 60 in a batch of three.
    let beyond = |index: usize| {
        forge(&batch_at(1, &["a", "b", "c"]), |bytes| bytes[RECORDS_START + index * RECORD + 3] = 60 << 1)
    };
    // Four records in a batch of two.
    let crowded = forge(&batch_at(1, &["a", "b", "c", "d"]), |bytes| {
        bytes[23..27].copy_from_slice(&1_i32.to_be_bytes());
    });
    for holes in [Holes::None, Holes::WithinBatches, Holes::Anywhere, Holes::Made] {
        for (bad, span) in [(beyond(0), 3), (beyond(1), 3), (beyond(2), 3), (crowded.clone(), 2)] {
            let next = batch_at(0, &["e"]).with_base_offset(10 + span);
            let (came, _) = read(holes, vec![bad.with_base_offset(10), next]);
            assert!(came.iter().all(|offset| (10..=10 + span).contains(offset)), "{holes:?}: {came:?}");
            assert_eq!(came.last(), Some(&(10 + span)), "{holes:?}: {came:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_do_not_decompress_are_a_gap() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    let wrong_codec = forge(&batch_at(1, &["a", "b"]), |bytes| bytes[22] |= 1); // the header says gzip
    append_batch(&engine, 0, wrong_codec).await;
    append(&engine, 0, &["c"]).await;
    let mut consumer = with_policy(&engine, GapPolicy::Report).await;
    assert_eq!(drain(&mut consumer).await, [Ok(2)]);
    assert_eq!(seen(&consumer), [(0, 2, GapReason::Corrupt)]);
}

#[tokio::test(start_paused = true)]
async fn a_hole_inside_a_batch_is_a_gap_between_its_records() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    // Offsets 0, 1 and 4 in a batch whose header ends at 6.
    let holed = forge(&batch_at(1, &["a", "b", "c"]), |bytes| {
        bytes[RECORDS_START + 2 * RECORD + 3] = 4 << 1;
        bytes[23..27].copy_from_slice(&6i32.to_be_bytes());
    });
    append_batch(&engine, 0, holed).await;
    append(&engine, 0, &["d"]).await;
    let mut consumer = with_policy(&engine, GapPolicy::Report).await;
    assert_eq!(drain(&mut consumer).await, [0, 1, 4, 7].map(Ok));
    assert_eq!(seen(&consumer), [(2, 4, GapReason::Missing), (5, 7, GapReason::Missing)]);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_go_back_inside_a_batch_are_damage() {
    let engine = FakeEngine::with_topic(TOPIC, 1);
    let twice = forge(&batch_at(1, &["a", "b", "c"]), |bytes| bytes[RECORDS_START + 2 * RECORD + 3] = 1 << 1);
    append_batch(&engine, 0, twice).await;
    let mut consumer = with_policy(&engine, GapPolicy::Report).await;
    assert_eq!(drain(&mut consumer).await, [0, 1].map(Ok));
    assert_eq!(seen(&consumer), [(2, 3, GapReason::Corrupt)]);
}

#[tokio::test(start_paused = true)]
async fn duplicate_batches_are_dropped() {
    let mut check = OffsetCheck::new(0, None, offset_check::Holes::None);
    let batch = |base| batch_at(0, &["a", "b"]).with_base_offset(base);
    assert_eq!(check.accept(batch(0)).len(), 1);
    assert!(check.accept(batch(0)).is_empty());
    let overlapping: Vec<_> = check.accept(batch(1)).into_iter().flat_map(Found::check).collect();
    let [Found::Records(part)] = &overlapping[..] else { panic!("{overlapping:?}") };
    assert_eq!((part.first_offset(), part.len()), (2, 1), "only new records");
}

#[tokio::test(start_paused = true)]
async fn a_truncated_partition_fails_until_a_seek() {
    let engine = ten().await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    offsets(&mut consumer, 10).await;
    engine.truncate(TOPIC, 0, 6);
    engine.fail_reads([broken()]);
    let error = next_error(&mut consumer).await;
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert!(error.to_string().contains("next offset 10") && error.to_string().contains("at 6"), "{error}");
    assert!(consumer.try_next().await.unwrap().is_none());
    consumer.seek(0, StartAt::BeforeEnd(1)).await.unwrap();
    assert_eq!(offsets(&mut consumer, 1).await, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_does_not_move_the_stored_offset_by_itself() {
    let engine = ten().await;
    engine.lose_batch(TOPIC, 0, 1);
    let builder = over(&engine).consumer(TOPIC).group("g").commit(CommitPolicy::PerRecord);
    let mut consumer = builder.start().await.unwrap();
    offsets(&mut consumer, 3).await;
    assert_eq!(next_error(&mut consumer).await.kind(), ErrorKind::Gap);
    assert_eq!(next(&mut consumer).await.offset, 6);
    assert_eq!(stored(&engine, "g", 0).await, Some(3));
    next(&mut consumer).await;
    assert_eq!(stored(&engine, "g", 0).await, Some(7));
}
