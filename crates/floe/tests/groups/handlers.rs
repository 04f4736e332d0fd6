//! Handlers that run while another member gets the partition of their records.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use floe::{
    Error, Message, Record, TopicSpec,
    consumer::{AckMode, Fence, Membership},
    processor::Order,
};
use tokio::time::sleep;

use super::{GROUP, TOPIC, World, drain, shares};

/// The number of handlers that run.
#[derive(Debug, Clone, Default)]
struct Running(Arc<AtomicUsize>);

impl Running {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A handler that never ends by itself.
    async fn hang(self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _ended = Ended(self);
        pending().await
    }
}

/// Counts a handler that was dropped.
struct Ended(Running);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The member cannot hear that others have taken over; it ends its handlers after its session.
#[tokio::test(start_paused = true)]
async fn handlers_of_a_member_that_is_cut_off_end() {
    let world = World::new(2).await;
    world.send(2, 1).await;
    let (one, two) = (world.worker(), world.worker());
    let membership = Membership::new().fence(Fence::Strict);
    let builder = one.consumer().shared_as(membership).ack_mode(AckMode::Explicit);
    let mut first = builder.start().await.unwrap();
    let running = Running::default();
    let counted = running.clone();
    let handling = tokio::spawn(async move {
        let handle = move |_: Message| {
            let running = counted.clone();
            async move {
                running.hang().await;
                Ok::<_, Error>(())
            }
        };
        first.handle_each(4, handle).await
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.count(), 2);
    one.connection.cut(true);
    let mut second = two.join().await;
    sleep(Duration::from_millis(11_100)).await;
    assert_eq!(running.count(), 0, "the session has passed");
    assert!(!handling.is_finished(), "the consumer waits for what comes");
    let mut handled = BTreeMap::new();
    for _ in 0..10 {
        drain(&mut second, &mut handled).await;
    }
    assert_eq!(handled.len(), 2);
    handling.abort();
}

/// The drain of 2 s is shorter than the handlers take.
#[tokio::test(start_paused = true)]
async fn a_processor_gives_up_the_records_that_others_have() {
    let world = World::new(2).await;
    world.send(2, 3).await;
    world.client.admin().create_topic(TopicSpec::new("bills")).await.unwrap();
    let (one, two) = (world.worker(), world.worker());
    let running = Running::default();
    let counted = running.clone();
    let processor = one
        .client
        .processor(TOPIC, "bills")
        .group(GROUP)
        .shared_as(Membership::new().drain(Duration::from_secs(2)))
        .order(Order::PerPartition)
        .concurrency(4)
        .handler_timeout(Duration::from_secs(3600))
        .drain_timeout(Duration::from_secs(1))
        .map(move |_: Message| {
            let running = counted.clone();
            async move {
                running.hang().await;
                Ok(None::<Record>)
            }
        });
    let processor = processor.start().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.count(), 2);
    let mut second = two.join().await;
    sleep(Duration::from_secs(8)).await;
    assert_eq!((running.count(), shares(&world.client).await), (1, vec![1, 1]));
    let mut handled = BTreeMap::new();
    drain(&mut second, &mut handled).await;
    assert_eq!(handled.len(), 3, "{handled:?}");
    let report = processor.stop().await.unwrap();
    let left: Vec<_> = report.left.iter().map(|left| (left.at.partition, left.records)).collect();
    let kept = 1 - handled.first_key_value().unwrap().0.0;
    assert_eq!(left, [(kept, 3)], "those of the other partition are not left: they have another member");
}

/// The member reads on in a partition that it gave up in doubt, if no other member took it over.
#[tokio::test(start_paused = true)]
async fn a_member_takes_up_what_it_gave_up_in_doubt() {
    let world = World::new(1).await;
    world.send(1, 3).await;
    let worker = world.worker();
    let mut consumer = worker.join_as(Membership::new().fence(Fence::Strict)).await;
    super::take(&mut consumer, 1).await;
    worker.connection.cut(true);
    sleep(Duration::from_secs(20)).await;
    worker.connection.cut(false);
    let mut handled = BTreeMap::new();
    for _ in 0..10 {
        drain(&mut consumer, &mut handled).await;
    }
    assert_eq!(handled.len(), 3, "the record in hand was not stored, so it comes again: {handled:?}");
    assert_eq!(shares(&world.client).await, [1]);
}
