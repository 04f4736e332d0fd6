//! Topics, appends, reads, waiting and offsets without faults.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use floe_log::{Bounds, Durability, LogError, Store, StoreConfig, TopicConfig, TryChunk};
use support::{append, append_one, batch, body, producer_batch, read_all};
use tempfile::TempDir;

fn store_with(topic: &str, config: TopicConfig) -> (TempDir, Arc<Store>) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    store.create_topic(topic, config).unwrap();
    (directory, store)
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn appended_batches_are_read_in_order_also_after_reopening() {
    for durability in [Durability::Os, Durability::Interval(5), Durability::Always] {
        let (directory, store) = store_with("t", TopicConfig::new().durability(durability));
        let partition = store.partition("t", 0).unwrap();
        let mut expected = Vec::new();
        for number in 0..100_i64 {
            let body = vec![number as u8; 1 + number as usize * 37];
            let appended = append(&partition, batch(3, 1_000 + number, &body)).unwrap();
            assert_eq!(appended.base_offset, number * 3);
            expected.push((number * 3, bytes::Bytes::from(body)));
        }
        assert_eq!(read_all(&partition, 0).unwrap(), expected);
        let middle = read_all(&partition, 151).unwrap();
        assert_eq!(middle[0].0, 150, "reads start with the whole batch that holds the offset");
        assert_eq!(middle.len(), 50);
        assert!(read_all(&partition, 300).unwrap().is_empty());
        store.close().unwrap();

        let store = Store::open(StoreConfig::at(directory.path())).unwrap();
        assert!(store.recovery_report().was_clean);
        let partition = store.partition("t", 0).unwrap();
        assert_eq!(partition.bounds(), Bounds { start: 0, end: 300, durable_end: 300 });
        assert_eq!(read_all(&partition, 0).unwrap(), expected);
        assert_eq!(append_one(&partition, b"more"), 300);
    }
}

#[test]
fn uncontended_append_completes_before_submit_returns() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    let (answer, answered) = mpsc::channel();
    partition.submit(batch(1, 5, b"x"), move |result| answer.send(result).unwrap());
    let appended = answered.try_recv().expect("already completed").unwrap();
    assert_eq!(appended.base_offset, 0);
    assert!(appended.timestamp_ms > 1_600_000_000_000);
}

#[test]
fn damaged_or_empty_batch_is_rejected() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    let mut bytes = batch(1, 5, b"hello").to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = floe_wire::batch::EncodedBatch::parse(bytes.into()).unwrap();
    assert!(matches!(append(&partition, damaged), Err(LogError::BadBatch { .. })));
    let mut bytes = batch(1, 5, b"").to_bytes().to_vec();
    bytes[23..27].copy_from_slice(&(-1_i32).to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    let empty = floe_wire::batch::EncodedBatch::parse(bytes.into()).unwrap();
    assert!(matches!(append(&partition, empty), Err(LogError::BadBatch { .. })));
    assert_eq!(partition.bounds().end, 0);
}

#[test]
fn chunks_hold_whole_batches_and_at_least_one() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    for size in [100, 100, 100, 500_000, 2_000_000, 10] {
        append_one(&partition, &vec![7; size]);
    }
    // From files, then from the tail cache, which fills once there is a reader.
    for _ in 0..2 {
        let mut reader = partition.reader(partition.bounds().start).unwrap();
        let sizes: Vec<usize> = std::iter::from_fn(|| {
            let chunk = reader.next_chunk(350).unwrap();
            (!chunk.batches.is_empty()).then_some(chunk.batches.len())
        })
        .collect();
        assert_eq!(sizes, [2, 1, 1, 1, 1], "two batches of 157 bytes fit, large ones are returned alone");
        assert_eq!(reader.position(), 6);
        reader.seek(4).unwrap();
        assert_eq!(reader.next_chunk(1).unwrap().batches[0].len(), 57 + 2_000_000);
        assert!(matches!(reader.seek(7), Err(LogError::OutOfRange { start: 0, end: 6, .. })));
    }
}

#[test]
fn readers_at_the_end_share_the_producers_bytes() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    let mut reader = partition.reader(0).unwrap();
    let sent = batch(1, 5, b"shared, not copied");
    let at = sent.rest().as_ptr();
    append(&partition, sent).unwrap();
    let TryChunk::Ready(chunk) = reader.try_next_chunk(1 << 20).unwrap() else { panic!("in memory") };
    assert_eq!(chunk.batches[0].rest().as_ptr(), at);
    assert_eq!(body(&chunk.batches[0]), "shared, not copied");
}

#[test]
fn waiting_reader_is_woken_by_an_append() {
    for durability in [Durability::Os, Durability::Always] {
        let (_directory, store) = store_with("t", TopicConfig::new().durability(durability));
        let partition = store.partition("t", 0).unwrap();
        let reader = partition.reader(0).unwrap();
        let (of_reader, loose) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        let (first, second) = (Waker::from(Arc::clone(&of_reader)), Waker::from(Arc::clone(&loose)));
        assert!(reader.poll_beyond(&mut Context::from_waker(&first)).is_pending());
        assert!(partition.poll_beyond(0, &mut Context::from_waker(&second)).is_pending());
        assert_eq!(of_reader.0.load(Ordering::SeqCst), 0);
        append_one(&partition, b"x");
        assert_eq!(of_reader.0.load(Ordering::SeqCst), 1);
        assert_eq!(loose.0.load(Ordering::SeqCst), 1);
        let ready = reader.poll_beyond(&mut Context::from_waker(&first));
        assert!(matches!(ready, Poll::Ready(Ok(1))));
    }
}

#[test]
fn waiting_fails_when_the_topic_is_deleted_or_the_store_closed() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    store.create_topic("u", TopicConfig::new()).unwrap();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = Context::from_waker(&waker);
    let (deleted, closed) = (store.partition("t", 0).unwrap(), store.partition("u", 0).unwrap());
    append_one(&deleted, b"x");
    let mut reader = deleted.reader(0).unwrap();
    assert!(deleted.poll_beyond(1, &mut cx).is_pending());
    assert!(closed.poll_beyond(0, &mut cx).is_pending());
    store.delete_topic("t").unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert!(matches!(deleted.poll_beyond(1, &mut cx), Poll::Ready(Err(LogError::TopicNotFound { .. }))));
    assert!(matches!(reader.next_chunk(100), Err(LogError::TopicNotFound { .. })));
    assert!(matches!(append(&deleted, batch(1, 1, b"x")), Err(LogError::TopicNotFound { .. })));
    store.close().unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), 2);
    assert!(matches!(closed.poll_beyond(0, &mut cx), Poll::Ready(Err(LogError::Closed))));
    assert!(matches!(append(&closed, batch(1, 1, b"x")), Err(LogError::Closed)));
    assert!(matches!(store.partition("u", 0), Err(LogError::Closed)));
    assert!(matches!(store.create_topic("v", TopicConfig::new()), Err(LogError::Closed)));
    assert!(matches!(store.commit_offset("g", "u", 0, 1, None), Err(LogError::Closed)));
    store.close().unwrap();
}

#[test]
fn concurrent_producers_get_unique_offsets_in_their_own_order() {
    for durability in [Durability::Os, Durability::Always] {
        let (_directory, store) = store_with("t", TopicConfig::new().durability(durability));
        let partition = store.partition("t", 0).unwrap();
        let per_thread = if durability == Durability::Os { 500 } else { 50 };
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let partition = Arc::clone(&partition);
                scope.spawn(move || {
                    let (answer, answered) = mpsc::channel();
                    for number in 0..per_thread {
                        let body = format!("{thread}:{number}");
                        let answer = answer.clone();
                        partition.submit(batch(2, 1, body.as_bytes()), move |result| {
                            answer.send((number, result.unwrap().base_offset)).unwrap();
                        });
                    }
                    drop(answer);
                    let answers: Vec<_> = answered.iter().collect();
                    assert_eq!(answers.len(), per_thread);
                    assert!(answers.is_sorted(), "completed in the order of submission");
                });
            }
        });
        let all = read_all(&partition, 0).unwrap();
        assert_eq!(all.len(), 8 * per_thread);
        let mut next = [0; 8];
        for (at, (offset, body)) in all.iter().enumerate() {
            assert_eq!(*offset, at as i64 * 2);
            let text = std::str::from_utf8(body).unwrap();
            let (thread, number) = text.split_once(':').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(number.parse::<usize>().unwrap(), next[thread]);
            next[thread] += 1;
        }
    }
}

#[test]
fn a_completion_may_submit_again() {
    let (_directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    let (answer, answered) = mpsc::channel();
    let again = Arc::clone(&partition);
    partition.submit(batch(1, 1, b"first"), move |_| {
        again.submit(batch(1, 1, b"second"), move |result| answer.send(result).unwrap());
    });
    let second = answered.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(second.base_offset, 1);
}

#[test]
fn retried_batch_of_a_producer_is_stored_once_also_after_a_crash() {
    let (directory, store) = store_with("t", TopicConfig::new());
    let partition = store.partition("t", 0).unwrap();
    let first = producer_batch(5, 1, b"a", (42, 0, 0));
    let second = producer_batch(5, 1, b"b", (42, 0, 5));
    assert_eq!(append(&partition, first.clone()).unwrap().base_offset, 0);
    assert_eq!(append(&partition, second.clone()).unwrap().base_offset, 5);
    assert_eq!(append(&partition, first.clone()).unwrap().base_offset, 0);
    assert_eq!(partition.bounds().end, 10);
    drop((partition, store));
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    assert!(!store.recovery_report().was_clean);
    let partition = store.partition("t", 0).unwrap();
    assert_eq!(append(&partition, second).unwrap().base_offset, 5);
    assert_eq!(append(&partition, first).unwrap().base_offset, 0);
    assert_eq!(partition.bounds().end, 10);
    let other_epoch = producer_batch(5, 1, b"a", (42, 1, 0));
    assert_eq!(append(&partition, other_epoch).unwrap().base_offset, 10);
}

#[test]
fn offset_for_time_is_that_of_the_first_batch_with_the_time_or_later() {
    let directory = TempDir::new().unwrap();
    let store = Store::open(StoreConfig::at(directory.path()).segment_bytes(200_000)).unwrap();
    store.create_topic("t", TopicConfig::new()).unwrap();
    let partition = store.partition("t", 0).unwrap();
    // Timestamps are unsorted, with gaps, and partly missing.
    let times: Vec<i64> =
        (0..200).map(|n| if n % 7 == 0 { -1 } else { 1_000 + (n * 37) % 90 + n * 10 }).collect();
    for time in &times {
        append(&partition, batch(2, *time, &[0; 5_000])).unwrap();
    }
    let check = |partition: &Arc<floe_log::Partition>| {
        for wanted in (900..3_200).step_by(13) {
            let expected = times.iter().position(|time| *time >= wanted).map(|at| at as i64 * 2);
            assert_eq!(partition.offset_for_time(wanted).unwrap(), expected, "time {wanted}");
        }
    };
    check(&partition);
    store.close().unwrap();
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    check(&store.partition("t", 0).unwrap());
}

#[test]
fn topics_are_created_described_extended_and_deleted() {
    let (directory, store) = store_with(
        "orders",
        TopicConfig::new()
            .partitions(2)
            .durability(Durability::Interval(50))
            .retention_age(Some(Duration::from_secs(60)))
            .retention_bytes(Some(1 << 30))
            .segment_bytes(Some(1 << 20))
            .metadata(BTreeMap::from([("owner".to_owned(), "åda".to_owned())])),
    );
    assert!(matches!(store.create_topic("orders", TopicConfig::new()), Err(LogError::TopicExists { .. })));
    for bad in [TopicConfig::new().partitions(0), TopicConfig::new().durability(Durability::Interval(0))] {
        assert!(matches!(store.create_topic("bad", bad), Err(LogError::InvalidConfig { .. })));
    }
    assert!(matches!(store.create_topic("", TopicConfig::new()), Err(LogError::InvalidConfig { .. })));
    assert!(matches!(store.partition("orders", 2), Err(LogError::PartitionNotFound { .. })));
    assert!(matches!(store.partition("none", 0), Err(LogError::TopicNotFound { .. })));
    store.create_topic("été", TopicConfig::new()).unwrap();
    store.add_partitions("orders", 5).unwrap();
    assert!(matches!(store.add_partitions("orders", 4), Err(LogError::InvalidConfig { .. })));
    assert_eq!(append_one(&store.partition("orders", 4).unwrap(), b"x"), 0);
    let before = store.topics();
    assert_eq!(before.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["orders", "été"]);
    assert_eq!(before[0].partitions, 5);
    store.close().unwrap();

    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    assert_eq!(store.topics(), before, "all topics are kept");
    assert_eq!(store.partition("orders", 4).unwrap().bounds().end, 1);
    let id = store.topic("orders").unwrap().id;
    store.commit_offset("g", "orders", 4, 1, None).unwrap();
    store.delete_topic("orders").unwrap();
    assert!(matches!(store.delete_topic("orders"), Err(LogError::TopicNotFound { .. })));
    assert_eq!(store.topic("orders"), None);
    let logs = std::fs::read_dir(directory.path().join("logs")).unwrap().count();
    assert_eq!(logs, 0, "the files are removed");
    store.create_topic("orders", TopicConfig::new()).unwrap();
    assert_ne!(store.topic("orders").unwrap().id, id);
    assert_eq!(store.partition("orders", 0).unwrap().bounds().end, 0);
    assert_eq!(store.committed("g", "orders", 0), None);
    assert!(store.committed_all(None).is_empty());
}

#[test]
fn watch_reports_every_change_of_the_topics() {
    let store = Store::open(StoreConfig::memory()).unwrap();
    let watch = store.subscribe_topics();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = Context::from_waker(&waker);
    let mut seen = watch.generation();
    for (round, change) in [
        &(|| store.create_topic("t", TopicConfig::new())) as &dyn Fn() -> Result<(), LogError>,
        &|| store.add_partitions("t", 3),
        &|| store.delete_topic("t"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(watch.poll_changed(seen, &mut cx).is_pending());
        change().unwrap();
        assert_eq!(counter.0.load(Ordering::SeqCst), round + 1);
        let Poll::Ready(Ok(now)) = watch.poll_changed(seen, &mut cx) else { panic!("a change") };
        seen = now;
    }
    assert!(watch.poll_changed(seen, &mut cx).is_pending());
    store.close().unwrap();
    assert!(matches!(watch.poll_changed(seen, &mut cx), Poll::Ready(Err(LogError::Closed))));
}

#[test]
fn committed_offsets_survive_reopening_and_crashes() {
    let (directory, store) = store_with("t", TopicConfig::new().partitions(3));
    for number in 0..3 {
        append(&store.partition("t", number).unwrap(), batch(30, 1_000, b"x")).unwrap();
    }
    store.commit_offset("g", "t", 0, 5, Some("note")).unwrap();
    store.commit_offset("g", "t", 0, 7, None).unwrap();
    store.commit_offset("g", "t", 1, 9, Some("kept")).unwrap();
    store.commit_offset("h", "t", 0, 1, None).unwrap();
    store.forget_offset("h", "t", 0).unwrap();
    let (answer, answered) = mpsc::channel();
    let several = vec![("t".to_owned(), 1, 20), ("t".to_owned(), 2, 30)];
    store.commit_offsets("i", several, move |result| answer.send(result).unwrap());
    answered.recv().unwrap().unwrap();
    let (answer, answered) = mpsc::channel();
    let bad = vec![("t".to_owned(), 0, 99), ("t".to_owned(), 3, 99)];
    store.commit_offsets("i", bad, move |result| answer.send(result).unwrap());
    assert!(matches!(answered.recv().unwrap(), Err(LogError::PartitionNotFound { partition: 3, .. })));
    drop(store);
    let store = Store::open(StoreConfig::at(directory.path())).unwrap();
    let flat: Vec<_> = store
        .committed_all(None)
        .into_iter()
        .map(|c| (c.group, c.topic, c.partition, c.offset, c.metadata))
        .collect();
    let row = |group: &str, partition, offset, metadata: &str| {
        (group.to_owned(), "t".to_owned(), partition, offset, metadata.to_owned())
    };
    assert_eq!(flat, [row("g", 0, 7, ""), row("g", 1, 9, "kept"), row("i", 1, 20, ""), row("i", 2, 30, "")]);
    assert_eq!(store.committed("g", "t", 1).unwrap().offset, 9);
    assert_eq!(store.committed_all(Some("i")).len(), 2);
}

#[test]
fn delays_beyond_the_clock_mean_never() {
    let config = StoreConfig::memory().checkpoint_interval(Duration::MAX).retention_interval(Duration::MAX);
    let store = Store::open(config).unwrap();
    for (name, durability) in [("os", Durability::Os), ("interval", Durability::Interval(u64::MAX))] {
        store.create_topic(name, TopicConfig::new().durability(durability)).unwrap();
        let partition = store.partition(name, 0).unwrap();
        assert_eq!(append_one(&partition, b"x"), 0);
        assert_eq!(append_one(&partition, b"y"), 1);
    }
    store.close().unwrap();
}

#[test]
fn namespaces_under_one_root_are_separate() {
    let directory = TempDir::new().unwrap();
    let at = |name: Option<&str>| StoreConfig::at(directory.path()).namespace(name.map(str::to_owned));
    let root = Store::open(at(None)).unwrap();
    let left = Store::open(at(Some("left"))).unwrap();
    let right = Store::open(at(Some("right"))).unwrap();
    for (store, text) in [(&root, "root"), (&left, "left"), (&right, "right")] {
        store.create_topic("t", TopicConfig::new()).unwrap();
        append_one(&store.partition("t", 0).unwrap(), text.as_bytes());
    }
    for (store, text) in [(&root, "root"), (&left, "left"), (&right, "right")] {
        assert_eq!(read_all(&store.partition("t", 0).unwrap(), 0).unwrap(), [(0, text.into())]);
    }
    assert!(matches!(Store::open(at(Some("left"))), Err(LogError::Locked { .. })));
    for bad in ["", "..", "a/b", "logs", "journal"] {
        assert!(matches!(Store::open(at(Some(bad))), Err(LogError::InvalidConfig { .. })), "{bad:?}");
    }
}

#[test]
fn locked_store_error_names_the_owner_and_a_remedy() {
    for config in [StoreConfig::at(TempDir::new().unwrap().keep()), StoreConfig::memory()] {
        let store = Store::open(config.clone()).unwrap();
        let error = Store::open(config.clone()).unwrap_err();
        let text = error.to_string();
        let is_file_on_windows = cfg!(windows) && config.directory() != std::path::Path::new("/");
        if !is_file_on_windows {
            assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
        }
        assert!(text.contains("floe serve"), "{text}");
        store.close().unwrap();
        let again = Store::open(config.clone()).unwrap();
        assert!(again.recovery_report().was_clean);
        drop(again);
        if config.directory() != std::path::Path::new("/") {
            std::fs::remove_dir_all(config.directory()).unwrap();
        }
    }
}

#[test]
fn unusable_directory_is_named_in_the_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Store::open(StoreConfig::at(&file)).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert!(matches!(error, LogError::Io { operation: "create", .. }));
}
