//! A damaged store as readers see it, in the process and through the server: the right records, a typed gap for the others,
//! and no wait at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use floe::{
    Client, Durability, ErrorKind, TopicSpec,
    consumer::{Gap, GapReason, StartAt},
    health::Status,
};
use floe_server::{ServeOptions, testkit::TestServer};

/// Guards against a hanging test.
const LIMIT: Duration = Duration::from_secs(120);

const RECORDS: u32 = 100;

/// Stores the records 0 to 99, each in a batch of its own and acknowledged after a sync, and ends like a process that is
/// killed: without a checkpoint.
async fn store(folder: &Path) -> String {
    let url = format!("embedded:{}", folder.join("s").display());
    let client = Client::connect(&url).await.unwrap();
    client.admin().create_topic(TopicSpec::new("t").durability(Durability::Always)).await.unwrap();
    let producer = client.producer("t").start().await.unwrap();
    for number in 0..RECORDS {
        producer.send(value(number)).await.unwrap();
    }
    let marker = folder.join("s").join("CLEAN");
    client.close().await.unwrap();
    fs::remove_file(marker).unwrap();
    url
}

fn value(number: u32) -> String {
    format!("record {number:04}")
}

/// Returns the only segment of a store with one partition.
fn segment(folder: &Path) -> PathBuf {
    let mut found = Vec::new();
    for log in fs::read_dir(folder.join("s").join("logs")).unwrap() {
        found.extend(fs::read_dir(log.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|ending| ending == "seg"));
    let [only] = found.as_slice() else { panic!("{found:?}") };
    only.clone()
}

/// Returns the position of a record's value in the segment.
fn position(bytes: &[u8], number: u32) -> usize {
    let value = value(number).into_bytes();
    bytes.windows(value.len()).position(|window| window == value).unwrap()
}

/// Reads the whole topic: the values, and the gaps.
async fn read(client: &Client) -> (Vec<String>, Vec<Gap>) {
    let reading = async {
        let mut consumer = client.consumer("t").from(StartAt::Beginning).stop_at_end().start().await.unwrap();
        let (mut values, mut gaps) = (Vec::new(), Vec::new());
        loop {
            match consumer.try_next().await {
                Ok(Some(message)) => values.push(String::from_utf8(message.value.to_vec()).unwrap()),
                Ok(None) => return (values, gaps),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Gap, "{error:?}");
                    gaps.push(Gap::of(&error).unwrap().clone());
                }
            }
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the end is reached without a wait")
}

/// Checks that exactly the records outside of the gaps arrive, and that the gaps are told as damage where the client can
/// tell; then that the store works on.
async fn check(client: &Client, via: &str) -> Vec<Gap> {
    let (values, gaps) = read(client).await;
    let is_lost = |number: &u32| gaps.iter().any(|gap| (gap.from..gap.to).contains(&i64::from(*number)));
    let expected: Vec<_> = (0..RECORDS).filter(|number| !is_lost(number)).map(value).collect();
    assert_eq!(values, expected, "{via}: {gaps:?}");
    assert!(!gaps.is_empty(), "{via}: the loss was not told");
    gaps
}

/// Reads the damaged store with a client in this process, then through a server.
async fn check_both(url: &str) -> Vec<Gap> {
    let client = Client::connect(url).await.unwrap();
    let gaps = check(&client, "embedded").await;
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Corrupt), "{gaps:?}");
    let health = client.health().await.unwrap();
    assert_eq!((health.status, health.ready), (Status::Warn, true), "{health:?}");
    assert!(health.findings.iter().any(|finding| finding.starts_with("t/0 ")), "{health:?}");
    let described = client.admin().describe("t").await.unwrap();
    assert!(!described.info.damage.is_empty(), "{described:?}");
    client.close().await.unwrap();

    let server = TestServer::with(url, ServeOptions::default()).await.unwrap();
    let remote = Client::connect(&format!("fluvio://{}", server.fluvio_address())).await.unwrap();
    let told = check(&remote, "fluvio").await;
    let ranges = |gaps: &[Gap]| gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>();
    assert_eq!(ranges(&told), ranges(&gaps));
    let next = remote.producer("t").start().await.unwrap().send("after the damage").await.unwrap();
    assert_eq!(next.offset, Some(i64::from(RECORDS)), "lost offsets are not given twice");
    remote.close().await.unwrap();
    server.stop().await.unwrap();
    gaps
}

#[tokio::test]
async fn one_flipped_byte_costs_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let url = store(folder.path()).await;
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let at = position(&bytes, 50);
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let gaps = check_both(&url).await;
    assert_eq!(gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>(), [(50, 51)]);
}

#[tokio::test]
async fn overwritten_frames_cost_these_frames() {
    let folder = tempfile::tempdir().unwrap();
    let url = store(folder.path()).await;
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let (from, to) = (position(&bytes, 30), position(&bytes, 33));
    bytes[from..to].fill(0);
    fs::write(&path, bytes).unwrap();
    let gaps = check_both(&url).await;
    assert_eq!((gaps.first().unwrap().from, gaps.last().unwrap().to), (30, 34), "{gaps:?}");
}

#[tokio::test]
async fn a_lost_end_is_told_without_a_wait_for_records_that_never_come() {
    let folder = tempfile::tempdir().unwrap();
    let url = store(folder.path()).await;
    let path = segment(folder.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..position(&bytes, 80)]).unwrap();
    let gaps = check_both(&url).await;
    assert_eq!((gaps.first().unwrap().from, gaps.last().unwrap().to), (80, 100), "{gaps:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_vanished_directory_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}", folder.path().join("s").display());
    let client = Client::connect(&url).await.unwrap();
    client.admin().create_topic(TopicSpec::new("t")).await.unwrap();
    let producer = client.producer("t").start().await.unwrap();
    producer.send("one").await.unwrap();
    fs::remove_dir_all(folder.path().join("s")).unwrap();
    let health = client.health().await.unwrap();
    assert_eq!((health.status, health.ready), (Status::Fail, false), "{health:?}");
    let error = producer.send("into nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptData, "{error}");
    assert!(error.to_string().contains("was removed or replaced"), "{error}");
}
