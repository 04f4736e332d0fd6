//! Clusters and disks that fail and recover while records are accepted.

use super::*;

fn broken() -> Error {
    Error::new(ErrorKind::NetworkError, "broken")
}

#[tokio::test(start_paused = true)]
async fn outages_under_load_keep_the_order() {
    let engine = FakeEngine::with_topic("orders", 2);
    let outbox = open(&engine, &Arc::default()).await;
    let stop = tokio::sync::watch::Sender::new(false);
    let sender = {
        let (outbox, stop) = (outbox.clone(), stop.subscribe());
        tokio::spawn(async move {
            let mut sent = 0;
            while !*stop.borrow() {
                let record = Record::keyed(format!("key-{}", sent % 5), padded(sent));
                drop(outbox.enqueue(record).await.unwrap());
                sent += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sent
        })
    };
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The first acknowledgement is lost, and every append after it is refused.
        let refused = std::iter::repeat_with(|| Fault::Refuse(broken())).take(10_000);
        engine.fail_appends(std::iter::once(Fault::LoseAnswer(broken())).chain(refused));
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.forget_append_faults();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    let sent = sender.await.unwrap();
    drained(&outbox).await;
    let all = numbers_in_order(&engine, 2, "under load");
    assert_eq!(all, (0..sent).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_records_stay_in_the_spool_on_close() {
    let engine = FakeEngine::with_topic("orders", 1);
    let disk = Arc::default();
    let outbox = open(&engine, &disk).await;
    outbox.send("record 0").await.unwrap();
    drained(&outbox).await;
    engine.fail_appends((0..1000).map(|_| Fault::Hold));
    outbox.send("record 1").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let report = outbox.close_within(Duration::ZERO).await.unwrap();
    assert_eq!((report.delivered, report.waiting), (1, 1));
    engine.forget_append_faults();
    let outbox = open(&engine, &disk).await;
    drained(&outbox).await;
    assert_eq!(delivered(&engine, 1)[&0], numbered(0..2));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_the_order() {
    let engine = FakeEngine::with_topic("other", 1);
    let disk = Arc::new(FaultyDisk::new(Arc::new(MemoryDisk::new())));
    let client = Client::from_engine(Arc::new(engine.clone()));
    let outbox = client.producer("orders").batch_size(5000).outbox(PATH);
    let outbox = outbox.store(on(Arc::clone(&disk) as _)).start().await.unwrap();
    outbox.send(padded(0)).await.unwrap();
    for burst in 0..10 {
        disk.plan(DiskFault::Full(0), ".seg", 0, 1);
        for number in 0..30 {
            drop(outbox.enqueue(padded(1 + burst * 30 + number)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    drained(&outbox).await;
    let numbers: Vec<_> = delivered(&engine, 1)[&0].iter().map(|value| number_of(value)).collect();
    assert_eq!(numbers, (0..301).collect::<Vec<_>>());
}
