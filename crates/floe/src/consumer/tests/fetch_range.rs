//! Reading by offset without a consumer.

use super::*;

async fn fetch(engine: &FakeEngine, from: i64, records: usize, bytes: usize) -> Result<Vec<i64>> {
    let at = Topic::from(TOPIC).partition(0);
    let messages = over(engine).fetch(at, from, FetchLimit::default().records(records).bytes(bytes)).await?;
    Ok(messages.into_iter().map(|message| message.offset).collect())
}

#[tokio::test(start_paused = true)]
async fn limits_and_starts() {
    let engine = ten().await; // values of 3 bytes
    let table = [
        (0, 100, 1000, 0..10),
        (4, 100, 1000, 4..10),
        (4, 3, 1000, 4..7),
        (9, 3, 1000, 9..10),
        (10, 3, 1000, 0..0),
        (2, 0, 1000, 0..0),
        (2, 100, 9, 2..5),
        (2, 100, 11, 2..5),
        (2, 100, 0, 2..3),
    ];
    for (from, records, bytes, expected) in table {
        let expected: Vec<i64> = expected.collect();
        assert_eq!(fetch(&engine, from, records, bytes).await.unwrap(), expected, "{from} {records} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_out_of_range_name_the_bounds() {
    let engine = ten().await;
    engine.evict(TOPIC, 0, 3);
    for from in [-1, 2, 11] {
        let error = fetch(&engine, from, 1, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
        assert!(error.to_string().contains("at 3"), "{error}");
    }
    assert_eq!(fetch(&engine, 3, 1, 1).await.unwrap(), [3]);
}

#[tokio::test(start_paused = true)]
async fn records_before_a_gap_come_first() {
    let engine = ten().await;
    engine.lose_batch(TOPIC, 0, 1);
    assert_eq!(fetch(&engine, 0, 100, 1000).await.unwrap(), [0, 1, 2]);
    let error = fetch(&engine, 3, 100, 1000).await.unwrap_err();
    let gap = Gap::of(&error).unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (3, 6, GapReason::Missing));
    assert_eq!(fetch(&engine, gap.to, 100, 1000).await.unwrap(), [6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_offsets_is_refused() {
    let capabilities = crate::engine::Capabilities::FULL.with(|it| it.offsets = false);
    let engine = ten().await.with_capabilities(capabilities);
    assert_eq!(fetch(&engine, 0, 1, 1).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
