//! Kills one of two exactly-once processors again and again, at any moment.

use std::{collections::BTreeMap, process::Child, time::Duration};

use floe::{Client, Message, Record, consumer::Membership, dead_letter::RecordOrigin, topic::Topic};
use floe_server::testkit::TestServer;

use super::{FOLDER, URL, cluster, read, start, text};

/// Kills, in turns.
const KILLS: usize = 10;
/// Time between two of them.
const PAUSE: Duration = Duration::from_millis(1500);
const SESSION: Duration = Duration::from_secs(1);
/// Records that are sent between two looks of the test at its clock.
const CHUNK: u64 = 100;
/// Longest time that the last processors take for what is left.
const PATIENCE: Duration = Duration::from_secs(120);

/// Processes records until it is killed. Its name survives it, so that its next process takes over at once.
pub(crate) async fn process() {
    let name = std::env::var(FOLDER).unwrap();
    // After a death its successor waits as long for appends that are under way.
    let url = format!("{}?request-timeout=500ms", std::env::var(URL).unwrap());
    let client = Client::connect(&url).await.unwrap();
    let report = client
        .processor("orders", "invoices")
        .exactly_once()
        .shared_as(Membership::new().session(SESSION).instance(name))
        .commit_interval(Duration::from_millis(200))
        .concurrency(8)
        .map(async |order: Message| {
            // Some take longer than those behind them.
            tokio::time::sleep(Duration::from_micros(order.offset as u64 * 7919 % 3000)).await;
            Ok(made_of(&order))
        })
        .run(std::future::pending())
        .await;
    panic!("the processor ended: {report:?}");
}

/// Makes one to three records of each, with the numbers `3n`, `3n + 1` and `3n + 2`.
fn made_of(order: &Message) -> Vec<Record> {
    let number: u64 = text(&order.value).parse().unwrap();
    (0..=number % 3)
        .map(|index| {
            let record = Record::new((3 * number + index).to_string().into());
            Record { key: (index < 2).then(|| order.key.clone()).flatten(), ..record }
        })
        .collect()
}

fn spawn(server: &TestServer, worker: usize) -> Child {
    start("exact", server, std::path::Path::new(&format!("worker-{worker}")), None)
}

pub(crate) async fn test() {
    let server = cluster(&["orders", "invoices"]).await;
    let mut workers = [spawn(&server, 0), spawn(&server, 1)];
    let orders = server.client().producer("orders").start().await.unwrap();
    let mut sent = 0;
    for kill in 0..KILLS {
        let until = tokio::time::Instant::now() + PAUSE;
        while tokio::time::Instant::now() < until {
            let records =
                (sent..sent + CHUNK).map(|n| Record::keyed(format!("key {}", n % 11), n.to_string()));
            drop(orders.send_all(records).await.unwrap());
            sent += CHUNK;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let worker = kill % 2;
        assert!(workers[worker].try_wait().unwrap().is_none(), "the processor ended by itself");
        workers[worker].kill().unwrap();
        workers[worker].wait().unwrap();
        workers[worker] = spawn(&server, worker);
    }
    let early = written(&server).await;
    tokio::time::timeout(PATIENCE, until_done(&server)).await.expect("the processors do not finish");
    for worker in &mut workers {
        assert!(worker.try_wait().unwrap().is_none(), "the processor ended by itself");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let count = check(&server, sent).await;
    println!("{sent} orders, {count} invoices, {early} of them between {KILLS} kills");
    server.stop().await.unwrap();
}

/// Waits until the group stands at the end of the input.
async fn until_done(server: &TestServer) {
    let client = server.client();
    loop {
        let mut behind = 0;
        let group = client.groups().describe("orders-to-invoices").await.unwrap();
        for partition in 0..2 {
            let at = Topic::from("orders").partition(partition);
            let high = client.admin().watermarks(at.clone()).await.unwrap().high;
            let next = group.partitions.iter().find(|one| one.at == at).and_then(|one| one.next);
            behind += high - next.unwrap_or_default();
        }
        if behind == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that each record is there once, and that those made from one partition are in its order.
async fn check(server: &TestServer, sent: u64) -> usize {
    let (mut count, mut sum) = (0, 0);
    let mut latest: BTreeMap<(u32, u32), (i64, u32)> = BTreeMap::new();
    for invoice in read(server.client(), "invoices").await {
        let origin = RecordOrigin::of(&invoice).expect("an origin");
        let place = (origin.offset, origin.index);
        let before = latest.insert((invoice.partition, origin.at.partition), place);
        assert!(before.is_none_or(|before| before < place), "{origin} comes after {before:?}");
        count += 1;
        sum += text(&invoice.value).parse::<u64>().unwrap();
    }
    let expected: Vec<u64> = (0..sent).flat_map(|n| (0..=n % 3).map(move |index| 3 * n + index)).collect();
    assert_eq!((count, sum), (expected.len(), expected.iter().sum::<u64>()), "of {sent} orders");
    count
}

/// Counts the records of the output.
async fn written(server: &TestServer) -> i64 {
    let mut count = 0;
    for partition in 0..2 {
        let at = Topic::from("invoices").partition(partition);
        count += server.client().admin().watermarks(at).await.unwrap().high;
    }
    count
}
