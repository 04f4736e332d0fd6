//! Outboxes that write down only what the cluster does not take.

use futures_util::FutureExt;

use super::*;

const PATIENCE: Duration = Duration::from_millis(300);

fn mode() -> OutboxMode {
    OutboxMode::WhenUnreachable(PATIENCE)
}

/// Long enough for whatever waits for times and not for events.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// An outbox that has reached the cluster.
async fn straight(engine: &FakeEngine, disk: &Arc<MemoryDisk>) -> Outbox {
    let outbox = builder(engine, disk).mode(mode()).start().await.unwrap();
    a_while().await;
    outbox
}

fn broken() -> Error {
    Error::new(ErrorKind::NetworkError, "broken")
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_down_while_the_cluster_answers() {
    let engine = FakeEngine::with_topic("orders", 2);
    let outbox = straight(&engine, &Arc::default()).await;
    assert_eq!(outbox.send(Record::keyed("k", "one")).await.unwrap(), None);
    outbox.send_all((0..1000).map(|number| Record::keyed("k", padded(number)))).await.unwrap();
    assert_eq!(outbox.send(Record::new("two").header("a", "b").partition(1)).await.unwrap(), None);
    assert_eq!(outbox.shared().local.end(), 0);
    let all = delivered(&engine, 2);
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), 1002);
    assert_eq!(all[&1].last().unwrap(), "two");
    let stats = outbox.stats();
    assert_eq!((stats.accepted, stats.delivered, stats.waiting), (1002, 1002, 0));
    let report = outbox.close().await.unwrap();
    assert_eq!((report.delivered, report.waiting), (1002, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_away_at_the_start_gets_everything_later_and_then_the_rest_straight() {
    let engine = FakeEngine::with_topic("other", 1);
    let outbox = straight(&engine, &Arc::default()).await;
    for (number, value) in numbered(0..50).into_iter().enumerate() {
        assert_eq!(outbox.send(value).await.unwrap(), Some(number as i64));
    }
    let client = Client::from_engine(Arc::new(engine.clone()));
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    drained(&outbox).await;
    a_while().await;
    assert_eq!(outbox.send("record 50").await.unwrap(), None);
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..51));
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_does_not_take_in_time_is_written_down() {
    let engine = FakeEngine::with_topic("orders", 1);
    let outbox = straight(&engine, &Arc::default()).await;
    assert_eq!(outbox.send("record 0").await.unwrap(), None);
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    let began = tokio::time::Instant::now();
    assert_eq!(outbox.send("record 1").await.unwrap(), Some(0));
    assert!((PATIENCE..Duration::from_secs(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    // Now everything goes into the log, and nobody waits for the cluster.
    let began = tokio::time::Instant::now();
    assert_eq!(outbox.send("record 2").await.unwrap(), Some(1));
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(outbox.stats().waiting, 2);
    engine.forget_append_faults();
    engine.release(1000);
    drained(&outbox).await;
    a_while().await;
    assert_eq!(outbox.send("record 3").await.unwrap(), None);
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..4));
}

#[tokio::test(start_paused = true)]
async fn under_load_it_turns_both_ways_in_order() {
    let engine = FakeEngine::with_topic("orders", 2);
    let outbox = straight(&engine, &Arc::default()).await;
    let stop = tokio::sync::watch::Sender::new(false);
    let sender = {
        let (outbox, stop) = (outbox.clone(), stop.subscribe());
        tokio::spawn(async move {
            let (mut went_straight, mut last) = (Vec::new(), std::collections::VecDeque::new());
            for number in 0.. {
                if *stop.borrow() {
                    return (went_straight, number);
                }
                let record = Record::keyed(format!("key-{}", number % 5), padded(number));
                last.push_back((number, outbox.enqueue(record).await.unwrap()));
                if last.len() == 20 {
                    let (number, delivery) = last.pop_front().unwrap();
                    if delivery.await.unwrap().offset.is_none() {
                        went_straight.push(number);
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            unreachable!("it goes on for ever")
        })
    };
    for _ in 0..4 {
        // Longer than anybody waits before trying again after a short outage.
        tokio::time::sleep(Duration::from_secs(10)).await;
        // The first answer is lost, and nothing after it is taken.
        let refused = std::iter::repeat_with(|| Fault::Refuse(broken())).take(100_000);
        engine.fail_appends(std::iter::once(Fault::LoseAnswer(broken())).chain(refused));
        // Longer than the patience with the second batch.
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.forget_append_faults();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    stop.send_replace(true);
    let (went_straight, sent) = sender.await.unwrap();
    drained(&outbox).await;
    let all = numbers_in_order(&engine, 2, "under load");
    assert_eq!(all, (0..sent).collect::<Vec<_>>());
    // There and back, and there again.
    let turns = went_straight.windows(2).filter(|pair| pair[1] > pair[0] + 20).count();
    assert_eq!(turns, 4, "{} of {sent} went straight", went_straight.len());
}

/// Kills at any instant, answers that are lost, refusals, and a change of the mode: what was accepted comes once, the rest
/// at most once, and all in order.
#[tokio::test(start_paused = true)]
async fn chaos_loses_nothing_that_was_accepted() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut straight, mut written) = (0, 0);
    for round in 0..12 {
        let keyed = round % 2 == 0;
        let partitions = 1 + round / 2 % 2;
        let engine = FakeEngine::with_topic("orders", partitions);
        let mut disk = Arc::<MemoryDisk>::default();
        let (mut sent, mut accepted) = (0, Vec::new());
        for _ in 0..6 {
            let always = next(4) == 0;
            let mode = if always { OutboxMode::Always } else { mode() };
            let outbox = builder(&engine, &disk).mode(mode).start().await.unwrap();
            let mut deliveries = Vec::new();
            for _ in 0..1 + next(4) {
                tokio::time::sleep(Duration::from_millis(next(400))).await;
                engine.fail_appends((0..next(8)).map(|_| match next(4) {
                    0 => Fault::LoseAnswer(broken()),
                    1 => Fault::Refuse(broken()),
                    2 => Fault::Refuse(Error::new(ErrorKind::AuthFailed, "not now")),
                    _ => Fault::Pass,
                }));
                for _ in 0..next(90) {
                    let record = Record::new(padded(sent));
                    let key = format!("key-{}", sent % 5).into();
                    let record = Record { key: keyed.then_some(key), ..record };
                    deliveries.push((sent, outbox.enqueue(record).await.unwrap()));
                    sent += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(next(600))).await;
            for (number, delivery) in deliveries {
                let Some(Ok(placed)) = delivery.now_or_never() else { continue };
                accepted.push(number);
                *(if placed.offset.is_none() { &mut straight } else { &mut written }) += 1;
            }
            let killed = disk.after_kill();
            // What a dead process no longer does must not happen after the copy was made.
            engine.forget_append_faults();
            engine.fail_appends((0..1000).map(|_| Fault::Refuse(broken())));
            outbox.close_within(Duration::ZERO).await.unwrap();
            engine.forget_append_faults();
            disk = Arc::new(killed);
        }
        let outbox = open(&engine, &disk).await;
        drained(&outbox).await;
        let all = numbers_in_order(&engine, partitions, &format!("round {round}"));
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "round {round}: {all:?}");
        let lost: Vec<_> = accepted.iter().filter(|number| all.binary_search(number).is_err()).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} were accepted");
        outbox.close().await.unwrap();
    }
    assert!(straight > 500 && written > 500, "{straight} went straight, {written} were written down");
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_nothing_is_taken_for_what_went_straight() {
    let engine = FakeEngine::with_topic("orders", 1);
    let disk = Arc::<MemoryDisk>::default();
    let outbox = straight(&engine, &disk).await;
    for value in numbered(0..10) {
        assert_eq!(outbox.send(value).await.unwrap(), None);
    }
    let killed = Arc::new(disk.after_kill());
    outbox.close().await.unwrap();
    // Under the numbers of those that went straight, the next ones would seem to be there.
    let outbox = open(&engine, &killed).await;
    outbox.send_all(numbered(10..20)).await.unwrap();
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..20));
}

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_it_is_closed_waits_in_the_log() {
    let engine = FakeEngine::with_topic("orders", 1);
    let disk = Arc::default();
    let outbox = straight(&engine, &disk).await;
    outbox.send("record 0").await.unwrap();
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    let delivery = outbox.enqueue("record 1").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let report = outbox.close_within(Duration::ZERO).await.unwrap();
    assert_eq!((report.delivered, report.waiting), (1, 1));
    assert_eq!(delivery.await.unwrap().offset, Some(0));
    engine.forget_append_faults();
    let outbox = open(&engine, &disk).await;
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..2));
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_is_put_aside_and_the_rest_goes_straight_again() {
    let engine = FakeEngine::with_topic("orders", 2)
        .with_capabilities(Capabilities::FULL.with(|it| it.max_batch_bytes = 4096));
    let outbox = builder(&engine, &Arc::default()).max_record_bytes(100_000).mode(mode());
    let outbox = outbox.start().await.unwrap();
    a_while().await;
    for (number, large) in ["a", "b"].into_iter().enumerate() {
        assert_eq!(outbox.send(Record::keyed("k", format!("before {large}"))).await.unwrap(), None);
        let large = if number == 0 {
            Record::keyed("k", "x".repeat(10_000))
        } else {
            Record::new("?".to_owned()).partition(7)
        };
        assert!(outbox.send(large).await.unwrap().is_some());
        outbox.send(Record::keyed("k", format!("after {number}"))).await.unwrap();
        drained(&outbox).await;
        a_while().await;
    }
    let all: Vec<_> = delivered(&engine, 2).into_values().flatten().collect();
    assert_eq!(all, ["before a", "after 0", "before b", "after 1"]);
    assert_eq!(outbox.stats().rejected, 2);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_what_is_on_its_way_waits_and_the_rest_is_refused() {
    let (engine, disk, outbox) = on_full_disk_with(WhenOutboxFull::Fail, mode()).await;
    drained(&outbox).await;
    a_while().await;
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    disk.plan(DiskFault::Full(0), ".seg", 0, u64::MAX);
    let mut on_its_way = Vec::new();
    for value in numbered(0..5) {
        on_its_way.push(outbox.enqueue(value).await.unwrap());
    }
    a_while().await;
    assert!(on_its_way.iter_mut().all(|delivery| delivery.now_or_never().is_none()));
    let error = outbox.send("refused").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BufferFull, "{error:?}");
    disk.heal();
    for delivery in on_its_way {
        assert!(delivery.await.unwrap().offset.is_some());
    }
    engine.forget_append_faults();
    engine.release(1000);
    outbox.send("record 5").await.unwrap();
    drained(&outbox).await;
    let mut expected = numbered(0..6);
    expected.insert(0, "before".to_owned());
    assert_eq!(delivered(&engine, 1)[&0], expected);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_changes_no_order() {
    let engine = FakeEngine::with_topic("other", 1);
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::new())));
    let client = Client::from_engine(Arc::new(engine.clone()));
    let outbox = client.producer("orders").batch_size(5000).outbox(PATH).mode(mode());
    let outbox = on(outbox, Arc::clone(&disk) as _).start().await.unwrap();
    outbox.send(padded(0)).await.unwrap();
    for burst in 0..10 {
        disk.plan(DiskFault::Full(0), ".seg", 0, 1);
        for number in 0..30 {
            drop(outbox.enqueue(padded(1 + burst * 30 + number)).await.unwrap());
        }
        a_while().await;
    }
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..301).collect::<Vec<_>>());
}
