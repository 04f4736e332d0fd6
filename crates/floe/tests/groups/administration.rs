//! Listing, describing, resetting, evicting, deleting.

use std::{collections::BTreeMap, time::Duration};

use floe::{ErrorKind, Topic, consumer::Membership};
use tokio::time::timeout;

use super::{GROUP, TOPIC, World, drain, pass, shares, until_stored};

#[tokio::test(start_paused = true)]
async fn a_group_is_described() {
    let world = World::new(2).await;
    let groups = world.client.groups();
    assert!(groups.list().await.unwrap().is_empty(), "looking creates no topic");
    assert_eq!(groups.describe(GROUP).await.unwrap_err().kind(), ErrorKind::NotAMember);
    world.send(2, 3).await;
    let worker = world.worker();
    let mut consumer = worker.join_as(Membership::new().instance("worker-1").weight(2)).await;
    let mut handled = BTreeMap::new();
    drain(&mut consumer, &mut handled).await;
    consumer.commit().await.unwrap();
    let [group] = &groups.list().await.unwrap()[..] else { panic!("one group") };
    assert_eq!(&*group.name, GROUP);
    let member = &group.members[0];
    assert_eq!((member.instance.as_deref(), member.weight, member.topics.len()), (Some("worker-1"), 2, 1));
    assert!(member.heard_at.is_some());
    for partition in &group.partitions {
        assert_eq!(partition.member.as_deref(), Some(&*member.id));
        assert_eq!((partition.next, partition.moves_to.as_deref()), (Some(3), None));
        assert!(partition.committed_at.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_moves_the_position() {
    let world = World::new(1).await;
    world.send(1, 5).await;
    let worker = world.worker();
    let mut consumer = worker.join().await;
    let mut handled = BTreeMap::new();
    drain(&mut consumer, &mut handled).await;
    consumer.commit().await.unwrap();
    let groups = world.client.groups();
    let at = || Topic::from(TOPIC).partition(0);
    assert_eq!(groups.reset(GROUP, at(), 1, false).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(groups.reset(GROUP, at(), 99, false).await.unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
    groups.reset(GROUP, at(), 3, true).await.unwrap();
    drain(&mut consumer, &mut handled).await;
    assert_eq!(handled, BTreeMap::from([((0, 0), 1), ((0, 1), 1), ((0, 2), 1), ((0, 3), 2), ((0, 4), 2)]));

    consumer.close().await.unwrap();
    groups.reset(GROUP, at(), 0, false).await.unwrap();
    let mut consumer = worker.join().await;
    handled.clear();
    drain(&mut consumer, &mut handled).await;
    assert_eq!(handled.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_member_that_lives_joins_anew() {
    let world = World::new(2).await;
    let (one, two) = (world.worker(), world.worker());
    let mut first = one.join_as(Membership::new().instance("worker-1")).await;
    let mut second = two.join().await;
    pass(Duration::from_secs(8), &mut [&mut first, &mut second]).await;
    let groups = world.client.groups();
    groups.evict(GROUP, "worker-1").await.unwrap();
    assert_eq!(groups.evict(GROUP, "worker-9").await.unwrap_err().kind(), ErrorKind::NotAMember);
    for _ in 0..3 {
        pass(Duration::from_secs(5), &mut [&mut first, &mut second]).await;
    }
    assert_eq!(shares(&world.client).await, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_members_is_deleted() {
    let world = World::new(1).await;
    world.send(1, 5).await;
    let worker = world.worker();
    let mut consumer = worker.join().await;
    let mut handled = BTreeMap::new();
    drain(&mut consumer, &mut handled).await;
    let groups = world.client.groups();
    assert_eq!(groups.delete(GROUP).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(timeout(Duration::from_secs(1), consumer.try_next()).await.is_err());
    consumer.close().await.unwrap();
    until_stored(&world.client, 5).await;
    groups.delete(GROUP).await.unwrap();
    assert!(groups.list().await.unwrap().is_empty());
    assert!(world.client.admin().committed_offsets(Some(GROUP)).await.unwrap().is_empty());
    let mut consumer = worker.join().await;
    handled.clear();
    drain(&mut consumer, &mut handled).await;
    assert_eq!(handled.len(), 5, "it begins like a new group");
}
