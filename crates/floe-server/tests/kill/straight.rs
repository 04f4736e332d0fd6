//! Kills an outbox whose records bypass the spool and go straight to the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Write as _,
    time::Duration,
};

use floe::{
    Record,
    outbox::{OutboxBuilder, OutboxMode},
};

use super::{FOLDER, URL, cluster, finish, kill, read, start, text, with_moment};

const KEYS: usize = 7;

/// Records that bypass the spool before a process ends by itself.
const STRAIGHT: usize = 300;

/// Sends until enough records bypassed the spool, and logs each accepted record with its path.
pub(crate) async fn process() {
    let folder = std::path::PathBuf::from(std::env::var(FOLDER).unwrap());
    let url = std::env::var(URL).unwrap();
    let outbox = OutboxBuilder::configured(&url, "straight", folder.join("straight"), with_moment)
        // A slow machine must not divert records to the spool.
        .mode(OutboxMode::WhenUnreachable(Duration::from_secs(600)));
    let outbox = outbox.start().await.unwrap();
    let mut accepted = OpenOptions::new().create(true).append(true).open(folder.join("accepted")).unwrap();
    let (run, mut straight, mut number) = (std::process::id(), 0, 0);
    while straight < STRAIGHT {
        let value = format!("{run} {number} {}", "x".repeat(50));
        let place = outbox.send(Record::keyed(format!("key {}", number % KEYS), value)).await.unwrap();
        straight += usize::from(place.is_none());
        writeln!(accepted, "{run} {number} {}", place.is_none()).unwrap();
        number += 1;
    }
    outbox.close().await.unwrap();
}

pub(crate) async fn test() {
    let server = cluster(&["straight"]).await;
    let folder = tempfile::tempdir().unwrap();
    for moment in [0, 250, 20] {
        kill(start("straight", &server, folder.path(), Some(moment))).await;
    }
    let of_the_killed = std::fs::read_to_string(folder.path().join("accepted")).unwrap();
    let straight = of_the_killed.lines().filter(|line| line.ends_with("true")).count();
    assert!(straight > 0, "no record bypassed the spool before a kill, so the test proves nothing");
    finish(start("straight", &server, folder.path(), None)).await;

    let mut latest = BTreeMap::new();
    let mut arrived = BTreeSet::new();
    for message in read(&server, "straight").await {
        let mut words = text(&message.value).split(' ');
        let run = words.next().unwrap().to_owned();
        let number: usize = words.next().unwrap().parse().unwrap();
        assert!(arrived.insert((run.clone(), number)), "record {number} of {run} is a duplicate");
        let key = text(message.key.as_deref().unwrap()).to_owned();
        let before = latest.insert((run, key), number);
        assert!(before.is_none_or(|before| before < number), "record {number} is out of order");
    }
    for line in std::fs::read_to_string(folder.path().join("accepted")).unwrap().lines() {
        let mut words = line.split(' ');
        let record = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
        assert!(arrived.contains(&record), "{record:?} was accepted and is lost");
    }
    server.stop().await.unwrap();
}
