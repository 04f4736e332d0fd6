//! Start positions and invalid settings.

use super::*;

async fn first_offset(engine: &FakeEngine, start: StartAt) -> Result<Option<i64>> {
    let mut consumer = over(engine).consumer(TOPIC).group("g").from(start).stop_at_end().start().await?;
    Ok(consumer.try_next().await?.map(|message| message.offset))
}

#[tokio::test(start_paused = true)]
async fn every_start_finds_its_record() {
    let engine = ten().await;
    engine.evict(TOPIC, 0, 3);
    let table = [
        (StartAt::Beginning, Some(3)),
        (StartAt::End, None),
        (StartAt::Offset(3), Some(3)),
        (StartAt::Offset(7), Some(7)),
        (StartAt::Offset(10), None),
        (StartAt::AfterBeginning(0), Some(3)),
        (StartAt::AfterBeginning(2), Some(5)),
        (StartAt::AfterBeginning(u64::MAX), None),
        (StartAt::BeforeEnd(0), None),
        (StartAt::BeforeEnd(1), Some(9)),
        (StartAt::BeforeEnd(u64::MAX), Some(3)),
        (StartAt::Time(i64::MIN), Some(3)),
        (StartAt::Time(1006), Some(6)),
        (StartAt::Time(i64::MAX), None),
        (StartAt::StoredOrBeginning, Some(3)),
        (StartAt::StoredOrEnd, None),
    ];
    for (start, expected) in table {
        assert_eq!(first_offset(&engine, start).await.unwrap(), expected, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_offset_takes_precedence() {
    let engine = ten().await;
    let at = Topic::from(TOPIC).partition(0);
    engine.commit(Arc::from("g"), vec![(at.clone(), 5)]).await.unwrap();
    for start in [StartAt::StoredOrBeginning, StartAt::StoredOrEnd] {
        assert_eq!(first_offset(&engine, start).await.unwrap(), Some(5));
    }
    engine.commit(Arc::from("g"), vec![(at, 11)]).await.unwrap();
    let error = first_offset(&engine, StartAt::StoredOrEnd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
    assert!(error.to_string().contains("stored offset 11"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stored_offset_that_was_evicted_is_a_gap() {
    let engine = ten().await;
    engine.commit(Arc::from("g"), vec![(Topic::from(TOPIC).partition(0), 2)]).await.unwrap();
    engine.evict(TOPIC, 0, 6);
    let mut consumer = over(&engine).consumer(TOPIC).group("g").start().await.unwrap();
    let error = next_error(&mut consumer).await;
    let gap = Gap::of(&error).unwrap();
    assert_eq!((gap.from, gap.to, gap.reason), (2, 6, GapReason::Evicted));
    assert_eq!(next(&mut consumer).await.offset, 6);
}

#[tokio::test(start_paused = true)]
async fn an_offset_out_of_range_is_an_error_that_names_the_bounds() {
    let engine = ten().await;
    engine.evict(TOPIC, 0, 3);
    for offset in [-1, 2, 11, i64::MAX] {
        let error = first_offset(&engine, StartAt::Offset(offset)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
        let text = error.to_string();
        assert!(text.contains("at 3") && text.contains("at 10") && text.contains("orders/0"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_start_is_the_beginning_for_groups_and_the_end_for_others() {
    let engine = ten().await;
    let client = over(&engine);
    let mut group = client.consumer(TOPIC).group("g").start().await.unwrap();
    let mut alone = client.consumer(TOPIC).start().await.unwrap();
    assert_eq!(group.position(0), Some(0));
    assert_eq!(alone.position(0), Some(10));
    append(&engine, 0, &["new"]).await;
    assert_eq!(next(&mut group).await.offset, 0);
    assert_eq!(next(&mut alone).await.offset, 10);
}

#[tokio::test(start_paused = true)]
async fn invalid_settings_are_refused() {
    let client = over(&FakeEngine::with_topic(TOPIC, 2));
    let builder = || client.consumer(TOPIC);
    let table = [
        (builder().partitions([]), ErrorKind::InvalidConfig),
        (builder().group(""), ErrorKind::InvalidConfig),
        (builder().commit(CommitPolicy::Interval(Duration::ZERO)), ErrorKind::InvalidConfig),
        (builder().from(StartAt::StoredOrEnd), ErrorKind::InvalidConfig),
        (builder().partition(2), ErrorKind::PartitionNotFound),
        (client.consumer("other"), ErrorKind::TopicNotFound),
    ];
    for (builder, expected) in table {
        let text = format!("{builder:?}");
        assert_eq!(builder.start().await.unwrap_err().kind(), expected, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_several_or_all_partitions() {
    let engine = FakeEngine::with_topic(TOPIC, 3);
    for partition in 0..3 {
        fill(&engine, partition, 1, 2).await;
    }
    let client = over(&engine);
    let builder = || client.consumer(TOPIC).from(StartAt::Beginning).stop_at_end();
    let table: [(ConsumerBuilder, &[u32]); 3] = [
        (builder().partition(1), &[1, 1]),
        (builder().partitions([2, 0, 2]), &[0, 0, 2, 2]),
        (builder(), &[0, 0, 1, 1, 2, 2]),
    ];
    for (builder, expected) in table {
        let consumer = builder.start().await.unwrap();
        let mut partitions: Vec<_> = consumer.map(|message| message.unwrap().partition).collect().await;
        partitions.sort_unstable();
        assert_eq!(partitions, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn mirrors_need_an_engine_that_has_them() {
    let capabilities = crate::engine::Capabilities::FULL.with(|it| it.mirrors = false);
    let engine = FakeEngine::with_topic(TOPIC, 1).with_capabilities(capabilities);
    let error = over(&engine).consumer(TOPIC).mirror("edge").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let engine = FakeEngine::with_topic(TOPIC, 1);
    let error = over(&engine).consumer(TOPIC).mirror("edge").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound, "{error}");
}

#[tokio::test(start_paused = true)]
async fn sizes_of_zero_are_refused() {
    let engine = ten().await;
    let builder = || over(&engine).consumer(TOPIC);
    for (builder, expected) in [
        (builder().prefetch_bytes(0), "prefetch_bytes"),
        (builder().prefetch_records(0), "prefetch_records"),
        (builder().fetch_bytes(0), "fetch_bytes"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains(expected), "{error}");
    }
}
