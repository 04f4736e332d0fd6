//! Kills an outbox while it drains.

use floe::{Record, history::RecordedSend, outbox::OutboxBuilder};

use super::{
    URL, cluster, connected, finish, folder, judged, kill, read, recorder, start, text, with_moment,
};

const RECORDS: usize = 2000;
const KEYS: usize = 7;

/// The first process fills the outbox. Each process drains it until it is killed, or until it is empty.
pub(crate) async fn process() {
    let folder = folder();
    let url = std::env::var(URL).unwrap();
    let filled = folder.join("filled");
    let path = folder.join("outbox");
    if !filled.exists() {
        // No cluster is reachable while the outbox is filled, so all records are stored before the first batch is
        // sent.
        let outbox = OutboxBuilder::to("fluvio://127.0.0.1:1", "orders", &path).start().await.unwrap();
        let record = |n: usize| Record::keyed(format!("key {}", n % KEYS), format!("{n} {}", "x".repeat(50)));
        let recorder = recorder(&folder);
        let sends: Vec<_> =
            (0..RECORDS).map(|number| recorder.begin_send("orders", &record(number))).collect();
        outbox.send_all((0..RECORDS).map(record)).await.unwrap();
        sends.into_iter().for_each(RecordedSend::accepted);
        outbox.close_within(std::time::Duration::ZERO).await.unwrap();
        std::fs::write(&filled, "").unwrap();
    }
    let outbox = OutboxBuilder::configured(&url, "orders", &path, with_moment).start().await.unwrap();
    outbox.drained().await.unwrap();
    outbox.close().await.unwrap();
}

pub(crate) async fn test() {
    let server = cluster(&["orders"]).await;
    let folder = tempfile::tempdir().unwrap();
    let client = connected(&server, folder.path()).await;
    // Kills at the first batch, in the middle, and twice in quick succession.
    for moment in [0, 40, 1, 100] {
        kill(start("outbox", &server, folder.path(), Some(moment))).await;
    }
    let before = read(&client, "orders").await.len();
    assert!(
        (100..RECORDS).contains(&before),
        "{before} records arrived before the last process, so the test proves nothing"
    );
    finish(start("outbox", &server, folder.path(), None)).await;

    let messages = read(&client, "orders").await;
    let mut all = Vec::new();
    for key in 0..KEYS {
        let key = format!("key {key}");
        let of_key = messages.iter().filter(|message| message.key.as_deref() == Some(key.as_bytes()));
        let numbers: Vec<usize> =
            of_key.map(|message| text(&message.value).split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{key} is out of order: {numbers:?}");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, (0..RECORDS).collect::<Vec<_>>());
    client.close().await.unwrap();
    server.stop().await.unwrap();
    let verdict = judged(folder.path());
    assert_eq!(verdict.acknowledged, RECORDS as u64, "{verdict:?}");
}
