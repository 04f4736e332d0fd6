//! Appends: order, shared requests, lost and malformed replies, leader changes.

use floe::{
    Effect, ErrorKind,
    engine::{AppendEpoch, Engine},
};
use floe_testkit::fluvio::{Cluster, Fault, TOPIC};
use floe_wire::fluvio::ErrorCode;
use futures_util::future::{join_all, poll_fn};

use super::{client, connect, request, stored};

const PRODUCE: u16 = 0;

/// Sends numbered records through a producer and checks that each is stored once, in order.
async fn check_producer(cluster: &Cluster, count: usize) {
    let engine = connect(cluster).await;
    let producer = client(&engine).producer(TOPIC).batch_size(1).start().await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(producer.enqueue(number.to_string()).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, i64::try_from(number).ok());
    }
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(stored(cluster, 0), expected);
}

#[tokio::test(start_paused = true)]
async fn reply_cut_at_any_byte_loses_and_duplicates_nothing() {
    for cut in 0..60 {
        let cluster = Cluster::new(1);
        cluster.change(|state| state.faults.push_back((PRODUCE, Fault::CutAfter(cut))));
        check_producer(&cluster, 12).await;
        assert!(cluster.state.lock().faults.is_empty(), "the fault was injected");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_and_missing_replies_lose_and_duplicate_nothing() {
    for fault in [Fault::Garbage, Fault::WrongId, Fault::Oversize, Fault::Silence] {
        let cluster = Cluster::new(1);
        cluster.change(|state| state.faults.push_back((PRODUCE, fault)));
        check_producer(&cluster, 12).await;
    }
}

#[tokio::test(start_paused = true)]
async fn missing_reply_times_out() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    cluster.change(|state| state.faults.push_back((PRODUCE, Fault::Silence)));
    let started = tokio::time::Instant::now();
    let error = engine.append(request(0, "x")).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::RequestTimeout, Effect::Unknown));
    assert_eq!(started.elapsed().as_secs(), 10);
    // The engine closed the connection, and a new one works.
    assert_eq!(engine.append(request(0, "y")).await.unwrap().base_offset, Some(1));
}

#[tokio::test(start_paused = true)]
async fn broken_connection_fails_every_request_with_the_cause() {
    let cluster = Cluster::new(3);
    let engine = connect(&cluster).await;
    cluster.change(|state| {
        state.hold = true;
        state.faults.push_back((PRODUCE, Fault::Garbage));
    });
    let appends = join_all((0..3).map(|partition| engine.append(request(partition, "x"))));
    let (outcomes, ()) = tokio::join!(appends, async {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        cluster.change(|state| state.hold = false);
    });
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::ProtocolError, Effect::Unknown), "{error}");
        assert!(error.endpoint().is_some_and(|endpoint| endpoint.contains("9005")), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn producer_follows_the_leader() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    assert_eq!(engine.append(request(0, "0")).await.unwrap().base_offset, Some(0));
    // Without a notification of the watches.
    cluster.state.lock().leaders.insert(0, 2);
    let error = engine.append(request(0, "1")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect(), error.is_retriable()),
        (ErrorKind::NotLeader, Effect::None, true)
    );
    let producer = client(&engine).producer(TOPIC).start().await.unwrap();
    assert_eq!(producer.send("1").await.unwrap().offset, Some(1));
    assert_eq!(stored(&cluster, 0), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn failure_ends_the_epoch_of_its_sender_and_no_other() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    engine.append(request(0, "first")).await.unwrap();
    cluster.change(|state| {
        state.refusals.extend([ErrorCode::None, ErrorCode::NotLeaderForPartition, ErrorCode::None]);
        state.hold = true;
    });
    let (epoch, other) = (AppendEpoch::begin(), AppendEpoch::begin());
    // Four requests are in flight; the fifth batch waits in the client.
    let mut appends: Vec<_> =
        (0..5).map(|number| engine.append(request(0, &number.to_string()).epoch(&epoch))).collect();
    for append in &mut appends {
        poll_fn(|context| {
            assert!(append.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    cluster.change(|state| state.hold = false);
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    // The batch has failed, and its append has not returned yet.
    let late = engine.append(request(0, "late").epoch(&epoch)).await.unwrap_err();
    assert_eq!((late.effect(), late.is_retriable()), (Effect::None, true));
    assert!(engine.append(request(0, "of another sender").epoch(&other)).await.is_ok());
    let outcomes = join_all(appends).await;
    assert_eq!(outcomes[0].as_ref().unwrap().base_offset, Some(1));
    let refused = outcomes[1].as_ref().unwrap_err();
    assert_eq!((refused.kind(), refused.is_retriable()), (ErrorKind::NotLeader, true));
    // The server stored the next batch, which was in flight: the producer knows that, and reports the refused one.
    assert!(outcomes[2].is_ok());
    assert!(!stored(&cluster, 0).contains(&"late".to_owned()));
    assert!(engine.append(request(0, "after").epoch(&AppendEpoch::begin())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn producer_reports_a_batch_that_a_later_one_overtook() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    let producer = client(&engine).producer(TOPIC).batch_size(1).start().await.unwrap();
    producer.send("first").await.unwrap();
    cluster.change(|state| {
        state.refusals.extend([ErrorCode::None, ErrorCode::NotLeaderForPartition, ErrorCode::None]);
        state.hold = true;
    });
    let mut deliveries = Vec::new();
    // Three requests are in flight; the last record stays in an open batch until the others have their outcome.
    for number in 0..4 {
        deliveries.push(producer.enqueue(number.to_string()).await.unwrap());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    cluster.change(|state| state.hold = false);
    let outcomes = join_all(deliveries).await;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    let error = outcomes[1].as_ref().unwrap_err();
    assert_eq!((error.effect(), error.is_retriable()), (Effect::None, false), "{error}");
    assert_eq!(stored(&cluster, 0), ["first", "0", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_batches_of_many_partitions_share_a_request() {
    let cluster = Cluster::new(20);
    let engine = connect(&cluster).await;
    engine.append(request(0, "warm")).await.unwrap();
    cluster.change(|state| {
        state.produced.clear();
        state.hold = true;
    });
    let appends = join_all((0..20).map(|partition| engine.append(request(partition, "x"))));
    let (outcomes, ()) = tokio::join!(appends, async {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        cluster.change(|state| state.hold = false);
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let produced = cluster.state.lock().produced.clone();
    assert_eq!(produced.iter().sum::<usize>(), 20);
    assert!(produced.len() <= 5, "20 batches in {} requests: {produced:?}", produced.len());
}

#[tokio::test(start_paused = true)]
async fn request_size_is_limited() {
    let cluster = Cluster::new(8);
    let engine = super::connect_with(&cluster, "?request-bytes=1KiB").await.unwrap();
    let large = "x".repeat(700);
    let outcomes = join_all((0..8).map(|partition| engine.append(request(partition, &large)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(cluster.state.lock().produced, [1; 8], "two do not fit, one always does");
}

#[tokio::test(start_paused = true)]
async fn error_codes_map_to_error_kinds() {
    let cluster = Cluster::new(1);
    let engine = connect(&cluster).await;
    for (code, kind, retriable) in [
        (ErrorCode::MessageTooLarge, ErrorKind::RecordTooLarge, false),
        (ErrorCode::CompressionError, ErrorKind::InvalidConfig, false),
        (ErrorCode::PartitionFull { topic: "t".to_owned(), partition: 0 }, ErrorKind::StorageError, true),
    ] {
        cluster.change(|state| state.refusals.push_back(code));
        let error = engine.append(request(0, "x")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable(), error.effect()), (kind, retriable, Effect::None));
    }
    assert!(stored(&cluster, 0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn unknown_topics_and_partitions_are_told_apart() {
    let cluster = Cluster::new(2);
    let engine = connect(&cluster).await;
    assert_eq!(engine.append(request(2, "x")).await.unwrap_err().kind(), ErrorKind::PartitionNotFound);
    let unknown = floe::Topic::from("unknown").partition(0);
    assert_eq!(engine.watermarks(unknown).await.unwrap_err().kind(), ErrorKind::TopicNotFound);
    // Deleted without a notification of the watch.
    cluster.state.lock().topic_exists = false;
    assert_eq!(engine.append(request(0, "x")).await.unwrap_err().kind(), ErrorKind::NotLeader);
    let after_deletion = engine.topic(TOPIC.into()).await.unwrap_err();
    assert_eq!(after_deletion.kind(), ErrorKind::TopicNotFound);
}
