//! Scans, live tails and exports.

use std::time::Duration;

use floe::{Record, exchange::ParsedRecord};
use floe_server::ConsoleOptions;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{World, code, numbered};

#[tokio::test]
async fn a_scan_finds_one_record_among_many() {
    let world = World::new().await;
    world.topic("orders", 3).await;
    world.send("orders", numbered(0..5_000)).await;
    let scan = world.events("/topics/orders/scan?from=beginning&where=.n%20=%204711").await;
    let (records, (name, end)) = scan.all().await;
    assert_eq!((records.len(), name.as_str(), end["reason"].as_str()), (1, "end", Some("end")));
    assert_eq!(records[0]["value"], json!({ "n": 4711 }).to_string());
    assert_eq!((end["looked_at"].as_u64(), end["found"].as_u64()), (Some(5_000), Some(1)));
}

#[tokio::test]
async fn a_scan_stops_at_its_limit_and_goes_on() {
    let world = World::new().await;
    world.topic("orders", 2).await;
    world.send("orders", numbered(0..100)).await;
    let mut seen = Vec::new();
    let mut path = "/topics/orders/scan?from=beginning&limit=30".to_owned();
    for _ in 0..10 {
        let (records, (_, end)) = world.events(&path).await.all().await;
        seen.extend(records.iter().map(|record| (record["partition"].as_u64(), record["offset"].as_u64())));
        if end["reason"] == "end" {
            break;
        }
        assert_eq!(records.len(), 30);
        let next = end["next"].as_object().unwrap();
        // A partition that the scan has not reached begins at its start.
        let offset =
            |partition: u32| next.get(&partition.to_string()).map_or(0, |next| next.as_i64().unwrap());
        path = format!("/topics/orders/scan?resume=0:{},1:{}&limit=30", offset(0), offset(1));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn the_newest_records_come_in_the_order_of_their_times() {
    let world = World::new().await;
    world.topic("orders", 3).await;
    let at = |number: i64| {
        Record::new(number.to_string()).timestamp(1_000 + number).partition((number % 3) as u32)
    };
    world.send("orders", (0..60).map(at)).await;
    let (records, _) = world.events("/topics/orders/scan?from=-10").await.all().await;
    let values: Vec<_> = records.iter().map(|record| record["value"].as_str().unwrap().to_owned()).collect();
    assert_eq!(values, (50..60).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_their_place() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    let (status, refused) = world.get("/topics/orders/scan?where=key%20=%20").await;
    assert_eq!((status, code(&refused)), (400, "invalid_filter"));
    assert_eq!(refused["error"]["position"], 6);
    let (_, checked) = world.get("/filter?where=.a%20%3E%20").await;
    assert_eq!(
        (checked["ok"].as_bool(), checked["error"]["position"].as_u64()),
        (Some(false), Some(5)),
        "{checked}"
    );
    for path in [
        "/topics/orders/scan?from=soon",
        "/topics/orders/scan?partitions=x",
        "/topics/orders/export?format=xml",
    ] {
        assert_eq!(world.get(path).await.0, 400, "{path}");
    }
    for path in ["/topics/none/scan", "/topics/orders/scan?partitions=9", "/topics/none/tail"] {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn long_values_are_cut_in_lists_and_whole_alone() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", [Record::new("x".repeat(100_000))]).await;
    let (records, _) = world.events("/topics/orders/scan").await.all().await;
    assert!(records[0]["value"].as_str().unwrap().len() < 20_000);
    assert_eq!(records[0]["truncated"]["value_bytes"], 100_000);
    let (_, whole) = world.get("/topics/orders/records/0/0").await;
    assert_eq!(whole["value"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_tail_shows_what_arrives_and_goes_on_after_a_break() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", numbered(0..5)).await;
    let mut tail = world.events("/topics/orders/tail?where=.n%20%3C%208").await;
    // The tail reads from the end of the moment when it has opened, of which the report tells.
    tail.next_of("progress").await;
    world.send("orders", numbered(5..10)).await;
    for number in 5..8 {
        assert_eq!(tail.next_of("record").await["value"], json!({ "n": number }).to_string());
    }
    drop(tail);
    let mut again = world.events("/topics/orders/tail").await;
    drop(again.socket.shutdown().await);
    let request =
        "GET /api/v1/topics/orders/tail HTTP/1.0\r\nhost: localhost\r\nlast-event-id: orders/0/6\r\n\r\n";
    let mut socket = tokio::net::TcpStream::connect(&world.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut resumed = crate::Events { socket, received: String::new() };
    assert_eq!(resumed.next_of("record").await["offset"], 7);
}

#[tokio::test]
async fn a_browser_that_does_not_read_stops_neither_the_tail_nor_the_producer() {
    let mut options = ConsoleOptions::default();
    options.tails = 2;
    let world = World::with(options).await;
    world.topic("orders", 1).await;
    let (mut slow, mut good) =
        (world.events("/topics/orders/tail").await, world.events("/topics/orders/tail").await);
    good.next_of("progress").await;
    let (status, refused) = world.get("/topics/orders/tail").await;
    assert_eq!((status, code(&refused)), (503, "too_many_scans"));
    // More than the queue and the buffers of a connection hold.
    let large = |number: u32| Record::new(format!("{number} {}", "x".repeat(15_000)));
    for start in 0..5 {
        world.send("orders", (start * 250..(start + 1) * 250).map(large)).await;
    }
    // The other browser sees the whole topic go by.
    let mut reports = 0;
    while good.next_of("progress").await["looked_at"].as_u64() < Some(1_250) {
        reports += 1;
        assert!(reports < 1_000);
    }
    let skipped = slow.next_of("skipped").await;
    assert!(skipped["count"].as_u64().unwrap() > 0);
    drop((slow, good));
    // The places are free again soon.
    for attempt in 0.. {
        let mut next = world.events("/topics/orders/tail").await;
        if next.next().await.is_some() {
            break;
        }
        assert!(attempt < 100, "the place of a tail that ended stays taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_export_is_the_form_that_the_command_line_reads() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", [Record::keyed("ada", &b"a,\"b\"\n"[..])]).await;
    world.send("orders", [&[0xff_u8][..]]).await;
    let export = world.request("GET", "/api/v1/topics/orders/export", "", "").await;
    assert!(export.head.contains("attachment; filename=\"orders.jsonl\""), "{}", export.head);
    let lines: Vec<_> = export.body.lines().filter(|line| line.starts_with('{')).collect();
    let parsed: Vec<_> = lines.iter().map(|line| ParsedRecord::from_json(line.as_bytes()).unwrap()).collect();
    assert_eq!(parsed.len(), 2);
    assert_eq!(&parsed[0].record.value[..], b"a,\"b\"\n");
    assert_eq!(&parsed[1].record.value[..], [0xff]);
    let csv = world.request("GET", "/api/v1/topics/orders/export?format=csv&where=key", "", "").await;
    assert!(
        csv.body.contains("topic,partition,offset") && csv.body.contains("ada,\"a,\"\"b\"\"\n\""),
        "{}",
        csv.body
    );
}
