//! Records that leave a topic as text and come back, and records that are selected.

use floe_server::testkit::TestServer;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{cluster::Cluster, support::Dir};

/// Records with every kind of key, value and header, as JSON lines.
fn records() -> String {
    let bytes = |at: usize| match at % 5 {
        0 => json!("plain"),
        1 => json!("line\nbreak, \"quotes\" and \u{202e}\0"),
        2 => json!({ "b64": "/wD+" }),
        3 => json!(""),
        _ => json!("{\"b64\":\"not encoded\"}"),
    };
    let mut lines = String::new();
    for at in 0..60 {
        let key = if at % 3 == 0 { Value::Null } else { bytes(at / 3) };
        let headers: Vec<_> =
            (0..at % 4).map(|n| json!({ "name": format!("h{}", n % 2), "value": bytes(at + n) })).collect();
        let record = json!({
            "partition": at % 2, "timestamp": 1_700_000_000_000_i64 + i64::try_from(at).unwrap(),
            "headers": headers, "key": key, "value": bytes(at / 2),
        });
        lines += &format!("{record}\n");
    }
    lines
}

/// Parsed records without their topics and offsets.
fn contents(jsonl: &[u8]) -> Vec<Value> {
    let mut records: Vec<Value> =
        serde_json::Deserializer::from_slice(jsonl).into_iter().collect::<Result<_, _>>().unwrap();
    for record in &mut records {
        let record = record.as_object_mut().unwrap();
        record.remove("topic");
        record.remove("offset");
    }
    records.sort_by_key(|record| (record["partition"].as_u64(), record["timestamp"].as_i64()));
    records
}

fn comes_back(dir: &Dir, url: &str, format: &str) {
    for topic in ["from", "to"] {
        dir.run(&["--url", url, "topic", "create", topic, "--partitions", "2"]).ok();
    }
    let keep = ["--keep-timestamps", "--keep-partitions"];
    dir.feed(
        &[&["--url", url, "produce", "from", "--input", "jsonl"], &keep[..]].concat(),
        records().as_bytes(),
    )
    .ok();
    let read = |topic: &str, format: &str| {
        dir.run(&["--url", url, "consume", topic, "-e", "-o", format]).ok().stdout
    };
    let first = read("from", format);
    dir.feed(&[&["--url", url, "produce", "to", "--input", format], &keep[..]].concat(), &first).ok();
    let (before, mut after) = (contents(&read("from", "jsonl")), contents(&read("to", "jsonl")));
    assert_eq!(before.len(), 60);
    if format == "csv" {
        // A missing key and an empty one are the same field.
        let same = |record: &mut Value| {
            if record["key"] == "" {
                record["key"] = Value::Null;
            }
        };
        let mut before = before;
        before.iter_mut().for_each(same);
        after.iter_mut().for_each(same);
        return assert_eq!(before, after, "{url} {format}");
    }
    assert_eq!(before, after, "{url} {format}");
    assert_eq!(before, contents(records().as_bytes()), "{url}: as they were sent");
}

#[test]
fn records_come_back_as_they_were_in_a_store() {
    for format in ["jsonl", "csv"] {
        comes_back(&Dir::new(), "embedded:./data", format);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_as_they_were_over_the_network() {
    let server = TestServer::start().await.unwrap();
    let url = format!("fluvio://{}", server.fluvio_address());
    comes_back(&Dir::new(), &url, "jsonl");
    server.stop().await.unwrap();
}

/// Reading removes, so that each topic is read once; keys, values, headers and times come back.
#[test]
fn records_come_back_as_they_were_over_walrus() {
    let (dir, cluster) = (Dir::new(), Cluster::start());
    let url = cluster.walrus_url();
    let run = |args: &[&str], input: &[u8]| dir.feed(&[&["--url", &url], args].concat(), input).ok().stdout;
    for topic in ["from", "to"] {
        run(&["topic", "create", topic], b"");
    }
    // One partition, so that the times give the order.
    let sent = contents(records().as_bytes()).into_iter().map(|mut record| {
        record["partition"] = 0.into();
        record
    });
    let mut sent: Vec<Value> = sent.collect();
    sent.sort_by_key(|record| record["timestamp"].as_i64());
    let lines: String = sent.iter().map(|record| format!("{record}\n")).collect();
    run(&["produce", "from", "--input", "jsonl", "--keep-timestamps"], lines.as_bytes());
    let read = run(&["consume", "from", "-e", "-o", "jsonl"], b"");
    run(&["produce", "to", "--input", "jsonl", "--keep-timestamps"], &read);
    assert_eq!(contents(&run(&["consume", "to", "-e", "-o", "jsonl"], b"")), sent);
}

/// Any bytes as `consume` writes them: text where they are text.
fn any_bytes() -> impl Strategy<Value = Value> {
    let text = "\\PC{0,12}|[\\x00-\\x1f\"\\\\,\r\n]{0,6}".prop_map(Value::from);
    let bytes = prop::collection::vec(any::<u8>(), 0..24).prop_map(|bytes| match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(bytes) => {
            let encoded =
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes.into_bytes());
            json!({ "b64": encoded })
        }
    });
    prop_oneof![text, bytes]
}

fn any_record() -> impl Strategy<Value = Value> {
    let header =
        ("[a-z ]{1,5}", any_bytes()).prop_map(|(name, value)| json!({ "name": name, "value": value }));
    let headers = prop::collection::vec(header, 0..4);
    (0..2, prop::option::of(any_bytes()), any_bytes(), headers).prop_map(|(partition, key, value, headers)| {
        json!({ "partition": partition, "key": key, "value": value, "headers": headers })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// consume → produce → consume is the identity.
    #[test]
    fn any_records_come_back_as_they_were(all in prop::collection::vec(any_record(), 1..40)) {
        let dir = Dir::new();
        for topic in ["from", "to"] {
            dir.run(&["topic", "create", topic, "--partitions", "2"]).ok();
        }
        let lines = all.iter().zip(1_700_000_000_000_i64..).map(|(record, time)| {
            let mut record = record.clone();
            record["timestamp"] = time.into();
            format!("{record}\n")
        });
        let sent: String = lines.collect();
        let produce = |topic: &str, input: &[u8]| {
            let args = ["produce", topic, "--input", "jsonl", "--keep-timestamps", "--keep-partitions"];
            dir.feed(&args, input).ok();
        };
        let read = |topic: &str| dir.run(&["consume", topic, "-e", "-o", "jsonl"]).ok().stdout;
        produce("from", sent.as_bytes());
        let first = read("from");
        prop_assert_eq!(contents(&first), contents(sent.as_bytes()));
        produce("to", &first);
        prop_assert_eq!(contents(&read("to")), contents(&first));
    }
}

#[test]
fn values_alone_come_back_with_their_bytes() {
    for format in ["null", "length-prefixed"] {
        let dir = Dir::with_topics(&["from", "to"]);
        let input: &[u8] =
            if format == "null" { b"a\nb\0\0c\xff\0" } else { b"\0\0\0\x02a\0\0\0\0\0\0\0\0\x01\xff" };
        dir.feed(&["produce", "from", "--input", format], input).ok();
        let read = |topic: &str| dir.run(&["consume", topic, "-e", "-o", format]).ok().stdout;
        assert_eq!(read("from"), input, "{format}");
        dir.feed(&["produce", "to", "--input", format], &read("from")).ok();
        assert_eq!(read("to"), input, "{format}");
    }
}

#[test]
fn a_mistake_in_the_input_is_told_with_its_line() {
    let dir = Dir::with_topics(&["t"]);
    let run = dir.feed(&["produce", "t", "--input", "jsonl"], b"{\"value\":\"1\"}\n{\"vale\":\"2\"}\n");
    run.code(8).mentions("line 2 of the input is not a record").mentions("vale");
    dir.run(&["consume", "t", "-e"]).ok().prints("1\n");
    dir.feed(&["produce", "t", "--input", "jsonl"], b"plain text\n").code(1).mentions("line 1");
    dir.feed(&["produce", "t", "--input", "csv"], b"key,text\n").code(1).mentions("unknown column");
    dir.feed(&["produce", "t", "--keep-timestamps"], b"x\n").code(2).mentions("--input jsonl or csv");
    dir.feed(
        &["produce", "t", "--input", "jsonl", "--keep-partitions"],
        b"{\"value\":\"x\",\"partition\":7}\n",
    )
    .code(3)
    .mentions("partition");
    dir.run(&["topic", "list", "-o", "csv"]).code(2).mentions("consume");
}

fn orders() -> Dir {
    let dir = Dir::with_topics(&["orders-1", "orders-2", "other"]);
    for (topic, from) in [("orders-1", 0), ("orders-2", 5), ("other", 100)] {
        let lines: String =
            (from..from + 5).map(|n| format!("{{\"n\":{n},\"a\":{{\"b\":{}}}}}\n", n % 2)).collect();
        dir.feed(&["produce", topic], lines.as_bytes()).ok();
    }
    dir
}

fn numbers(output: &[u8]) -> Vec<u64> {
    let lines = std::str::from_utf8(output).unwrap().lines();
    let mut numbers: Vec<_> =
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn filters_select_records() {
    let dir = orders();
    let read =
        |args: &[&str]| numbers(&dir.run(&[&["consume", "orders-1", "-e"], args].concat()).ok().stdout);
    assert_eq!(read(&["--where", ".a.b = 1"]), [1, 3]);
    assert_eq!(read(&["--grep", "\"n\":2"]), [2]);
    assert_eq!(read(&["--where", ".a.b = 0", "--grep", "\"n\":4"]), [4]);
    assert_eq!(read(&["--where", ".a.b = 0", "-n", "2"]), [0, 2]);
    assert_eq!(read(&["--where", "offset > 2"]), [3, 4]);
    let run = dir.run(&["consume", "orders-1", "-e", "--where", ".a.b = "]);
    run.code(2).mentions("at byte 7").mentions("^");
}

#[test]
fn several_topics_and_patterns_are_read_together() {
    let dir = orders();
    let read = |args: &[&str]| numbers(&dir.run(&[&["consume", "-e"], args].concat()).ok().stdout);
    assert_eq!(read(&["orders-1", "other"]), [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
    assert_eq!(read(&["orders-*"]), (0..10).collect::<Vec<_>>());
    assert_eq!(read(&["orders-*", "orders-1", "--tail", "3"]).len(), 3);
    dir.run(&["consume", "none-*", "-e"]).code(3).mentions("no topic matches");
    dir.run(&["consume", "orders-1", "none", "-e"]).code(3).mentions("topic_not_found");
}

#[test]
fn the_newest_records_come_first_and_then_the_new_ones() {
    let dir = Dir::new();
    let server = tokio::runtime::Runtime::new().unwrap();
    let (server, url) = {
        let runtime = server;
        let started = runtime.block_on(TestServer::start()).unwrap();
        let url = format!("fluvio://{}", started.fluvio_address());
        ((runtime, started), url)
    };
    dir.run(&["--url", &url, "topic", "create", "t", "--partitions", "3"]).ok();
    for n in 0..9 {
        dir.feed(&["--url", &url, "produce", "t"], format!("{n}\n").as_bytes()).ok();
    }
    let mut tail = dir.start(&["--url", &url, "consume", "t", "--tail", "3", "-n", "4"]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    let next = |lines: &mut std::io::Lines<_>| lines.next().unwrap().unwrap();
    assert_eq!([next(&mut lines), next(&mut lines), next(&mut lines)], ["6", "7", "8"]);
    dir.feed(&["--url", &url, "produce", "t"], b"9\n").ok();
    assert_eq!(next(&mut lines), "9");
    assert!(tail.wait().unwrap().success());
    let (runtime, started) = server;
    runtime.block_on(started.stop()).unwrap();
}

#[cfg(unix)]
#[test]
fn values_are_decoded_in_their_order() {
    let dir = Dir::with_topics(&["t"]);
    let lines: String = (0..30).map(|n| format!("{n}\n")).collect();
    dir.feed(&["produce", "t"], lines.as_bytes()).ok();
    // The first takes longest.
    let slow = "read n; test $n = 0 && sleep 0.2; echo $((n * 2))";
    let expected: String = (0..30).map(|n| format!("{}\n", n * 2)).collect();
    dir.run(&["consume", "t", "-e", "--decode", slow]).ok().prints(&expected);
    let run = dir.run(&["consume", "t", "-e", "--decode", "read n; test $n != 3 || exit 4; echo $n"]);
    run.code(1).mentions("exit status: 4").mentions("t/0/3");
}

#[test]
fn rates_and_lag_are_told_each_second() {
    let dir = orders();
    let mut run = dir.start(&["consume", "orders-1", "-B", "--stats"]);
    let told =
        std::io::BufRead::lines(std::io::BufReader::new(run.stderr.take().unwrap())).next().unwrap().unwrap();
    assert!(told.contains("records/s") && told.contains("5 in all") && told.contains("lag 0"), "{told}");
}
