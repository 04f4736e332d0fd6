//! A clock of the test dates records, topics and dead letters.

use std::time::{Duration, SystemTime};

use floe::{Client, TopicSpec, WallClock, consumer::StartAt};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn records_and_topics_have_the_time_of_the_clock() {
    let (began, start) = (Instant::now(), SystemTime::UNIX_EPOCH + 24 * HOUR);
    let clock = WallClock::new(move || start + began.elapsed());
    let client = Client::builder("memory:").clock(clock.clone()).connect().await.unwrap();
    client.admin().ensure_topic(TopicSpec::new("orders").retention_age(HOUR)).await.unwrap();
    let orders = client.producer("orders").start().await.unwrap();
    tokio::time::pause();
    let sent_at = clock.now_millis();
    orders.send_all(["first"]).await.unwrap();
    tokio::time::advance(2 * HOUR).await;
    orders.send("second").await.unwrap();

    let mut consumer = client.consumer("orders").from(StartAt::Beginning).start().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..2 {
        times.push(consumer.try_next().await.unwrap().unwrap().timestamp.unwrap());
    }
    let hours = 2 * 3_600_000;
    assert!((sent_at..sent_at + hours).contains(&times[0]), "{times:?}, sent at {sent_at}");
    assert!((sent_at + hours..sent_at + 2 * hours).contains(&times[1]), "{times:?}, sent at {sent_at}");
    let created = client.admin().topic("orders").await.unwrap().created_at.unwrap();
    assert!((24 * 3_600_000..=sent_at).contains(&created), "{created}");
}
