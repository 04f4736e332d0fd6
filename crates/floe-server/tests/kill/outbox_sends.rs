//! An outbox, killed while it accepts records and delivers them at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Write as _,
};

use floe::{Record, outbox::OutboxBuilder};

use super::{
    URL, cluster, connected, finish, folder, judged, kill, read, recorder, start, text, with_moment,
};

const TOPIC: &str = "sends";
const KEYS: usize = 7;

/// Records that a process sends before it ends by itself. Batches hold at most six of them, so that every moment of
/// the test comes before the last batch.
const RECORDS: usize = 2000;

/// Sends records one by one, and writes down each that was accepted.
pub(crate) async fn process() {
    let folder = folder();
    let recorder = recorder(&folder);
    let url = std::env::var(URL).unwrap();
    let outbox = OutboxBuilder::configured(&url, TOPIC, folder.join("sends"), with_moment);
    let outbox = outbox.start().await.unwrap();
    let mut accepted = OpenOptions::new().create(true).append(true).open(folder.join("accepted")).unwrap();
    let run = std::process::id();
    for number in 0..RECORDS {
        let value = format!("{run} {number} {}", "x".repeat(50));
        let record = Record::keyed(format!("key {}", number % KEYS), value);
        let send = recorder.begin_send(TOPIC, &record);
        outbox.send(record).await.unwrap();
        send.accepted();
        // In one write: a kill between two would leave half a line, to which the next process would append.
        accepted.write_all(format!("{run} {number}\n").as_bytes()).unwrap();
    }
    outbox.drained().await.unwrap();
    outbox.close().await.unwrap();
}

pub(crate) async fn test() {
    let server = cluster(&[TOPIC]).await;
    let folder = tempfile::tempdir().unwrap();
    for moment in [0, 250, 20] {
        kill(start("outbox_sends", &server, folder.path(), Some(moment))).await;
    }
    finish(start("outbox_sends", &server, folder.path(), None)).await;

    let client = connected(&server, folder.path()).await;
    let mut latest = BTreeMap::new();
    let mut arrived = BTreeSet::new();
    for message in read(&client, TOPIC).await {
        let mut words = text(&message.value).split(' ');
        let run = words.next().unwrap().to_owned();
        let number: usize = words.next().unwrap().parse().unwrap();
        assert!(arrived.insert((run.clone(), number)), "record {number} of {run} is a duplicate");
        let key = text(message.key.as_deref().unwrap()).to_owned();
        let before = latest.insert((run, key), number);
        assert!(before.is_none_or(|before| before < number), "record {number} is out of order");
    }
    let accepted = std::fs::read_to_string(folder.path().join("accepted")).unwrap();
    assert!(accepted.lines().count() > RECORDS, "no killed process accepted a record: nothing is tested");
    for line in accepted.lines() {
        let (run, number) = line.split_once(' ').unwrap();
        let record = (run.to_owned(), number.parse().unwrap());
        assert!(arrived.contains(&record), "{record:?} was accepted and is lost");
    }
    client.close().await.unwrap();
    server.stop().await.unwrap();
    let verdict = judged(folder.path());
    assert_eq!(verdict.polled, arrived.len() as u64, "{verdict:?}");
}
