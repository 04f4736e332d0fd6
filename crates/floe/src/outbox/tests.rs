//! Tests of the outbox over an engine in memory and a disk in memory that is killed and filled on demand, with the clock
//! paused.

mod outages;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use floe_log::{
    StoreConfig,
    disk::{Disk, Fault as DiskFault, FaultyDisk, MemoryDisk},
};

use super::{Outbox, OutboxBuilder, WhenOutboxFull};
use crate::{
    Client, Codec, Error, ErrorKind, Record, TopicSpec,
    engine::Capabilities,
    fake_engine::{FakeEngine, Fault},
};

const PATH: &str = "/outbox";

/// Limit of every wait; the clock is paused.
const HOUR: Duration = Duration::from_secs(3600);

/// Configures a spool on a disk of the test.
fn on(disk: Arc<dyn Disk>) -> StoreConfig {
    StoreConfig::at(PATH).disk(disk)
}

fn builder(engine: &FakeEngine, disk: &Arc<MemoryDisk>) -> OutboxBuilder {
    let client = Client::from_engine(Arc::new(engine.clone()));
    client.producer("orders").outbox(PATH).store(on(Arc::clone(disk) as _))
}

async fn open(engine: &FakeEngine, disk: &Arc<MemoryDisk>) -> Outbox {
    builder(engine, disk).start().await.unwrap()
}

/// Returns the values of all partitions, in order.
fn delivered(engine: &FakeEngine, partitions: u32) -> BTreeMap<u32, Vec<String>> {
    let values = |partition| {
        let batches = engine.batches("orders", partition);
        let records = batches.iter().flat_map(|batch| batch.records().unwrap());
        records.map(|record| String::from_utf8(record.unwrap().value.to_vec()).unwrap()).collect()
    };
    (0..partitions).map(|partition| (partition, values(partition))).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("record {number}")).collect()
}

async fn drained(outbox: &Outbox) {
    tokio::time::timeout(HOUR, outbox.drained()).await.expect("the outbox does not drain").unwrap();
}

/// Returns a padded value that starts with its number.
fn padded(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(1000))
}

fn number_of(value: &str) -> usize {
    value.split(' ').next().unwrap().parse().unwrap()
}

/// Returns the numbers of all delivered records, sorted. Asserts their order in each partition.
fn numbers_in_order(engine: &FakeEngine, partitions: u32, when: &str) -> Vec<usize> {
    let mut all = Vec::new();
    for values in delivered(engine, partitions).values() {
        let numbers: Vec<_> = values.iter().map(|value| number_of(value)).collect();
        assert!(numbers.is_sorted(), "{when}: {numbers:?}");
        all.extend(numbers);
    }
    all.sort_unstable();
    all
}

#[tokio::test(start_paused = true)]
async fn records_are_accepted_and_delivered_in_order() {
    let engine = FakeEngine::with_topic("orders", 3);
    let outbox = open(&engine, &Arc::default()).await;
    for number in 0..300 {
        let key = format!("key-{}", number % 7);
        drop(outbox.enqueue(Record::keyed(key.clone(), format!("{key} {number}"))).await.unwrap());
    }
    let chosen = Record::new("chosen").header("a", "b").partition(2).timestamp(7);
    assert_eq!(outbox.send(chosen).await.unwrap().position, 300);
    drained(&outbox).await;
    let all = delivered(&engine, 3);
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), 301);
    assert_eq!(all[&2].last().unwrap(), "chosen");
    let last = engine.batches("orders", 2).last().unwrap().records().unwrap().last().unwrap().unwrap();
    assert_eq!((last.headers.len(), last.headers.get("a")), (1, Some(b"b".as_slice())));
    assert_eq!(last.timestamp, Some(7));
    for values in all.values() {
        let mut latest = BTreeMap::new();
        for value in values.iter().filter(|value| *value != "chosen") {
            let (key, number) = value.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            assert!(latest.insert(key, number).is_none_or(|before| before < number), "{value}");
        }
    }
    let stats = outbox.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.waiting), (301, 301, 0));
    let report = outbox.close().await.unwrap();
    assert_eq!((report.delivered, report.waiting), (301, 0));
    assert_eq!(outbox.send("late").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn undelivered_records_wait_for_the_next_process() {
    let engine = FakeEngine::with_topic("other", 1);
    let disk = Arc::default();
    let outbox = open(&engine, &disk).await;
    outbox.send_all(numbered(0..50)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(outbox.stats().last_error.unwrap().kind(), ErrorKind::TopicNotFound);
    let report = outbox.close_within(Duration::from_secs(1)).await.unwrap();
    assert_eq!((report.delivered, report.waiting), (0, 50));

    let client = Client::from_engine(Arc::new(engine.clone()));
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    let outbox = open(&engine, &disk).await;
    outbox.send_all(numbered(50..60)).await.unwrap();
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..60));
    assert!(outbox.stats().last_error.is_none());
    outbox.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_health_of_the_client_tells_what_the_outbox_does() {
    let client = Client::from_engine(Arc::new(FakeEngine::with_topic("other", 1)));
    let disk: Arc<MemoryDisk> = Arc::default();
    let outbox = client.producer("orders").outbox(PATH).store(on(disk)).start().await.unwrap();
    outbox.send_all(numbered(0..5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let health = client.health().await.unwrap();
    let listed = health.components.iter().find(|one| one.kind == "outbox").unwrap();
    assert_eq!(listed.topic.as_str(), "orders");
    assert!(
        listed.counters.contains(&("accepted", 5)) && listed.counters.contains(&("waiting", 5)),
        "{listed:?}"
    );
    assert!(listed.queue.is_some_and(|spool| spool.used > 0 && spool.used < spool.limit));
    let finding = listed.finding.as_ref().unwrap();
    assert!(finding.starts_with("the outbox of orders cannot deliver, 5 records wait: "), "{finding}");
    assert!(health.findings.contains(finding) && health.status == crate::health::Status::Warn);
    client.close_within(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_retries_until_the_topic_exists() {
    let engine = FakeEngine::with_topic("other", 1);
    let outbox = open(&engine, &Arc::default()).await;
    outbox.send("first").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let client = Client::from_engine(Arc::new(engine.clone()));
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], ["first"]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_delivery_and_checkpoint_duplicates_nothing() {
    let engine = FakeEngine::with_topic("orders", 2);
    let disk = Arc::<MemoryDisk>::default();
    let outbox = open(&engine, &disk).await;
    let expected: Vec<_> = (0..40).map(|number| format!("{number}")).collect();
    for value in &expected {
        drop(outbox.enqueue(Record::keyed(value.clone(), value.clone())).await.unwrap());
    }
    drained(&outbox).await;
    // The checkpoint is stored some time after the delivery; the copy of the disk has none yet.
    let killed = Arc::new(disk.after_kill());
    outbox.close_within(Duration::ZERO).await.unwrap();
    drop(outbox);

    let outbox = open(&engine, &killed).await;
    assert_eq!(outbox.stats().waiting, 40, "the checkpoint was stored before the kill: nothing is tested");
    outbox.send(Record::keyed("last", "last")).await.unwrap();
    drained(&outbox).await;
    let mut all: Vec<_> = delivered(&engine, 2).into_values().flatten().collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((count, all.len()), (41, 41));
    assert_eq!(outbox.stats().delivered, 41);
}

/// Kills at random instants, lost acknowledgements and refusals: every record is delivered once, in order.
#[tokio::test(start_paused = true)]
async fn chaos_loses_nothing_and_duplicates_nothing() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..20 {
        // Without keys the batches of the spool are sent whole, with keys each record is routed.
        let keyed = round % 2 == 0;
        let partitions = 1 + round / 2 % 2;
        let engine = FakeEngine::with_topic("orders", partitions);
        let mut disk = Arc::<MemoryDisk>::default();
        let mut sent = 0;
        for _ in 0..6 {
            let broken = || Error::new(ErrorKind::NetworkError, "broken");
            engine.fail_appends((0..next(6)).map(|_| match next(4) {
                0 => Fault::LoseAnswer(broken()),
                1 => Fault::Refuse(broken()),
                2 => Fault::Refuse(Error::new(ErrorKind::AuthFailed, "not now")),
                _ => Fault::Pass,
            }));
            let outbox = builder(&engine, &disk).start().await.unwrap();
            for _ in 0..next(60) {
                let record = Record::new(padded(sent));
                let key = format!("key-{}", sent % 5).into();
                drop(outbox.enqueue(Record { key: keyed.then_some(key), ..record }).await.unwrap());
                sent += 1;
            }
            outbox.shared().spool.flush().await.unwrap();
            for _ in 0..next(40) {
                tokio::time::sleep(Duration::from_millis(next(30))).await;
            }
            let killed = disk.after_kill();
            // A dead process sends nothing after the copy of its disk was made.
            engine.fail_appends((0..1000).map(|_| Fault::Refuse(broken())));
            outbox.close_within(Duration::ZERO).await.unwrap();
            engine.forget_append_faults();
            disk = Arc::new(killed);
        }
        let outbox = open(&engine, &disk).await;
        drained(&outbox).await;
        let all = numbers_in_order(&engine, partitions, &format!("round {round}"));
        assert_eq!(all, (0..sent).collect::<Vec<_>>(), "round {round}");
        outbox.close().await.unwrap();
    }
}

/// Returns the first sequence, the record count and the codec of each batch of the partition.
fn batches(engine: &FakeEngine) -> Vec<(i32, u32, Codec)> {
    let batches = engine.batches("orders", 0);
    let facts = batches.iter().map(|batch| {
        let header = batch.header();
        (header.producer.first_sequence, header.offset_span(), header.attributes.codec().unwrap())
    });
    facts.collect()
}

#[tokio::test(start_paused = true)]
async fn large_batches_are_sent_as_they_are() {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::from_engine(Arc::new(engine.clone()));
    let outbox = client.producer("orders").compression(Codec::Lz4).outbox(PATH);
    let outbox = outbox.store(on(Arc::<MemoryDisk>::default())).start().await.unwrap();
    for burst in 0..3 {
        // One batch of the spool, since no await lets the producer close it in between.
        for number in 0..40 {
            drop(outbox.enqueue(Record::new(padded(burst * 40 + number)).timestamp(7)).await.unwrap());
        }
        drained(&outbox).await;
    }
    assert_eq!(batches(&engine), [(0, 40, Codec::Lz4), (40, 40, Codec::Lz4), (80, 40, Codec::Lz4)]);
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    let last = engine.batches("orders", 0).pop().unwrap().records().unwrap().last().unwrap().unwrap();
    assert_eq!((last.timestamp, last.headers.len()), (Some(7), 0));
}

#[tokio::test(start_paused = true)]
async fn no_batch_overtakes_a_refused_one() {
    let engine = FakeEngine::with_topic("orders", 1);
    let refused = Error::new(ErrorKind::AuthFailed, "not now");
    engine.fail_appends([Fault::Hold, Fault::Refuse(refused)]);
    let outbox = open(&engine, &Arc::default()).await;
    for burst in 0..3 {
        for number in 0..40 {
            drop(outbox.enqueue(padded(burst * 40 + number)).await.unwrap());
        }
        // The first batch is held, the second refused, and the third waits behind them.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    engine.release(1);
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    assert!(engine.appends() > 3, "nothing was refused: nothing is tested");
}

#[tokio::test(start_paused = true)]
async fn small_batches_are_gathered() {
    let engine = FakeEngine::with_topic("orders", 1);
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    let outbox = open(&engine, &Arc::default()).await;
    for value in numbered(0..100) {
        outbox.send(value).await.unwrap();
    }
    // Until the window of the producer is full.
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.release(1000);
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..100));
    let batches = batches(&engine);
    assert!(batches.len() < 20, "{batches:?}");
    let mut next = 0;
    for (first, count, _) in batches {
        assert_eq!(first, next);
        next += count as i32;
    }
}

/// Starts an outbox of 64 KiB whose appends get no acknowledgement.
async fn held_up(when_full: WhenOutboxFull) -> (FakeEngine, Outbox) {
    let engine = FakeEngine::with_topic("orders", 1);
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    let outbox = builder(&engine, &Arc::default()).max_bytes(64 * 1024).when_full(when_full);
    (engine, outbox.start().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_refuses() {
    let (engine, outbox) = held_up(WhenOutboxFull::Fail).await;
    let mut accepted = 0;
    let refused = loop {
        match outbox.send(padded(accepted)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "64 KiB took {accepted} kB");
    };
    assert_eq!(refused.kind(), ErrorKind::BufferFull);
    assert!(accepted > 30, "64 KiB are full after {accepted} kB");
    engine.release(1000);
    drained(&outbox).await;
    // The checkpoint frees the room.
    tokio::time::sleep(Duration::from_secs(5)).await;
    outbox.send(padded(accepted)).await.unwrap();
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..=accepted).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_makes_senders_wait() {
    let (engine, outbox) = held_up(WhenOutboxFull::Wait).await;
    let sender = {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            for number in 0..300 {
                outbox.send(padded(number)).await.unwrap();
            }
        })
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!sender.is_finished(), "64 KiB took 300 kB");
    assert!(outbox.stats().bytes <= 66 * 1024, "{} bytes", outbox.stats().bytes);
    engine.release(1000);
    tokio::time::timeout(HOUR, sender).await.expect("no sender was woken").unwrap();
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_the_oldest_and_counts_them() {
    let (engine, outbox) = held_up(WhenOutboxFull::DropOldest).await;
    for number in 0..300 {
        outbox.send(padded(number)).await.unwrap();
    }
    let dropped = outbox.stats().dropped as usize;
    assert!((200..300).contains(&dropped), "{dropped}");
    engine.release(1000);
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
    // Records in flight may arrive although they were dropped.
    assert!(numbers.ends_with(&(dropped..300).collect::<Vec<_>>()), "{numbers:?}");
    let report = outbox.close().await.unwrap();
    assert_eq!((report.dropped as usize, report.waiting), (dropped, 0));
}

/// Starts an outbox on a disk that can be filled.
async fn on_full_disk(when_full: WhenOutboxFull) -> (FakeEngine, Arc<FaultyDisk>, Outbox) {
    let engine = FakeEngine::with_topic("orders", 1);
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::new())));
    let client = Client::from_engine(Arc::new(engine.clone()));
    let outbox = client.producer("orders").outbox(PATH).when_full(when_full);
    let outbox = outbox.store(on(Arc::clone(&disk) as _)).start().await.unwrap();
    outbox.send("before").await.unwrap();
    (engine, disk, outbox)
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses() {
    let (engine, disk, outbox) = on_full_disk(WhenOutboxFull::Fail).await;
    disk.plan(DiskFault::Full(0), ".seg", 0, u64::MAX);
    let error = outbox.send("no room").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BufferFull, "{error:?}");
    disk.heal();
    outbox.send("after").await.unwrap();
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_makes_senders_wait() {
    let (engine, disk, outbox) = on_full_disk(WhenOutboxFull::Wait).await;
    disk.plan(DiskFault::Full(0), ".seg", 0, u64::MAX);
    let sender = {
        let outbox = outbox.clone();
        tokio::spawn(async move { outbox.send("patient").await })
    };
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!sender.is_finished());
    disk.heal();
    tokio::time::timeout(HOUR, sender).await.expect("the sender was not woken").unwrap().unwrap();
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], ["before", "patient"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_drops_the_oldest() {
    let (engine, disk, outbox) = on_full_disk(WhenOutboxFull::DropOldest).await;
    drained(&outbox).await;
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    outbox.send_all(numbered(0..10)).await.unwrap();
    // The disk is full for three writes, whatever is dropped.
    disk.plan(DiskFault::Full(0), ".seg", 0, 3);
    outbox.send("newest").await.unwrap();
    assert_eq!(outbox.stats().dropped, 10);
    engine.release(1000);
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0].last().unwrap(), "newest");
}

#[tokio::test(start_paused = true)]
async fn undeliverable_records_are_rejected() {
    let engine = FakeEngine::with_topic("orders", 2)
        .with_capabilities(Capabilities::FULL.with(|it| it.max_batch_bytes = 4096));
    let disk = Arc::default();
    let outbox = builder(&engine, &disk).max_record_bytes(100_000).start().await.unwrap();
    drop(outbox.enqueue(Record::keyed("k", "one")).await.unwrap());
    drop(outbox.enqueue(Record::new("nowhere").partition(7)).await.unwrap());
    drop(outbox.enqueue(Record::keyed("k", "two")).await.unwrap());
    drop(outbox.enqueue(Record::keyed("k", "x".repeat(10_000))).await.unwrap());
    drop(outbox.enqueue(Record::keyed("k", "three")).await.unwrap());
    drained(&outbox).await;
    let all: Vec<_> = delivered(&engine, 2).into_values().flatten().collect();
    assert_eq!(all, ["one", "two", "three"]);
    let report = outbox.close().await.unwrap();
    assert_eq!((report.rejected, report.waiting), (2, 0));
    // The count survives a restart, and deliveries continue.
    let outbox = builder(&engine, &disk).start().await.unwrap();
    outbox.send(Record::keyed("k", "four")).await.unwrap();
    drained(&outbox).await;
    let all: Vec<_> = delivered(&engine, 2).into_values().flatten().collect();
    assert_eq!(
        (all.as_slice(), outbox.stats().rejected),
        (["one", "two", "three", "four"].map(String::from).as_slice(), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn behind_a_rejected_record_batches_are_sent_as_they_are() {
    let engine = FakeEngine::with_topic("orders", 1)
        .with_capabilities(Capabilities::FULL.with(|it| it.max_batch_bytes = 100_000));
    let outbox = builder(&engine, &Arc::default()).max_record_bytes(1_000_000).start().await.unwrap();
    outbox.send("x".repeat(200_000)).await.unwrap();
    drained(&outbox).await;
    assert_eq!(outbox.stats().rejected, 1);
    engine.fail_appends([Fault::Hold]);
    outbox.send(padded(0)).await.unwrap();
    for burst in 0..2 {
        for number in 0..40 {
            drop(outbox.enqueue(padded(1 + burst * 40 + number)).await.unwrap());
        }
        // One batch of the spool each.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    engine.release(1);
    drained(&outbox).await;
    // Sent one by one, the records would have been gathered into full batches while the first one was held.
    let counts: Vec<_> = batches(&engine).into_iter().map(|(_, count, _)| count).collect();
    assert_eq!(counts, [1, 40, 40]);
}

#[tokio::test(start_paused = true)]
async fn the_outbox_of_another_topic_is_refused() {
    let engine = FakeEngine::with_topic("orders", 1);
    let disk = Arc::default();
    open(&engine, &disk).await.close().await.unwrap();
    let client = Client::from_engine(Arc::new(engine.clone()));
    let other = client.producer("invoices").outbox(PATH).store(on(Arc::clone(&disk) as _)).start().await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[tokio::test(start_paused = true)]
async fn closing_the_client_closes_the_outbox() {
    let engine = FakeEngine::with_topic("orders", 1);
    let client = Client::from_engine(Arc::new(engine.clone()));
    let outbox = client.producer("orders").outbox(PATH).store(on(Arc::<MemoryDisk>::default()));
    let outbox = outbox.start().await.unwrap();
    outbox.send_all(numbered(0..5)).await.unwrap();
    client.close().await.unwrap();
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..5));
    assert_eq!(outbox.send("late").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn settings_out_of_range_are_refused() {
    let engine = FakeEngine::with_topic("orders", 1);
    let small = builder(&engine, &Arc::default()).max_bytes(1000).start().await.unwrap_err();
    assert_eq!(small.kind(), ErrorKind::InvalidConfig);
    let outbox = builder(&engine, &Arc::default()).max_bytes(64 * 1024).start().await.unwrap();
    let error = outbox.send("x".repeat(100_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_url_that_can_never_work_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (url, expected) in [
        ("fluvo://h", "did you mean \"fluvio\"?"),
        ("fluvio://h?windw=3", "did you mean \"window\"?"),
        ("fluvio://h?window=0", "from 1 to 1024"),
        ("walrus://h?producer.lingr=1s", "did you mean \"producer.linger\"?"),
        ("memory:", "begins without topics"),
    ] {
        let error = OutboxBuilder::to(url, "orders", folder.path().join("outbox")).start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.message().contains(expected), "{url}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no spool is left behind");
}
