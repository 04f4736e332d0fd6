//! An engine without offsets.

use super::*;
use crate::engine::Capabilities;

fn without_offsets() -> FakeEngine {
    FakeEngine::with_topic(TOPIC, 1).with_capabilities(Capabilities::FULL.with(|it| {
        it.offsets = false;
        it.dense_offsets = false;
        it.commit_offsets = false;
    }))
}

#[tokio::test(start_paused = true)]
async fn records_are_numbered_in_order_of_arrival() {
    let engine = without_offsets();
    fill(&engine, 0, 2, 2).await;
    let client = over(&engine);
    let mut late = client.consumer(TOPIC).from(StartAt::End).start().await.unwrap();
    let mut early = client.consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    append(&engine, 0, &["new"]).await;
    assert_eq!(offsets(&mut early, 5).await, [0, 1, 2, 3, 4]);
    let message = next(&mut late).await;
    assert_eq!((message.offset, &message.value[..]), (0, &b"new"[..]));
}

#[tokio::test(start_paused = true)]
async fn duplicates_of_a_producer_are_dropped() {
    let engine = without_offsets();
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    let nobody = || batch_at(1, &["n"]);
    for batch in [
        from_producer(7, 0, 0, &["a", "b"]),
        from_producer(7, 0, 2, &["c"]),
        from_producer(7, 0, 0, &["a", "b"]),
        from_producer(8, 0, 0, &["d"]),
        from_producer(7, 1, 0, &["e"]),
        from_producer(7, 0, 2, &["c"]),
        nobody(),
        nobody(),
    ] {
        append_batch(&engine, 0, batch).await;
    }
    let mut values = String::new();
    for number in 0..7 {
        let message = next(&mut consumer).await;
        assert_eq!(message.offset, number);
        values.push_str(std::str::from_utf8(&message.value).unwrap());
    }
    assert_eq!(values, "abcdenn");
    assert_silent(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn the_duplicate_filter_is_bounded() {
    let mut check = OffsetCheck::numbering();
    let mut came = |id, sequence| !check.accept(from_producer(id, 0, sequence, &["x"])).is_empty();
    assert!(came(0, 0));
    assert!(!came(0, 0));
    (1..1024).for_each(|id| assert!(came(id, 0)));
    assert!(!came(0, 0), "1,024 producers are remembered");
    assert!(came(1024, 0));
    assert!(came(0, 0), "the oldest was forgotten");
    (1..65).for_each(|sequence| assert!(came(0, sequence)));
    assert!(!came(0, 1));
    assert!(came(0, 0), "64 batches of a producer are remembered");
}

#[tokio::test(start_paused = true)]
async fn settings_that_need_offsets_are_refused_without_io() {
    let engine = without_offsets();
    let client = over(&engine);
    let builder = || client.consumer(TOPIC).from(StartAt::Beginning);
    for (builder, ability) in [
        (builder().from(StartAt::Offset(0)), "offsets"),
        (builder().from(StartAt::Time(0)), "offsets"),
        (builder().from(StartAt::BeforeEnd(1)), "offsets"),
        (builder().from(StartAt::AfterBeginning(1)), "offsets"),
        (builder().group("g"), "stored consumer offsets"),
        (builder().stop_at_end(), "offsets"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(ability), "{error}");
    }
    assert!(engine.opened_at().is_empty());
    let mut consumer = builder().start().await.unwrap();
    assert_eq!(consumer.seek(0, StartAt::Beginning).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(consumer.lag().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn a_reopened_reader_returns_no_old_records() {
    let engine = without_offsets();
    append(&engine, 0, &["a", "b"]).await;
    let mut consumer = over(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    offsets(&mut consumer, 2).await;
    engine.fail_reads([broken()]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    append(&engine, 0, &["c"]).await;
    let message = next(&mut consumer).await;
    assert_eq!((message.offset, &message.value[..]), (2, &b"c"[..]));
}
