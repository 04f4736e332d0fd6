//! Exactly-once processors in a group whose coordination topic is slow or away.

use std::time::Duration;

use floe::{Record, TopicSpec, consumer::Membership};
use tokio::time::sleep;

use super::{GROUP, TOPIC, World};

/// Records by which a task may be ahead of what the group has stored, those that the processor and the consumer hold, and
/// those of a look of the member.
const BOUND: i64 = 50_000 + 4_096 + 2 * 5_000;

/// A processor whose commits do not come back stops at a bound, long before its fence, and goes on with all that is left.
#[tokio::test(start_paused = true)]
async fn a_processor_does_not_run_far_ahead_of_its_commits() {
    let world = World::new(1).await;
    world.client.admin().create_topic(TopicSpec::new("bills").partitions(1)).await.unwrap();
    let worker = world.worker();
    let processor = worker.client.processor(TOPIC, "bills").group(GROUP).exactly_once();
    // The work has threads of its own, for which the paused clock does not wait: no fence may end it meanwhile.
    let day = Duration::from_secs(24 * 3600);
    let processor = processor.shared_as(Membership::new().session(day));
    let running = processor.map(async |order| Ok(Record::new(order.value))).start().await.unwrap();
    let stored = async || world.client.groups().describe(GROUP).await.unwrap().partitions[0].next;
    let until = async |wanted: i64| {
        for _ in 0..20_000 {
            let at = floe::Topic::from("bills").partition(0);
            let written = world.engine.watermarks(at).await.unwrap().high;
            if written >= wanted {
                return written;
            }
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        panic!("{wanted} records were never written");
    };
    let producer = world.client.producer(TOPIC).start().await.unwrap();
    producer.send("first").await.unwrap();
    until(1).await;
    while stored().await != Some(1) {
        sleep(Duration::from_millis(100)).await;
    }
    worker.connection.stall(true);
    for _ in 0..16 {
        producer.send_all((0..5_000).map(|_| Record::new("x"))).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    until(50_000).await;
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
    }
    let ahead = until(0).await;
    assert!((50_000..BOUND).contains(&ahead), "{ahead}");
    worker.connection.stall(false);
    until(80_001).await;
    while stored().await != Some(80_001) {
        sleep(Duration::from_millis(100)).await;
    }
    drop(running);
}
