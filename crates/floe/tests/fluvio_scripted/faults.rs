//! Faults seen by a whole client: deleted topics, evicted records, a controller or data servers that are down.

use std::time::Duration;

use floe::{
    ErrorKind, RetryPolicy,
    consumer::{Gap, GapPolicy, GapReason, StartAt},
    engine::{
        Engine, Start,
        fluvio::{ConnectionState, ObjectEvent},
    },
};
use floe_testkit::fluvio::{Cluster, Fault, SC, SPUS, TOPIC};
use floe_wire::fluvio::{ErrorCode, PartitionSpec, SpuSpec};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::{batch, client, connect, open, request, stored};

const WATCH: u16 = 1004;
const FETCH_OFFSETS: u16 = 1002;
const LIST: u16 = 1003;

#[tokio::test(start_paused = true)]
async fn topic_deleted_under_a_producer_fails_its_records() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let producer = client(&engine).producer(TOPIC).start().await.unwrap();
    producer.send("before").await.unwrap();
    cluster.change(|state| {
        state.topic_exists = false;
        state.deleted = true;
    });
    let error = producer.send("after").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound, "{error}");
    assert_eq!(stored(&cluster, 0), ["before"]);
}

#[tokio::test(start_paused = true)]
async fn topic_deleted_under_a_consumer_ends_it_once() {
    let cluster = Cluster::new(2);
    cluster.append(0, batch(&["a"]));
    let engine = connect(&cluster).await;
    let mut consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "a");
    cluster.change(|state| {
        state.topic_exists = false;
        state.deleted = true;
    });
    assert_eq!(consumer.try_next().await.unwrap_err().kind(), ErrorKind::TopicNotFound);
    assert!(consumer.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn records_evicted_while_reading_are_a_gap() {
    let cluster = Cluster::new(1);
    let value = "x".repeat(5000);
    for _ in 0..12 {
        cluster.append(0, batch(&[&value]));
    }
    let engine = connect(&cluster).await;
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).prefetch_records(1);
    let mut consumer = consumer.fetch_bytes(6000).on_gap(GapPolicy::Fail).start().await.unwrap();
    assert_eq!(consumer.try_next().await.unwrap().unwrap().offset, 0);
    // Retention evicts records that the slow reader has not fetched; its streams end with the segment.
    cluster.change(|state| {
        state.start = 9;
        state.partitions.get_mut(&0).unwrap().retain(|batch| batch.base_offset() >= 9);
    });
    let mut seen = Vec::new();
    let gap = loop {
        match consumer.try_next().await {
            Ok(Some(message)) => seen.push(message.offset),
            Ok(None) => panic!("it ended"),
            Err(error) => break Gap::of(&error).unwrap().clone(),
        }
        assert!(seen.len() < 9, "no gap: {seen:?}");
    };
    let next = seen.last().map_or(1, |last| last + 1);
    assert_eq!((gap.from, gap.to, gap.reason), (next, 9, GapReason::Evicted));
    assert_eq!(consumer.try_next().await.unwrap().unwrap().offset, 9);
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_while_the_controller_is_gone() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    let producer = client(&engine).producer(TOPIC).start().await.unwrap();
    cluster.change(|state| state.down.push(SC));
    for number in 0..60 {
        if number % 20 == 0 {
            // All connections break, those to the data server as well.
            cluster.hang_up();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        producer.send(number.to_string()).await.unwrap();
        let message = consumer.try_next().await.unwrap().unwrap();
        assert_eq!((message.offset, &message.value[..]), (number, number.to_string().as_bytes()));
    }
}

#[tokio::test(start_paused = true)]
async fn watch_cut_at_any_byte_reconnects() {
    for cut in (0..160).step_by(3) {
        let cluster = Cluster::new(1);
        cluster.change(|state| state.faults.push_back((WATCH, Fault::CutAfter(cut))));
        let engine = connect(&cluster).await;
        assert!(cluster.state.lock().faults.is_empty(), "the fault was injected");
        assert_eq!(engine.topics().await.unwrap().len(), 1, "cut at {cut}");
        assert_eq!(engine.append(request(0, "x")).await.unwrap().base_offset, Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn offset_reply_cut_at_any_byte_is_a_retriable_error() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    for cut in 0..40 {
        cluster.change(|state| state.faults.push_back((FETCH_OFFSETS, Fault::CutAfter(cut))));
        let error = engine.watermarks(super::at(0)).await.unwrap_err();
        assert!(error.is_retriable(), "cut at {cut}: {error}");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(engine.watermarks(super::at(0)).await.unwrap().high, 0);
    }
}

/// Admin calls that only Fluvio has use the connection to the controller, which may break like any other.
#[tokio::test(start_paused = true)]
async fn admin_calls_are_retried_where_configured() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let once = engine.admin();
    let again = engine.admin().retry(RetryPolicy::calls());
    for cut in [0, 5, 17] {
        for (admin, succeeds) in [(&once, false), (&again, true)] {
            cluster.change(|state| state.faults.push_back((LIST, Fault::CutAfter(cut))));
            let outcome = admin.list::<SpuSpec>(&[]).await;
            assert_eq!(outcome.is_ok(), succeeds, "cut at {cut}: {outcome:?}");
            assert!(cluster.state.lock().faults.is_empty());
            if let Err(error) = outcome {
                assert!(error.is_retriable(), "{error}");
                assert_eq!(error.operation(), Some("list_objects"));
            }
        }
    }
}

/// Changes during a broken connection are reported after the reconnect.
#[tokio::test(start_paused = true)]
async fn a_watch_of_objects_tells_every_change_over_broken_connections() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut partitions = engine.admin().watch::<PartitionSpec>();
    let leader = |event: ObjectEvent<PartitionSpec>| match event {
        ObjectEvent::Updated(partition) => (partition.name, Some(partition.spec.leader)),
        ObjectEvent::Deleted(name) => (name, None),
        other => panic!("{other:?}"),
    };
    let name = format!("{TOPIC}-0");
    assert_eq!(leader(partitions.next().await.unwrap().unwrap()), (name.clone(), Some(1)));
    cluster.change(|state| {
        state.leaders.insert(0, 2);
    });
    assert_eq!(leader(partitions.next().await.unwrap().unwrap()), (name.clone(), Some(2)));
    cluster.hang_up();
    cluster.change(|state| state.topic_exists = false);
    assert_eq!(leader(partitions.next().await.unwrap().unwrap()), (name, None));
    engine.close().await.unwrap();
    assert_eq!(partitions.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(partitions.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_all_servers_can_be_watched() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let admin = engine.admin();
    assert_eq!(admin.connections().len(), 1, "the controller only");
    engine.append(request(0, "x")).await.unwrap();
    let connections = admin.connections();
    assert_eq!(connections.len(), 2);
    let data_server = &connections[1];
    assert!(data_server.endpoint().starts_with("spu:"), "{data_server:?}");
    assert_eq!(data_server.state(), ConnectionState::Connected);
    cluster.change(|state| state.down.extend(SPUS.map(|(_, port)| port)));
    cluster.hang_up();
    data_server.wait_for(|state| state == ConnectionState::Reconnecting).await.unwrap();
    engine.close().await.unwrap();
}

/// Returns the error of a consumer whose data server never comes back, and the time until the error.
async fn given_up(policy: RetryPolicy) -> (floe::Error, Duration) {
    let cluster = Cluster::new(1);
    cluster.append(0, batch(&["a"]));
    let engine = connect(&cluster).await;
    let consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).retry(policy);
    let mut consumer = consumer.start().await.unwrap();
    consumer.try_next().await.unwrap().unwrap();
    cluster.change(|state| state.down.extend(SPUS.map(|(_, port)| port)));
    cluster.hang_up();
    let started = Instant::now();
    let error = consumer.try_next().await.unwrap_err();
    assert!(consumer.try_next().await.unwrap().is_none(), "a permanent error is the last item");
    (error, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn consumer_without_retries_fails_at_once() {
    let (error, after) = given_up(RetryPolicy::never()).await;
    assert!(error.is_retriable(), "{error}");
    assert_eq!(after, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn consumer_stops_after_the_configured_retries() {
    let policy = RetryPolicy::default().max_attempts(4);
    let (error, after) = given_up(policy).await;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(error.attempts() >= 3, "{error:?}");
    assert!(after > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn consumer_retries_forever_by_default() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let mut consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
    cluster.change(|state| state.down.extend(SPUS.map(|(_, port)| port)));
    cluster.hang_up();
    let long = Duration::from_secs(1200);
    let waited = tokio::time::timeout(long, consumer.try_next()).await;
    assert!(waited.is_err(), "{waited:?}");
    cluster.change(|state| state.down.clear());
    cluster.append(0, batch(&["after all"]));
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "after all");
}

#[tokio::test(start_paused = true)]
async fn stream_ended_by_the_server_is_reopened() {
    for code in [ErrorCode::NotLeaderForPartition, ErrorCode::FetchSessionNotFoud, ErrorCode::SpuOffline] {
        let cluster = Cluster::new(1);
        cluster.append(0, batch(&["a"]));
        cluster.change(|state| state.stream_errors.push_back(code.clone()));
        let engine = connect(&cluster).await;
        let mut consumer = client(&engine).consumer(TOPIC).from(StartAt::Beginning).start().await.unwrap();
        assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "a", "{code:?}");
        assert_eq!(cluster.state.lock().streams.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn reader_reports_an_evicted_position() {
    let cluster = Cluster::new(1);
    let value = "x".repeat(5000);
    for _ in 0..8 {
        cluster.append(0, batch(&[&value]));
    }
    let engine = connect(&cluster).await;
    let mut reader = open(&engine, Start::Earliest, 6000).await;
    assert_eq!(reader.next().await.unwrap().unwrap().base_offset(), 0);
    cluster.change(|state| {
        state.start = 7;
        state.partitions.get_mut(&0).unwrap().retain(|batch| batch.base_offset() >= 7);
    });
    let error = loop {
        match reader.next().await {
            Ok(Some(batch)) => assert!(batch.base_offset() < 7, "the reader skipped the evicted records"),
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
}
