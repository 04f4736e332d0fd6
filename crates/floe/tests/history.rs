//! Recorded runs over `memory:` with faults, judged by `floe-check`.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use floe::{
    Client, Error, ErrorKind, Record, Result, RetryPolicy, TopicSpec,
    consumer::{AckMode, CommitPolicy, Consumer, StartAt},
    history::Recorder,
    layer::{Layer, Operation, OperationKind},
    topic::Topic,
};
use floe_check::{Anomaly, CheckOptions, Checker, HistoryVerdict};
use futures_util::future::BoxFuture;

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: u32 = 3;

/// A history in memory.
#[derive(Debug, Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl io::Write for Pages {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pages {
    fn judged(&self) -> HistoryVerdict {
        let mut checker = Checker::new(CheckOptions { drained: true, ..CheckOptions::default() });
        let history = self.0.lock().unwrap().clone();
        checker.read(history.as_slice()).unwrap();
        checker.finish().unwrap()
    }
}

/// One thing that happens to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Nothing,
    Refused,
    /// The batch is stored, and the answer is lost.
    AnswerLost,
}

/// Gives each append its mishap, and fails each fifth open.
#[derive(Debug)]
struct Mishaps {
    appends: Mutex<VecDeque<Mishap>>,
    opens: Mutex<u32>,
}

impl Mishaps {
    fn of(appends: impl IntoIterator<Item = Mishap>) -> Self {
        Self { appends: Mutex::new(appends.into_iter().collect()), opens: Mutex::default() }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::NetworkError, "the connection is lost")
}

impl Layer for Mishaps {
    async fn around<'a, T, F>(&'a self, operation: &Operation, attempt: F) -> Result<T>
    where
        T: Send,
        F: Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        match operation.kind {
            OperationKind::Append => {
                let mishap = self.appends.lock().unwrap().pop_front();
                match mishap.unwrap_or(Mishap::Nothing) {
                    Mishap::Nothing => attempt().await,
                    Mishap::Refused => Err(Error::new(ErrorKind::ConnectionRefused, "refused")),
                    Mishap::AnswerLost => {
                        attempt().await?;
                        Err(lost())
                    }
                }
            }
            OperationKind::Open => {
                let number = {
                    let mut opens = self.opens.lock().unwrap();
                    *opens += 1;
                    *opens
                };
                if number % 5 == 0 { Err(lost()) } else { attempt().await }
            }
            _ => attempt().await,
        }
    }
}

async fn recorded(mishaps: Mishaps) -> (Client, Pages) {
    let pages = Pages::default();
    let client = Client::builder("memory:")
        .layer(mishaps)
        .retry(RetryPolicy::calls().max_attempts(10))
        .record(Recorder::to_writer(pages.clone()))
        .connect()
        .await
        .unwrap();
    client.admin().create_topic(TopicSpec::new(TOPIC).partitions(PARTITIONS)).await.unwrap();
    (client, pages)
}

fn numbered(task: usize) -> impl Iterator<Item = Record<String>> {
    (0..200).map(move |number| Record::keyed(format!("key {}", number % 7), format!("{task} {number}")))
}

/// Sends from three tasks, one record at a time, in bulk, and without waiting for the outcome.
async fn send(client: &Client) {
    let orders = client.producer(TOPIC).batch_size(300).start().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..3 {
        let orders = orders.clone();
        tasks.spawn(async move {
            match task {
                0 => {
                    for record in numbered(task) {
                        drop(orders.enqueue(record).await.unwrap());
                    }
                }
                1 => drop(orders.send_all(numbered(task)).await.unwrap()),
                _ => {
                    for record in numbered(task) {
                        orders.send(record).await.unwrap();
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(orders.close().await.unwrap().undelivered.is_empty());
}

async fn member(client: &Client, mode: AckMode) -> Consumer {
    let member = client.consumer(TOPIC).group(GROUP).ack_mode(mode).commit(CommitPolicy::PerRecord);
    member.stop_at_end().start().await.unwrap()
}

/// Reads everything in several ways, with a member that crashes and one that seeks.
async fn read(client: &Client) {
    let mut crashing = member(client, AckMode::Auto).await;
    for _ in 0..50 {
        crashing.try_next().await.unwrap().unwrap();
    }
    drop(crashing);
    let mut explicit = member(client, AckMode::Explicit).await;
    let held = explicit.try_next().await.unwrap().unwrap();
    for _ in 0..20 {
        explicit.try_next().await.unwrap().unwrap().ack();
    }
    let batch = explicit.next_batch().await.unwrap().unwrap();
    batch.ack();
    held.ack();
    explicit.seek(0, StartAt::Offset(3)).await.unwrap();
    explicit.try_next().await.unwrap().unwrap().ack();
    explicit.close().await.unwrap();
    let mut last = member(client, AckMode::Auto).await;
    while !last.next_chunk(16, Duration::from_millis(1)).await.unwrap().is_empty() {}
    last.close().await.unwrap();
    // Reads from the beginning, whatever the group has handled.
    let mut reader: Consumer =
        client.consumer(TOPIC).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    while reader.next_batch().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_run_with_faults_is_clean() {
    let mishaps = (0..60).map(|number| match number % 6 {
        1 => Mishap::Refused,
        4 => Mishap::AnswerLost,
        _ => Mishap::Nothing,
    });
    let (client, pages) = recorded(Mishaps::of(mishaps)).await;
    send(&client).await;
    read(&client).await;
    client.close().await.unwrap();
    let verdict = pages.judged();
    assert!(verdict.is_clean(), "{:?}", verdict.findings());
    assert_eq!((verdict.sent, verdict.acknowledged, verdict.stored), (600, 600, 600));
    assert!(verdict.polled > 1200, "{verdict:?}");
    assert!(verdict.handled >= 600 && verdict.commits > 10, "{verdict:?}");
}

#[tokio::test]
async fn records_that_were_stored_behind_its_back_are_named() {
    let (client, pages) = recorded(Mishaps::of([])).await;
    send(&client).await;
    let other = Client::from_engine(client.engine().clone()).producer(TOPIC).start().await.unwrap();
    other.send_all(numbered(0).take(3)).await.unwrap();
    other.send("a record of another program").await.unwrap();
    other.flush().await.unwrap();
    read(&client).await;
    let verdict = pages.judged();
    assert_eq!((verdict.count(Anomaly::Duplicate), verdict.count(Anomaly::Unsent)), (3, 1), "{verdict:?}");
}

#[tokio::test]
async fn a_group_that_was_moved_behind_its_back_is_named() {
    let (client, pages) = recorded(Mishaps::of([])).await;
    send(&client).await;
    let mut first = member(&client, AckMode::Auto).await;
    first.try_next().await.unwrap().unwrap();
    first.close().await.unwrap();
    let at = Topic::from(TOPIC).partition(0);
    client.engine().commit(GROUP.into(), vec![(at, 20)]).await.unwrap();
    let mut second = member(&client, AckMode::Auto).await;
    while second.try_next().await.unwrap().is_some() {}
    second.close().await.unwrap();
    let verdict = pages.judged();
    assert!(verdict.count(Anomaly::CommitAhead) > 0, "{verdict:?}");
}

#[tokio::test]
async fn a_group_that_an_administrator_moves_is_clean() {
    let (client, pages) = recorded(Mishaps::of([])).await;
    send(&client).await;
    let mut first = member(&client, AckMode::Auto).await;
    first.try_next().await.unwrap().unwrap();
    first.close().await.unwrap();
    for partition in 0..PARTITIONS {
        let at = Topic::from(TOPIC).partition(partition);
        client.admin().set_committed_offset(GROUP, at, 20).await.unwrap();
    }
    read(&client).await;
    let verdict = pages.judged();
    assert!(verdict.is_clean(), "{:?}", verdict.findings());
}

#[tokio::test]
async fn records_that_are_gone_are_unseen() {
    let (client, pages) = recorded(Mishaps::of([])).await;
    send(&client).await;
    for partition in 0..PARTITIONS {
        client.admin().trim(Topic::from(TOPIC).partition(partition), 2).await.unwrap();
    }
    read(&client).await;
    let verdict = pages.judged();
    assert_eq!(verdict.count(Anomaly::Unseen), 6, "{verdict:?}");
}

/// A disk that is full after some lines.
#[derive(Debug)]
struct FullAfter(u32);

impl io::Write for FullAfter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Ok(line.len())
            }
            None => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_history_and_nothing_else() {
    let recorder = Recorder::to_writer(FullAfter(5));
    let client = Client::builder("memory:").record(recorder.clone()).connect().await.unwrap();
    client.admin().create_topic(TopicSpec::new(TOPIC)).await.unwrap();
    let orders = client.producer(TOPIC).start().await.unwrap();
    orders.send("one").await.unwrap();
    assert_eq!(recorder.problem(), None);
    orders.send_all(["two", "three", "four"]).await.unwrap();
    assert!(recorder.problem().is_some());
}

#[tokio::test]
async fn recorders_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let url = format!("embedded:{}", folder.path().join("store").display());
    for value in ["one", "two"] {
        let recorder = Recorder::append_to(&path).unwrap();
        let client = Client::builder(&url).record(recorder).connect().await.unwrap();
        client.admin().ensure_topic(TopicSpec::new(TOPIC)).await.unwrap();
        client.producer(TOPIC).start().await.unwrap().send(value).await.unwrap();
        let mut reader: Consumer =
            client.consumer(TOPIC).from(StartAt::Beginning).stop_at_end().start().await.unwrap();
        while reader.try_next().await.unwrap().is_some() {}
        drop(reader);
        client.close().await.unwrap();
    }
    let pages = Pages(Arc::new(Mutex::new(std::fs::read(&path).unwrap())));
    let verdict = pages.judged();
    assert!(verdict.is_clean(), "{:?}", verdict.findings());
    assert_eq!((verdict.sent, verdict.polled), (2, 3));
    assert!(Recorder::append_to(folder.path()).is_err(), "a folder is no file");
}
