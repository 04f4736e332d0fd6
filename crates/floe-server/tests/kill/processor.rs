//! Kills a processor between the delivery of its output and the commit of its input.

use std::collections::BTreeMap;

use floe::{Message, Record, dead_letter::RecordOrigin, processor::ProcessorBuilder};

use super::{
    MOMENT, URL, cluster, connect, connected, finish, folder, judged, kill, read, start, text, with_moment,
};

const RECORDS: usize = 1000;
const KEYS: usize = 7;

/// Processes all records, unless it is killed.
pub(crate) async fn process() {
    let client = connect(&std::env::var(URL).unwrap(), &folder()).await;
    let mut processor: ProcessorBuilder =
        client.processor("orders", "invoices").concurrency(4).stop_at_end().producer(with_moment);
    if std::env::var(MOMENT).is_ok() {
        // Frequent commits let each process get further than the one before it, although offsets are lost with it.
        processor = processor.commit_interval(std::time::Duration::from_millis(1));
    }
    let report = processor
        .map(async |order: Message| {
            let invoice = Record::new(format!("invoice of {}", text(&order.value)).into());
            Ok(Record { key: order.key, ..invoice })
        })
        .run(std::future::pending())
        .await
        .unwrap();
    assert!(report.left.is_empty() && report.dead_letters == 0, "{report:?}");
    client.close().await.unwrap();
}

pub(crate) async fn test() {
    let server = cluster(&["orders", "invoices"]).await;
    let folder = tempfile::tempdir().unwrap();
    let client = connected(&server, folder.path()).await;
    let orders = client.producer("orders").start().await.unwrap();
    orders
        .send_all((0..RECORDS).map(|n| Record::keyed(format!("key {}", n % KEYS), format!("{n}"))))
        .await
        .unwrap();
    for moment in [0, 20, 3] {
        kill(start("processor", &server, folder.path(), Some(moment))).await;
    }
    finish(start("processor", &server, folder.path(), None)).await;

    // No record is skipped, and each output names its input.
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let invoices = read(&client, "invoices").await;
    for invoice in &invoices {
        let origin = RecordOrigin::of(invoice).expect("an origin");
        made.entry(origin.to_string()).or_default().push(text(&invoice.value).to_owned());
    }
    assert_eq!(made.len(), RECORDS);
    // The batch whose acknowledgement the first process did not receive is delivered again, with the same origin.
    assert!(invoices.len() > RECORDS, "no batch was delivered twice, so the test proves nothing");
    for order in read(&client, "orders").await {
        let origin = format!("orders/{}/{}", order.partition, order.offset);
        let expected = format!("invoice of {}", text(&order.value));
        assert!(made[&origin].iter().all(|value| *value == expected), "{origin}: {:?}", made[&origin]);
    }
    // Without the duplicates, the order per key is kept.
    let mut seen = std::collections::HashSet::new();
    let mut latest: BTreeMap<&[u8], usize> = BTreeMap::new();
    for invoice in invoices.iter().filter(|invoice| seen.insert(RecordOrigin::of(invoice))) {
        let number = text(&invoice.value).rsplit(' ').next().unwrap().parse().unwrap();
        let key = invoice.key.as_deref().unwrap();
        assert!(latest.insert(key, number).is_none_or(|before| before < number), "{number} is out of order");
    }
    client.close().await.unwrap();
    server.stop().await.unwrap();
    let verdict = judged(folder.path());
    assert!(verdict.handled >= RECORDS as u64 && verdict.unknown > 0, "{verdict:?}");
}
