//! Members that share the partitions: joins, leaves, positions, growth.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use floe::consumer::{AckMode, CommitPolicy, GroupEvent, Membership};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{TOPIC, World, drain, pass, place, shares};

#[tokio::test(start_paused = true)]
async fn two_members_divide_the_partitions_and_handle_each_record_once() {
    let world = World::new(4).await;
    let (one, two) = (world.worker(), world.worker());
    let (mut first, mut second) = (one.join().await, two.join().await);
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [2, 2]);

    world.send(4, 50).await;
    let (mut by_first, mut by_second) = (BTreeMap::new(), BTreeMap::new());
    drain(&mut first, &mut by_first).await;
    drain(&mut second, &mut by_second).await;
    assert_eq!((by_first.len(), by_second.len()), (100, 100));
    assert!(by_first.keys().all(|at| !by_second.contains_key(at)));
    assert!(by_first.values().chain(by_second.values()).all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_gives_its_partitions_and_positions_to_the_others() {
    let world = World::new(4).await;
    world.send(4, 10).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.join().await;
    let mut handled = BTreeMap::new();
    drain(&mut first, &mut handled).await;
    assert_eq!(handled.len(), 40);
    let mut second = two.join().await;
    first.close().await.unwrap();
    let left = Instant::now();
    world.send(4, 1).await;
    let mut after = BTreeMap::new();
    while after.len() < 4 {
        let message = timeout(Duration::from_secs(30), second.try_next()).await.unwrap().unwrap().unwrap();
        *after.entry((message.partition, u32::try_from(message.offset).unwrap())).or_insert(0) += 1;
    }
    assert!(after.keys().all(|(_, offset)| *offset == 10), "nothing twice: {after:?}");
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_partition_moves_when_the_records_in_hand_are_finished() {
    let world = World::new(2).await;
    world.send(2, 5).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.consumer().ack_mode(AckMode::Explicit).start().await.unwrap();
    let mut in_hand = Vec::new();
    for _ in 0..10 {
        in_hand.push(first.try_next().await.unwrap().unwrap());
    }
    let mut second = two.join().await;
    assert!(timeout(Duration::from_secs(20), first.try_next()).await.is_err());
    assert_eq!(shares(&world.client).await, [0, 2], "the drain of 30 s has not passed");
    for message in &in_hand {
        message.ack();
    }
    assert!(timeout(Duration::from_secs(1), first.try_next()).await.is_err());
    assert_eq!(shares(&world.client).await, [1, 1]);
    assert!(
        timeout(Duration::from_secs(10), second.try_next()).await.is_err(),
        "all were handled by the first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_by_its_time() {
    let world = World::new(2).await;
    world.send(2, 1).await;
    let (one, two) = (world.worker(), world.worker());
    let membership = Membership::new().drain(Duration::from_secs(2));
    let mut first = one.join_as(membership).await;
    // The application keeps this record for longer than it may.
    let held = place(&first.try_next().await.unwrap().unwrap());
    let mut second = two.join().await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
    let mut again = BTreeMap::new();
    drain(&mut second, &mut again).await;
    assert_eq!(again.len(), 1, "{held:?} {again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_joins_moves_each_partition_once() {
    let world = World::new(100).await;
    let events: Arc<Mutex<Vec<GroupEvent>>> = Arc::default();
    let mut members = Vec::new();
    for number in 0..4 {
        let (worker, events) = (world.worker(), Arc::clone(&events));
        let membership = Membership::new().on_event(move |event| events.lock().push(event.clone()));
        members.push((worker.join_as(membership).await, worker));
        sleep(Duration::from_millis(100 * number)).await;
    }
    for (member, _) in &mut members {
        let _ = timeout(Duration::from_millis(1), member.try_next()).await;
    }
    for _ in 0..20 {
        for (member, _) in &mut members {
            let _ = timeout(Duration::from_millis(500), member.try_next()).await;
        }
    }
    assert_eq!(shares(&world.client).await, [25, 25, 25, 25]);
    let revoked = |events: &[GroupEvent]| -> usize {
        let of = |event: &GroupEvent| if let GroupEvent::Revoked(of) = event { of.len() } else { 0 };
        events.iter().map(of).sum()
    };
    assert_eq!(revoked(&events.lock()), 75, "each partition that has to go moves once");

    events.lock().clear();
    let fifth = world.worker();
    let mut fifth = fifth.join().await;
    for _ in 0..20 {
        for (member, _) in &mut members {
            let _ = timeout(Duration::from_millis(500), member.try_next()).await;
        }
    }
    assert!(timeout(Duration::from_millis(1), fifth.try_next()).await.is_err());
    assert_eq!(shares(&world.client).await, [20, 20, 20, 20, 20]);
    assert_eq!(revoked(&events.lock()), 20, "a fifth member takes a fifth");
    assert!(!events.lock().iter().any(|event| matches!(event, GroupEvent::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn added_partitions_are_shared_too() {
    let world = World::new(1).await;
    let (one, two) = (world.worker(), world.worker());
    let (mut first, mut second) = (one.join().await, two.join().await);
    world.client.admin().add_partitions(TOPIC, 4).await.unwrap();
    pass(Duration::from_secs(10), &mut [&mut first, &mut second]).await;
    pass(Duration::from_secs(10), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [2, 2]);
    world.send(4, 3).await;
    let mut handled = BTreeMap::new();
    drain(&mut first, &mut handled).await;
    drain(&mut second, &mut handled).await;
    assert_eq!(handled.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn commits_are_stored_in_the_group_and_where_other_tools_look() {
    let world = World::new(1).await;
    world.send(1, 10).await;
    let worker = world.worker();
    let mut consumer = worker.consumer().commit(CommitPolicy::Manual).start().await.unwrap();
    for _ in 0..5 {
        consumer.try_next().await.unwrap().unwrap();
    }
    consumer.commit().await.unwrap();
    let position = async || world.client.groups().describe("billing").await.unwrap().partitions[0].next;
    assert_eq!(position().await, Some(5));
    sleep(Duration::from_secs(60)).await;
    // The store of offsets has a thread of its own, which the paused clock does not wait for.
    for _ in 0..1000 {
        let stored = world.client.admin().committed_offsets(Some("billing")).await.unwrap();
        if stored.iter().map(|offset| offset.next).eq([5]) {
            break;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
    }
    let stored = world.client.admin().committed_offsets(Some("billing")).await.unwrap();
    assert_eq!(stored.iter().map(|offset| offset.next).collect::<Vec<_>>(), [5]);
    // Without a commit of the policy the records taken since do not count.
    consumer.try_next().await.unwrap().unwrap();
    consumer.close().await.unwrap();
    assert_eq!(position().await, Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_plain_group_goes_on_as_a_shared_one() {
    let world = World::new(2).await;
    world.send(2, 10).await;
    let mut plain = world.client.consumer(TOPIC).group("billing").start().await.unwrap();
    for _ in 0..20 {
        plain.try_next().await.unwrap().unwrap();
    }
    plain.close().await.unwrap();
    let worker = world.worker();
    let mut shared = worker.join().await;
    assert!(timeout(Duration::from_secs(5), shared.try_next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn weights_decide_the_shares() {
    let world = World::new(8).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.join_as(Membership::new().weight(3)).await;
    let mut second = two.join().await;
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [2, 6]);
}

#[tokio::test(start_paused = true)]
async fn newcomers_start_at_a_snapshot() {
    let world = World::new(2).await;
    let worker = world.worker();
    let mut first = worker.join_as(Membership::new().session(Duration::from_millis(300))).await;
    world.send(2, 5).await;
    let mut handled = BTreeMap::new();
    drain(&mut first, &mut handled).await;
    // Ten heartbeats a second: several snapshots, and more records than a newcomer reads at first.
    pass(Duration::from_secs(600), &mut [&mut first]).await;
    let newcomer = world.worker();
    let mut second = newcomer.join().await;
    pass(Duration::from_secs(5), &mut [&mut first, &mut second]).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
    let group = world.client.groups().describe("billing").await.unwrap();
    assert_eq!(group.partitions.iter().map(|at| at.next).collect::<BTreeSet<_>>(), [Some(5)].into());
}

#[tokio::test(start_paused = true)]
async fn processors_share_too() {
    let world = World::new(2).await;
    world.client.admin().create_topic(floe::TopicSpec::new("bills").partitions(1)).await.unwrap();
    let (one, two) = (world.worker(), world.worker());
    let start = async |worker: &super::Worker| {
        let processor = worker.client.processor(TOPIC, "bills").group("billing").shared();
        processor.map(async |order| Ok(floe::Record::new(order.value))).start().await.unwrap()
    };
    let (first, second) = (start(&one).await, start(&two).await);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(shares(&world.client).await, [1, 1]);
    world.send(2, 10).await;
    sleep(Duration::from_secs(5)).await;
    let (first, second) = (first.stop().await.unwrap(), second.stop().await.unwrap());
    assert_eq!((first.read, second.read), (10, 10));
    let group = world.client.groups().describe("billing").await.unwrap();
    assert!(group.members.is_empty() && group.partitions.iter().all(|at| at.next == Some(10)), "{group:?}");
}
