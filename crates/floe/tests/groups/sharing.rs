//! Members that share the partitions: joins, leaves, positions, growth.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use floe::consumer::{AckMode, CommitPolicy, GroupEvent, Membership};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{TOPIC, World, drain, pass, place, shares, take, until_stored};

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
    let in_hand = take(&mut first, 10).await;
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
    until_stored(&world.client, 5).await;
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

/// The owner drains a partition for a member that is gone before it gets it: the owner takes it up again, where it stopped.
#[tokio::test(start_paused = true)]
async fn the_target_of_a_handover_leaves() {
    let world = World::new(2).await;
    world.send(2, 5).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.consumer().ack_mode(AckMode::Explicit).start().await.unwrap();
    let in_hand = take(&mut first, 10).await;
    let second = two.join().await;
    assert!(timeout(Duration::from_secs(5), first.try_next()).await.is_err());
    second.close().await.unwrap();
    assert!(timeout(Duration::from_secs(1), first.try_next()).await.is_err());
    in_hand.iter().for_each(floe::Message::ack);
    world.send(2, 1).await;
    let mut handled = BTreeMap::new();
    drain(&mut first, &mut handled).await;
    assert_eq!(handled.len(), 2, "one new record of each partition, and none twice");
    assert_eq!(shares(&world.client).await, [2]);
}

/// The owner leaves while it drains: its partitions go on where it had finished.
#[tokio::test(start_paused = true)]
async fn the_owner_leaves_during_a_handover() {
    let world = World::new(2).await;
    world.send(2, 5).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.consumer().ack_mode(AckMode::Explicit).start().await.unwrap();
    let in_hand = take(&mut first, 10).await;
    let mut second = two.join().await;
    assert!(timeout(Duration::from_secs(5), first.try_next()).await.is_err());
    // Three of each partition are finished; the others were polled, and are not.
    in_hand.iter().filter(|message| message.offset < 3).for_each(floe::Message::ack);
    first.close().await.unwrap();
    let mut handled = BTreeMap::new();
    drain(&mut second, &mut handled).await;
    let expected: BTreeSet<_> = [(0, 3), (0, 4), (1, 3), (1, 4)].into();
    assert_eq!(handled.into_keys().collect::<BTreeSet<_>>(), expected);
}

/// Records that were polled and are not finished are never stored, also when a partition moves by force.
#[tokio::test(start_paused = true)]
async fn polled_records_are_not_stored_when_a_partition_moves() {
    let world = World::new(2).await;
    world.send(2, 5).await;
    let (one, two) = (world.worker(), world.worker());
    let membership = || Membership::new().drain(Duration::from_secs(2)).session(Duration::from_secs(3));
    let mut first = one.consumer().shared_as(membership()).ack_mode(AckMode::Explicit).start().await.unwrap();
    let in_hand = take(&mut first, 10).await;
    let mut second = two.join_as(membership()).await;
    let mut handled = BTreeMap::new();
    for _ in 0..10 {
        assert!(timeout(Duration::from_secs(1), first.try_next()).await.is_err());
        drain(&mut second, &mut handled).await;
    }
    assert_eq!(handled.len(), 5, "all records of the partition that moved come again");
    // The first member is late with what it had in hand: that is no position any more.
    in_hand.iter().for_each(floe::Message::ack);
    first.close().await.unwrap();
    drain(&mut second, &mut handled).await;
    assert_eq!(handled.len(), 5, "{handled:?}");
}

/// In a large group of short sessions no member goes without partitions for long.
#[tokio::test(start_paused = true)]
async fn every_member_of_a_large_group_gets_its_share() {
    let world = World::new(40).await;
    let workers: Vec<_> = (0..20).map(|_| world.worker()).collect();
    let mut members = Vec::new();
    for worker in &workers {
        members.push(worker.join().await);
    }
    let mut each: Vec<_> = members.iter_mut().collect();
    pass(Duration::from_secs(10), &mut each).await;
    assert_eq!(shares(&world.client).await, [2; 20]);
}
