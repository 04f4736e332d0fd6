//! Crashes, silence, names that two processes have, garbage.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use floe::{
    ErrorKind, Record, TopicSpec,
    consumer::{CommitPolicy, Fence, Membership},
};
use tokio::time::{Instant, timeout};

use super::{GROUP, TOPIC, World, drain, pass, shares};

/// Session and one heartbeat, and the second that the promise allows beyond.
fn bound(session: Duration) -> Duration {
    session + session * 2 / 5 + Duration::from_secs(1)
}

async fn crash(session: Duration) -> Duration {
    let world = World::new(2).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.join_as(Membership::new().session(session)).await;
    let mut second = two.join_as(Membership::new().session(session)).await;
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
    one.connection.cut(true);
    let crashed = Instant::now();
    world.send(2, 1).await;
    let mut partitions = BTreeMap::new();
    while partitions.len() < 2 {
        let message = timeout(Duration::from_secs(60), second.try_next()).await.unwrap().unwrap().unwrap();
        partitions.insert(message.partition, crashed.elapsed());
    }
    *partitions.values().max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_others_take_over_after_a_crash() {
    for session in [Duration::from_secs(10), Duration::from_secs(3)] {
        let took = crash(session).await;
        assert!(took <= bound(session), "{took:?} with a session of {session:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_hands_out_nothing_and_joins_anew() {
    let world = World::new(2).await;
    let (one, two) = (world.worker(), world.worker());
    let membership = || Membership::new().fence(Fence::Strict);
    let mut first = one.join_as(membership()).await;
    let mut second = two.join_as(membership()).await;
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    world.send(2, 20).await;
    let taken = first.try_next().await.unwrap().unwrap();
    one.connection.cut(true);
    tokio::time::sleep(Duration::from_secs(9)).await;
    // 19 records of the partition are in its memory.
    assert!(timeout(Duration::from_secs(20), first.try_next()).await.is_err());
    let mut by_second = BTreeMap::new();
    drain(&mut second, &mut by_second).await;
    assert_eq!(by_second.len(), 40, "the record in hand was not committed, so it comes again");
    assert!(by_second.contains_key(&super::place(&taken)));

    let findings = one.client.health().await.unwrap().findings;
    assert!(findings.iter().any(|finding| finding.contains("billing")), "{findings:?}");
    one.connection.cut(false);
    assert_eq!(first.commit().await.unwrap_err().kind(), ErrorKind::Fenced);
    pass(Duration::from_secs(10), &mut [&mut first, &mut second]).await;
    pass(Duration::from_secs(10), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
    world.send(2, 1).await;
    let (mut one_more, mut other) = (BTreeMap::new(), BTreeMap::new());
    drain(&mut first, &mut one_more).await;
    drain(&mut second, &mut other).await;
    assert_eq!((one_more.len(), other.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lenient_member_goes_on_while_the_coordination_topic_is_away() {
    let world = World::new(1).await;
    let worker = world.worker();
    let mut first = worker.join().await;
    world.send(1, 200).await;
    let mut numbers = Vec::new();
    // All calls fail for 30 s; the records that are in memory go on.
    for turn in 0..60 {
        if turn == 10 {
            worker.connection.cut(true);
        }
        if let Ok(message) = timeout(Duration::from_millis(500), first.try_next()).await {
            numbers.push(super::place(&message.unwrap().unwrap()).1);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    worker.connection.cut(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    first.commit().await.unwrap();
    assert_eq!(world.client.groups().describe(GROUP).await.unwrap().partitions[0].next, Some(60));
}

#[tokio::test(start_paused = true)]
async fn no_healthy_member_is_evicted_after_an_outage_of_all() {
    let world = World::new(4).await;
    let workers: Vec<_> = (0..4).map(|_| world.worker()).collect();
    let mut members = Vec::new();
    for worker in &workers {
        members.push(worker.join().await);
    }
    let mut each: Vec<_> = members.iter_mut().collect();
    pass(Duration::from_secs(8), &mut each).await;
    let generation = world.client.groups().describe(GROUP).await.unwrap().generation;
    workers.iter().for_each(|worker| worker.connection.cut(true));
    tokio::time::sleep(Duration::from_secs(25)).await;
    workers.iter().for_each(|worker| worker.connection.cut(false));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.client.groups().describe(GROUP).await.unwrap().generation, generation);
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_name_takes_over_at_once() {
    let world = World::new(2).await;
    world.send(2, 5).await;
    let (before, after) = (world.worker(), world.worker());
    let membership = || Membership::new().instance("worker-1");
    let mut first = before.join_as(membership()).await;
    let mut handled = BTreeMap::new();
    drain(&mut first, &mut handled).await;
    first.commit().await.unwrap();
    before.connection.cut(true);
    let restarted = Instant::now();
    let mut second = after.join_as(membership()).await;
    world.send(2, 1).await;
    second.try_next().await.unwrap().unwrap();
    assert!(restarted.elapsed() < Duration::from_secs(1));

    before.connection.cut(false);
    let error = loop {
        match first.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with an error first"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("worker-1"), "{error}");
    let error = first.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAMember);
    assert!(error.source().is_some_and(|cause| cause.to_string().contains("worker-1")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_below_three_round_trips_is_refused() {
    let world = World::new(1).await;
    let worker = world.worker();
    worker.connection.delay(Duration::from_millis(80));
    let start = worker.consumer().shared_as(Membership::new().session(Duration::from_millis(200))).start();
    let error = start.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("three round trips"), "{error}");
}

/// The time of an outage is not that of the network.
#[tokio::test(start_paused = true)]
async fn an_outage_at_the_start_does_not_end_the_member() {
    let world = World::new(1).await;
    for outages in [1, 2] {
        let worker = world.worker();
        worker.connection.outlast((0..outages).map(|_| Duration::from_secs(60)));
        let begun = Instant::now();
        let mut consumer = worker.join().await;
        assert!(begun.elapsed() >= Duration::from_secs(60) * outages, "{:?}", begun.elapsed());
        world.send(1, 1).await;
        super::take(&mut consumer, 1).await;
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_coordination_topic_is_passed_over() {
    let world = World::new(2).await;
    let worker = world.worker();
    let mut first = worker.join().await;
    let garbage = world.client.producer("floe-groups").start().await.unwrap();
    for value in [&b""[..], b"\x01", b"\x01\x07\xc0", b"\x63\x01\x90", b"plain text"] {
        garbage.send(Record::keyed(GROUP, value.to_vec())).await.unwrap();
        garbage.send(Record::new(value.to_vec())).await.unwrap();
    }
    let second = world.worker();
    let mut second = second.join().await;
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_ends_the_member() {
    let world = World::new(1).await;
    let worker = world.worker();
    let mut consumer = worker.join().await;
    world.client.admin().delete_topic(TOPIC).await.unwrap();
    let error = timeout(Duration::from_secs(10), consumer.try_next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    assert!(consumer.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_coordination_topic_that_is_deleted_is_made_anew() {
    let world = World::new(2).await;
    let (one, two) = (world.worker(), world.worker());
    let (mut first, mut second) = (one.join().await, two.join().await);
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    world.client.admin().delete_topic("floe-groups").await.unwrap();
    for _ in 0..3 {
        pass(Duration::from_secs(10), &mut [&mut first, &mut second]).await;
    }
    assert_eq!(shares(&world.client).await, [1, 1]);
    world.send(2, 1).await;
    let (mut by_first, mut by_second) = (BTreeMap::new(), BTreeMap::new());
    drain(&mut first, &mut by_first).await;
    drain(&mut second, &mut by_second).await;
    assert_eq!((by_first.len(), by_second.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_heartbeat_fails_is_stored_with_the_next_one() {
    let world = World::new(1).await;
    let worker = world.worker();
    let mut consumer = worker.consumer().commit(CommitPolicy::Manual).start().await.unwrap();
    world.send(1, 3).await;
    super::take(&mut consumer, 3).await;
    worker.connection.fail_append();
    consumer.commit().await.unwrap();
    assert!(!worker.connection.is_failing());
    assert_eq!(world.client.groups().describe(GROUP).await.unwrap().partitions[0].next, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_last_heartbeat_failed_leaves_with_its_offsets() {
    let world = World::new(1).await;
    let worker = world.worker();
    let hourly = CommitPolicy::Interval(Duration::from_secs(3600));
    let mut consumer = worker.consumer().commit(hourly).start().await.unwrap();
    world.send(1, 3).await;
    super::take(&mut consumer, 3).await;
    worker.connection.fail_append();
    while worker.connection.is_failing() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    consumer.close().await.unwrap();
    assert_eq!(world.client.groups().describe(GROUP).await.unwrap().partitions[0].next, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_strict_member_stops_at_its_fence_within_a_batch() {
    let world = World::new(1).await;
    let worker = world.worker();
    let mut consumer = worker.join_as(Membership::new().fence(Fence::Strict)).await;
    world.send(1, 2_000).await;
    super::take(&mut consumer, 1).await;
    worker.connection.cut(true);
    let (cut, mut last) = (Instant::now(), Duration::ZERO);
    while cut.elapsed() < Duration::from_secs(12) {
        if timeout(Duration::from_millis(10), consumer.try_next()).await.is_ok() {
            last = cut.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its last heartbeat that came back was sent up to 3.7 s before.
    let fence = Duration::from_millis(4_200)..=Duration::from_millis(8_050);
    assert!(fence.contains(&last), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_without_consumer_ends_although_the_coordination_topic_cannot_be_read() {
    let world = World::new(1).await;
    let worker = world.worker();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut consumer = worker.join().await;
    assert!(tasks() > before);
    worker.connection.refuse();
    world.client.admin().delete_topic("floe-groups").await.unwrap();
    pass(Duration::from_secs(5), &mut [&mut consumer]).await;
    drop(consumer);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_leaves_and_commits_nothing() {
    let world = World::new(1).await;
    world.send(1, 3).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.join().await;
    first.try_next().await.unwrap().unwrap();
    drop(first);
    let mut second = two.join().await;
    let dropped = Instant::now();
    let mut handled = BTreeMap::new();
    while handled.is_empty() {
        drain(&mut second, &mut handled).await;
        assert!(dropped.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(handled.len(), 3);
}

/// A member that joins anew while its log cannot be read answers its consumer.
#[tokio::test(start_paused = true)]
async fn a_consumer_is_closed_while_its_log_cannot_be_read() {
    let world = World::new(1).await;
    let worker = world.worker();
    let mut consumer = worker.consumer().commit(CommitPolicy::Manual).start().await.unwrap();
    world.send(1, 3).await;
    super::take(&mut consumer, 1).await;
    worker.connection.forbid();
    world.client.admin().delete_topic("floe-groups").await.unwrap();
    assert!(timeout(Duration::from_secs(20), super::take(&mut consumer, 3)).await.is_err());
    let commit = timeout(Duration::from_secs(1), consumer.commit()).await.expect("the member answers");
    assert_eq!(commit.unwrap_err().kind(), ErrorKind::Fenced);
    timeout(Duration::from_secs(1), consumer.close()).await.expect("the member answers").unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_create_the_topic_the_error_says_how_to_do_it() {
    let world = World::new(1).await;
    let worker = world.worker();
    worker.connection.forbid();
    let error = worker.consumer().start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    let text = error.to_string();
    assert!(text.contains("floe topic create floe-groups --partitions 8 --retention-age 7d"), "{text}");

    let spec = TopicSpec::new("floe-groups").partitions(8).retention_age(Duration::from_secs(7 * 24 * 3600));
    world.client.admin().create_topic(spec).await.unwrap();
    world.send(1, 3).await;
    super::take(&mut worker.join().await, 3).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_work_are_refused() {
    let world = World::new(1).await;
    let worker = world.worker();
    let refused = async |builder: floe::consumer::ConsumerBuilder| builder.start().await.unwrap_err().kind();
    let shared = || worker.client.consumer(TOPIC).group(GROUP).shared();
    for builder in [
        worker.client.consumer(TOPIC).shared(),
        worker.client.consumer(TOPIC).group("x".repeat(256)).shared(),
        shared().partition(0),
        shared().stop_at_end(),
        shared().shared_as(Membership::new().weight(0)),
        shared().shared_as(Membership::new().session(Duration::ZERO)),
        shared().shared_as(Membership::new().instance("")),
    ] {
        assert_eq!(refused(builder).await, ErrorKind::InvalidConfig);
    }
}
