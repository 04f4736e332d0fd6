//! Members that read several topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use floe::{
    Consumer, ErrorKind, Record, TopicSpec,
    consumer::{Fence, GroupEvent, Membership},
    groups::GroupDescription,
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{GROUP, TOPIC, Worker, World, drain, pass, take};

const OTHER: &str = "returns";

async fn world(partitions: u32) -> World {
    let world = World::new(partitions).await;
    world.client.admin().create_topic(TopicSpec::new(OTHER).partitions(partitions)).await.unwrap();
    world
}

/// Reads both topics as one member.
async fn join_both(worker: &Worker, membership: Membership) -> (Consumer, Consumer) {
    let orders = worker.join_as(membership).await;
    let returns = worker.client.consumer(OTHER).shared_with(&orders).start().await.unwrap();
    (orders, returns)
}

async fn describe(world: &World) -> GroupDescription {
    world.client.groups().describe(GROUP).await.unwrap()
}

/// The member of each partition of a topic.
fn owners(group: &GroupDescription, topic: &str) -> Vec<Option<String>> {
    let of_topic = group.partitions.iter().filter(|at| at.at.topic.as_str() == topic);
    of_topic.map(|at| at.member.clone()).collect()
}

/// Partition and lease of everything that the group has.
fn leases(group: &GroupDescription) -> Vec<(String, u32, i64)> {
    group.partitions.iter().map(|at| (at.at.topic.to_string(), at.at.partition, at.lease)).collect()
}

/// Handles all records of both topics; partitions and values by topic, with their number of times.
async fn drain_both(
    (orders, returns): (&mut Consumer, &mut Consumer),
) -> (BTreeMap<(u32, u32), u32>, BTreeMap<(u32, u32), u32>) {
    let mut handled = (BTreeMap::new(), BTreeMap::new());
    drain(orders, &mut handled.0).await;
    drain(returns, &mut handled.1).await;
    handled
}

#[tokio::test(start_paused = true)]
async fn partitions_of_one_number_go_to_one_member() {
    let world = world(4).await;
    let (one, two) = (world.worker(), world.worker());
    let (mut a, mut b) = join_both(&one, Membership::new()).await;
    let (mut c, mut d) = join_both(&two, Membership::new()).await;
    pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
    let group = describe(&world).await;
    assert_eq!(group.members.len(), 2);
    assert!(group.members.iter().all(|member| member.topics.len() == 2), "{group:?}");
    let by_order = owners(&group, TOPIC);
    assert_eq!(by_order, owners(&group, OTHER));
    assert_eq!(by_order.iter().collect::<BTreeSet<_>>().len(), 2);

    world.send(4, 10).await;
    world.send_to(OTHER, 4, 10).await;
    let (first, second) = (drain_both((&mut a, &mut b)).await, drain_both((&mut c, &mut d)).await);
    assert_eq!(first.0, first.1, "the same partitions of both topics");
    assert_eq!(second.0, second.1);
    assert_eq!((first.0.len(), second.0.len()), (20, 20));
    assert!(first.0.keys().all(|at| !second.0.contains_key(at)));
}

#[tokio::test(start_paused = true)]
async fn commits_are_those_of_the_own_topic() {
    let world = world(1).await;
    let worker = world.worker();
    let manual = worker.consumer().commit(floe::consumer::CommitPolicy::Manual);
    let mut orders = manual.start().await.unwrap();
    let returns = worker.client.consumer(OTHER).commit(floe::consumer::CommitPolicy::Manual);
    let mut returns = returns.shared_with(&orders).start().await.unwrap();
    world.send(1, 5).await;
    world.send_to(OTHER, 1, 5).await;
    take(&mut orders, 3).await;
    take(&mut returns, 4).await;
    returns.commit().await.unwrap();
    let positions =
        async || -> Vec<_> { describe(&world).await.partitions.iter().map(|at| at.next).collect() };
    assert_eq!(positions().await, [None, Some(4)]);
    orders.commit().await.unwrap();
    assert_eq!(positions().await, [Some(3), Some(4)]);
}

#[tokio::test(start_paused = true)]
async fn closing_one_consumer_gives_up_its_topic_alone() {
    let world = world(2).await;
    world.send(2, 5).await;
    world.send_to(OTHER, 2, 5).await;
    let worker = world.worker();
    let (mut orders, mut returns) = join_both(&worker, Membership::new()).await;
    take(&mut orders, 10).await;
    take(&mut returns, 10).await;
    let before = leases(&describe(&world).await);
    returns.close().await.unwrap();
    let group = describe(&world).await;
    assert_eq!(owners(&group, OTHER), [None, None]);
    let positions = group.partitions.iter().filter(|at| at.at.topic.as_str() == OTHER).map(|at| at.next);
    assert_eq!(positions.collect::<Vec<_>>(), [Some(5), Some(5)], "the last offsets are stored");
    let of_orders = |leases: Vec<(String, u32, i64)>| -> Vec<_> {
        leases.into_iter().filter(|(topic, ..)| topic == TOPIC).collect()
    };
    assert_eq!(of_orders(leases(&group)), of_orders(before));
    world.send(2, 1).await;
    take(&mut orders, 2).await;

    // Another consumer of the topic goes on at the positions, and one that is dropped frees it for a third.
    world.send_to(OTHER, 2, 1).await;
    let with_orders = || worker.client.consumer(OTHER).shared_with(&orders).start();
    let mut again = with_orders().await.unwrap();
    assert_eq!(take(&mut again, 2).await.iter().map(|message| message.offset).collect::<Vec<_>>(), [5, 5]);
    drop(again);
    let mut third = with_orders().await.unwrap();
    assert_eq!(take(&mut third, 2).await.len(), 2, "nothing was committed");

    orders.close().await.unwrap();
    assert_eq!(describe(&world).await.members.len(), 1, "the other consumer is a member still");
    third.close().await.unwrap();
    let group = describe(&world).await;
    assert!(group.members.is_empty() && group.partitions.iter().all(|at| at.next == Some(6)), "{group:?}");
}

#[tokio::test(start_paused = true)]
async fn the_other_member_goes_on_with_a_topic_that_is_given_up() {
    let world = world(4).await;
    let (one, two) = (world.worker(), world.worker());
    let (mut a, mut b) = join_both(&one, Membership::new()).await;
    let (mut c, mut d) = join_both(&two, Membership::new()).await;
    pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
    world.send_to(OTHER, 4, 10).await;
    let mut handled = BTreeMap::new();
    drain(&mut b, &mut handled).await;
    b.close().await.unwrap();
    while handled.len() < 40 {
        drain(&mut d, &mut handled).await;
    }
    world.send_to(OTHER, 4, 1).await;
    let mut more = BTreeMap::new();
    drain(&mut d, &mut more).await;
    assert_eq!(more.len(), 4);
    assert!(handled.values().all(|times| *times == 1), "{handled:?}");
    world.send(4, 3).await;
    let mut handled = BTreeMap::new();
    while handled.len() < 12 {
        drain(&mut a, &mut handled).await;
        drain(&mut c, &mut handled).await;
    }
    assert!(handled.values().all(|times| *times == 1), "{handled:?}");
}

#[tokio::test(start_paused = true)]
async fn both_topics_go_on_elsewhere_after_a_crash() {
    let world = world(2).await;
    let (one, two) = (world.worker(), world.worker());
    let session = || Membership::new().session(Duration::from_secs(3));
    let (mut a, mut b) = join_both(&one, session()).await;
    let (mut c, mut d) = join_both(&two, session()).await;
    pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
    one.connection.cut(true);
    let crashed = Instant::now();
    world.send(2, 1).await;
    world.send_to(OTHER, 2, 1).await;
    take(&mut c, 2).await;
    take(&mut d, 2).await;
    assert!(crashed.elapsed() <= Duration::from_millis(5_200), "{:?}", crashed.elapsed());
}

/// A process that restarts under its name begins its consumers one after the other; no partition goes elsewhere meanwhile.
#[tokio::test(start_paused = true)]
async fn a_restart_under_the_same_name_takes_over_all_topics() {
    for closes in [false, true] {
        let world = world(4).await;
        let (other, before, after) = (world.worker(), world.worker(), world.worker());
        let events: Arc<Mutex<Vec<GroupEvent>>> = Arc::default();
        let told = Arc::clone(&events);
        let telling = Membership::new().on_event(move |event| told.lock().push(event.clone()));
        let (mut a, mut b) = join_both(&other, telling).await;
        let named = || Membership::new().instance("worker-1");
        let (mut c, mut d) = join_both(&before, named()).await;
        pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
        world.send(4, 5).await;
        world.send_to(OTHER, 4, 5).await;
        let handled = drain_both((&mut c, &mut d)).await;
        assert_eq!((handled.0.len(), handled.1.len()), (10, 10));
        events.lock().clear();
        if closes {
            // Their last step is to store the offsets in the engine, for whose thread the paused clock does not wait.
            tokio::spawn(c.close());
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::spawn(d.close());
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            c.commit().await.unwrap();
            d.commit().await.unwrap();
            before.connection.cut(true);
        }
        let restarted = Instant::now();
        let orders = after.join_as(named()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let returns = after.client.consumer(OTHER).shared_with(&orders).start().await.unwrap();
        let (mut c, mut d) = (orders, returns);
        assert!(restarted.elapsed() < Duration::from_secs(3));
        world.send(4, 1).await;
        world.send_to(OTHER, 4, 1).await;
        let handled = drain_both((&mut c, &mut d)).await;
        assert_eq!((handled.0.len(), handled.1.len()), (2, 2), "what was committed does not come again");
        assert_eq!(*events.lock(), [], "the other member has heard of nothing");
        let group = describe(&world).await;
        assert_eq!(owners(&group, TOPIC), owners(&group, OTHER));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_keeps_a_topic_without_consumer_for_a_session() {
    let world = world(2).await;
    let (one, two) = (world.worker(), world.worker());
    let (a, b) = join_both(&one, Membership::new().instance("worker-1")).await;
    b.close().await.unwrap();
    let (mut c, mut d) = join_both(&two, Membership::new()).await;
    world.send_to(OTHER, 2, 1).await;
    let begun = Instant::now();
    take(&mut d, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    world.send(2, 3).await;
    let mut handled = BTreeMap::new();
    let mut a = a;
    while handled.len() < 6 {
        drain(&mut a, &mut handled).await;
        drain(&mut c, &mut handled).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_ends_its_consumer_alone() {
    let world = world(1).await;
    let worker = world.worker();
    let (mut orders, mut returns) = join_both(&worker, Membership::new()).await;
    world.client.admin().delete_topic(OTHER).await.unwrap();
    let error = timeout(Duration::from_secs(10), returns.try_next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
    assert!(returns.try_next().await.unwrap().is_none());
    returns.close().await.unwrap();
    world.send(1, 3).await;
    take(&mut orders, 3).await;
    orders.commit().await.unwrap();
    assert_eq!(describe(&world).await.members[0].topics, [TOPIC.into()]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_member_ends_all_consumers() {
    let world = world(1).await;
    let (before, after) = (world.worker(), world.worker());
    let named = || Membership::new().instance("worker-1");
    let (mut a, mut b) = join_both(&before, named()).await;
    let _both = join_both(&after, named()).await;
    for consumer in [&mut a, &mut b] {
        let error = timeout(Duration::from_secs(1), consumer.try_next()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert_eq!(consumer.commit().await.unwrap_err().kind(), ErrorKind::NotAMember);
    }
    let error = before.client.consumer(OTHER).shared_with(&a).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAMember);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_away_takes_up_all_topics_again() {
    let world = world(2).await;
    let (one, two) = (world.worker(), world.worker());
    let strict = || Membership::new().fence(Fence::Strict);
    let (mut a, mut b) = join_both(&one, strict()).await;
    let (mut c, mut d) = join_both(&two, strict()).await;
    pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
    one.connection.cut(true);
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.send(2, 4).await;
    world.send_to(OTHER, 2, 4).await;
    let (first, second) = (drain_both((&mut a, &mut b)).await, drain_both((&mut c, &mut d)).await);
    assert_eq!((first.0.len(), first.1.len()), (0, 0), "it hands out nothing");
    let mut others = second;
    while others.0.len() + others.1.len() < 16 {
        drain(&mut c, &mut others.0).await;
        drain(&mut d, &mut others.1).await;
    }
    one.connection.cut(false);
    for _ in 0..3 {
        pass(Duration::from_secs(8), &mut [&mut a, &mut b, &mut c, &mut d]).await;
    }
    let group = describe(&world).await;
    assert_eq!((group.members.len(), owners(&group, TOPIC)), (2, owners(&group, OTHER)));
    assert_eq!(owners(&group, TOPIC).iter().collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn events_are_those_of_the_topic() {
    use futures_util::StreamExt as _;

    let world = world(2).await;
    let worker = world.worker();
    let (orders, returns) = join_both(&worker, Membership::new()).await;
    let mut events = (Box::pin(orders.group_events()), Box::pin(returns.group_events()));
    world.client.admin().add_partitions(OTHER, 3).await.unwrap();
    let event = timeout(Duration::from_secs(10), events.1.next()).await.unwrap().unwrap();
    assert_eq!(event, GroupEvent::Assigned(vec![floe::Topic::from(OTHER).partition(2)]));
    assert!(timeout(Duration::from_secs(10), events.0.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_processor_joins_by_the_member_of_a_consumer() {
    let world = world(2).await;
    world.client.admin().create_topic(TopicSpec::new("bills")).await.unwrap();
    let worker = world.worker();
    let orders = worker.join().await;
    let processor = worker.client.processor(OTHER, "bills").shared_with(&orders);
    let running = processor.map(async |order| Ok(Record::new(order.value))).start().await.unwrap();
    world.send_to(OTHER, 2, 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(describe(&world).await.members.len(), 1);
    assert_eq!(running.stop().await.unwrap().read, 6);
    let exact = worker.client.processor(OTHER, "bills").exactly_once().shared_with(&orders);
    let error = exact.map(async |order| Ok(Record::new(order.value))).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
}

#[tokio::test(start_paused = true)]
async fn sharing_with_a_consumer_that_cannot_is_refused() {
    let world = world(1).await;
    let (one, two) = (world.worker(), world.worker());
    let orders = one.join().await;
    let plain = one.client.consumer(OTHER).start().await.unwrap();
    let with_orders = || one.client.consumer(OTHER).shared_with(&orders);
    for (builder, told) in [
        (one.client.consumer(OTHER).group(GROUP).shared_with(&plain), "no member"),
        (one.client.consumer(OTHER).shared_with(&plain), "needs a group"),
        (with_orders().group("other"), "one group"),
        (two.client.consumer(OTHER).shared_with(&orders), "one client"),
        (one.client.consumer(TOPIC).shared_with(&orders), "another consumer reads the topic"),
        (with_orders().partition(0), "assigns the partitions"),
        (with_orders().stop_at_end(), "no end"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    // None of them has done anything to the member.
    with_orders().start().await.unwrap().close().await.unwrap();
    orders.close().await.unwrap();
}
