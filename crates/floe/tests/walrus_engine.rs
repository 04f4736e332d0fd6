//! The Walrus engine on a healthy cluster.

mod walrus;

use std::{task::Poll, time::Duration};

use floe::{
    Codec, ErrorKind, Record, TopicSpec,
    consumer::StartAt,
    engine::{AppendRequest, Engine, ReadRequest, Start},
};
use floe_testkit::walrus::Cluster;
use walrus::{client, consumer, numbered, read, try_client};

#[tokio::test(start_paused = true)]
async fn records_keep_all_that_belongs_to_them() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").compression(Codec::Zstd).start().await.unwrap();
    let binary = vec![0, 0xff, b' ', b'\n'];
    let record =
        Record::keyed("ada", binary.clone()).header("trace", vec![0xfe]).timestamp(1_700_000_000_000);
    let placed = producer.send(record).await.unwrap();
    assert_eq!((placed.partition, placed.offset), (0, None), "Walrus gives no offsets");
    producer.send("").await.unwrap();
    let _ = producer.close().await.unwrap();
    let entries = cluster.entries("orders");
    assert!(entries.iter().all(|entry| entry.starts_with(b"floe1:") && entry.is_ascii()));

    let mut consumer = consumer(&client, "orders").await;
    let message = consumer.try_next().await.unwrap().unwrap();
    assert_eq!((message.key.as_deref(), &message.value[..]), (Some(&b"ada"[..]), &binary[..]));
    assert_eq!(
        (message.headers.get("trace"), message.timestamp),
        (Some(&[0xfe][..]), Some(1_700_000_000_000))
    );
    assert_eq!(consumer.try_next().await.unwrap().unwrap().value, "");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_records_share_entries_that_fit_a_frame() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let producer = client.producer("orders").linger(Duration::from_millis(5)).start().await.unwrap();
    // Incompressible values.
    let values: Vec<Vec<u8>> = (0..3000u64)
        .map(|number| {
            (0..100u64)
                .map(|at| ((number * 7919 + at * 104_729).wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect()
        })
        .collect();
    producer.send_all(values.clone()).await.unwrap();
    let entries = cluster.entries("orders");
    assert!((5..=10).contains(&entries.len()), "{} entries for 300 kB", entries.len());
    assert!(entries.iter().all(|entry| entry.len() + "PUT orders ".len() <= 65_536));
    let mut consumer = consumer(&client, "orders").await;
    for value in values {
        assert_eq!(consumer.try_next().await.unwrap().unwrap().value, value);
    }
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_a_frame_is_refused_with_the_limit() {
    let cluster = Cluster::with_topic(1, "orders");
    for (framing, limit) in [("packed", "48951"), ("plain", "65349")] {
        let client = client(&cluster, &format!("framing={framing}")).await;
        let producer = client.producer("orders").start().await.unwrap();
        let error = producer.send("x".repeat(70_000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
        assert!(error.to_string().contains(limit), "{error}");
        producer.send("fine").await.unwrap();
        client.close().await.unwrap();
    }
    assert_eq!(cluster.entries("orders").len(), 2, "the connections stayed usable");
}

#[tokio::test(start_paused = true)]
async fn plain_records_are_entries_as_other_clients_write_them() {
    let cluster = Cluster::with_topic(1, "logs");
    let client = client(&cluster, "framing=plain").await;
    let producer = client.producer("logs").start().await.unwrap();
    let values = ["one", "  two\nlines", "\u{1f41f} ERR no", "OK x"];
    producer.send_all(values).await.unwrap();
    assert_eq!(cluster.entries("logs"), values.map(|value| value.as_bytes().to_vec()));
    cluster.put("logs", "from elsewhere");
    let mut consumer = consumer(&client, "logs").await;
    let expected: Vec<_> = values.into_iter().chain(["from elsewhere"]).collect();
    assert_eq!(read(&mut consumer, 5).await, expected);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn plain_refuses_what_text_cannot_carry_and_sends_the_rest() {
    let cluster = Cluster::with_topic(1, "logs");
    let client = client(&cluster, "framing=plain").await;
    let producer = client.producer("logs").linger(Duration::from_secs(1)).start().await.unwrap();
    let before = producer.enqueue("before").await.unwrap();
    let table: [(Record<Vec<u8>>, ErrorKind, &str); 5] = [
        (Record::keyed("k", b"x".to_vec()), ErrorKind::Unsupported, "keys"),
        (Record::new(b"x".to_vec()).header("h", "v"), ErrorKind::Unsupported, "headers"),
        (Record::new(vec![0xff]), ErrorKind::InvalidCommand, "UTF-8"),
        (Record::new(b"x \n".to_vec()), ErrorKind::InvalidCommand, "white space"),
        (Record::new(Vec::new()), ErrorKind::InvalidCommand, "empty"),
    ];
    for (record, kind, words) in table {
        let error = producer.enqueue(record).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{words}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let after = producer.enqueue("after").await.unwrap();
    before.await.unwrap();
    after.await.unwrap();
    assert_eq!(cluster.entries("logs"), [b"before".to_vec(), b"after".to_vec()]);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn readers_understand_both_framings_entry_by_entry() {
    let cluster = Cluster::with_topic(1, "mixed");
    let packed = client(&cluster, "framing=packed").await;
    let plain = client(&cluster, "framing=plain").await;
    for reader in [&packed, &plain] {
        let a = packed.producer("mixed").start().await.unwrap();
        let b = plain.producer("mixed").start().await.unwrap();
        a.send("packed-1").await.unwrap();
        b.send("plain-2").await.unwrap();
        cluster.put("mixed", "floe1:not a batch");
        cluster.put("mixed", "");
        a.send("packed-3").await.unwrap();
        let mut consumer = consumer(reader, "mixed").await;
        let expected = ["packed-1", "plain-2", "floe1:not a batch", "", "packed-3"];
        assert_eq!(read(&mut consumer, 5).await, expected);
    }
    packed.close().await.unwrap();
    plain.close().await.unwrap();
}

/// Polls at most this many times, with yields in between, and then drops the future.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..times {
        let polled = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_reader_dropped_anywhere_loses_nothing() {
    for options in ["", "prefetch=3"] {
        let cluster = Cluster::with_topic(1, "orders");
        let (client, engine) = try_client(&cluster, options).await.unwrap();
        let values = numbered("entry", 0..60);
        for value in &values {
            cluster.put("orders", value);
        }
        let mut found = Vec::new();
        for round in 0.. {
            if found.len() == values.len() {
                break;
            }
            assert!(round < 10_000, "only {} of {} came", found.len(), values.len());
            let mut reader = engine.open(from_the_cursor()).await.unwrap();
            if let Some(batch) = poll_times(reader.next(), 1 + round % 7).await {
                let batch = batch.unwrap().unwrap();
                found.extend(
                    batch
                        .records()
                        .unwrap()
                        .map(|one| String::from_utf8(one.unwrap().value.to_vec()).unwrap()),
                );
            }
        }
        assert_eq!(found, values);
        client.close().await.unwrap();
    }
}

fn from_the_cursor() -> ReadRequest {
    ReadRequest::new(floe::Topic::from("orders").partition(0), Start::Earliest).max_bytes(1 << 20)
}

#[tokio::test(start_paused = true)]
async fn batches_are_used_where_the_server_knows_them() {
    let cluster = Cluster::with_topic(1, "logs");
    cluster.enable_batches();
    let client = client(&cluster, "framing=plain").await;
    let producer = client.producer("logs").linger(Duration::from_millis(5)).start().await.unwrap();
    let values = numbered("value", 0..5000);
    producer.send_all(values.clone()).await.unwrap();
    assert_eq!(cluster.received(1, "PUT"), 0);
    assert!((3..20).contains(&cluster.received(1, "BATCH_PUT")), "{}", cluster.received(1, "BATCH_PUT"));
    let mut consumer = consumer(&client, "logs").await;
    assert_eq!(read(&mut consumer, 5000).await, values);
    assert_eq!(cluster.received(1, "GET"), 0);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_and_described() {
    let cluster = Cluster::new(3);
    let client = client(&cluster, "").await;
    let admin = client.admin();
    assert_eq!(admin.topic("orders").await.unwrap_err().kind(), ErrorKind::TopicNotFound);
    assert_eq!(client.producer("orders").start().await.unwrap_err().kind(), ErrorKind::TopicNotFound);
    admin.create_topic(TopicSpec::new("orders")).await.unwrap();
    assert_eq!(admin.topic("orders").await.unwrap().partitions, 1);
    let again = admin.create_topic(TopicSpec::new("orders")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::TopicAlreadyExists);
    for spec in [
        TopicSpec::new("other").partitions(2),
        TopicSpec::new("other").durability(floe::Durability::Always),
        TopicSpec::new("other").retention_bytes(1),
    ] {
        assert_eq!(admin.create_topic(spec).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(admin.topics().await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(admin.delete_topic("orders").await.unwrap_err().kind(), ErrorKind::Unsupported);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_created_topic_is_known_to_every_node_that_is_up() {
    let cluster = Cluster::new(3);
    let client = client(&cluster, "").await;
    client.health().await.unwrap();
    cluster.set(3, floe_testkit::walrus::Mode::Down);
    cluster.delay_metadata(2, 6);
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    assert!(cluster.received(2, "STATE") > 6, "asked until it knew");
    client.producer("orders").start().await.unwrap().send("x").await.unwrap();
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn invalid_topic_name_is_refused_before_any_request() {
    let cluster = Cluster::with_topic(1, "a");
    let client = client(&cluster, "").await;
    let before = cluster.commands(1).len();
    let error = client.producer("a b").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCommand);
    assert!(error.to_string().contains("white space"), "{error}");
    assert_eq!(
        client.consumer("a\nb").from(StartAt::Beginning).start().await.unwrap_err().kind(),
        ErrorKind::InvalidCommand
    );
    let long = "x".repeat(256);
    assert_eq!(client.admin().topic(long).await.unwrap_err().kind(), ErrorKind::InvalidCommand);
    // Background tasks may have requested metrics.
    let sent = cluster.commands(1).split_off(before);
    assert!(sent.iter().all(|word| word == "METRICS" || word == "BATCH_GET"), "{sent:?}");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn health_names_every_node() {
    let cluster = Cluster::new(3);
    let client = client(&cluster, "").await;
    let health = client.health().await.unwrap();
    assert!(health.ready);
    let states: Vec<_> =
        health.nodes.iter().map(|node| (node.name.as_str(), node.ready, node.state.as_str())).collect();
    assert_eq!(
        states,
        [
            ("n1:9091", true, "node 1, leader, term 3"),
            ("n2:9091", true, "node 2, follower of 1, term 3"),
            ("n3:9091", true, "node 3, follower of 1, term 3"),
        ]
    );
    assert_eq!(health.leader.as_deref(), Some("n1:9091"));
    cluster.set(2, floe_testkit::walrus::Mode::Down);
    cluster.set_leader(None);
    let health = client.health().await.unwrap();
    assert_eq!((health.ready, health.leader), (false, None));
    assert!(health.nodes[1].state.contains("connection refused"), "{}", health.nodes[1].state);
    assert_eq!(health.nodes[2].state, "node 3, follower, no leader, term 3");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_readers_back_off_and_find_new_records_soon() {
    let cluster = Cluster::with_topic(1, "orders");
    let client = client(&cluster, "poll-min=10ms&poll-max=1s").await;
    let mut consumer = consumer(&client, "orders").await;
    let waiting = tokio::time::timeout(Duration::from_secs(60), consumer.try_next()).await;
    assert!(waiting.is_err(), "the topic is empty");
    let asked = cluster.received(1, "GET");
    assert!((60..=70).contains(&asked), "asked {asked} times in a minute");
    cluster.put("orders", "news");
    let found =
        tokio::time::timeout(Duration::from_secs(2), consumer.try_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(found.value, "news");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn writes_go_to_the_leader_or_as_balanced() {
    let cluster = Cluster::with_topic(3, "orders");
    cluster.set_leader(Some(3));
    let puts = |cluster: &Cluster| [1, 2, 3].map(|node| cluster.received(node, "PUT"));
    let client = client(&cluster, "balance=leader").await;
    // The pools learn node ids from their first connection.
    client.health().await.unwrap();
    let producer = client.producer("orders").start().await.unwrap();
    for value in numbered("a", 0..9) {
        producer.send(value).await.unwrap();
    }
    assert_eq!(puts(&cluster), [0, 0, 9]);
    client.close().await.unwrap();
    let client = walrus::client(&cluster, "balance=round-robin").await;
    let producer = client.producer("orders").start().await.unwrap();
    for value in numbered("b", 0..9) {
        producer.send(value).await.unwrap();
    }
    assert_eq!(puts(&cluster), [3, 3, 12]);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_topic_stay_on_one_node() {
    let cluster = Cluster::with_topic(3, "orders");
    let client = client(&cluster, "").await;
    let mut consumer = consumer(&client, "orders").await;
    for round in 0..20 {
        cluster.put("orders", &format!("entry-{round}"));
        assert_eq!(read(&mut consumer, 1).await, [format!("entry-{round}")]);
    }
    let asked = [1, 2, 3].map(|node| cluster.received(node, "GET"));
    assert_eq!(asked.iter().filter(|count| **count > 0).count(), 1, "{asked:?}");
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_begin_at_the_leader_or_where_the_topic_hashes_to() {
    let cluster = Cluster::with_topic(3, "orders");
    let gets = |cluster: &Cluster| [1, 2, 3].map(|node| cluster.received(node, "GET"));
    for leader in 1..=3 {
        cluster.set_leader(Some(leader));
        let before = gets(&cluster);
        let client = client(&cluster, "").await;
        client.health().await.unwrap();
        cluster.put("orders", "entry");
        read(&mut consumer(&client, "orders").await, 1).await;
        let after = gets(&cluster);
        let asked: Vec<_> = (1..=3).filter(|node| after[node - 1] > before[node - 1]).collect();
        assert_eq!(asked, [leader]);
        client.close().await.unwrap();
    }
    let mut hashed = std::collections::BTreeSet::new();
    for leader in 1..=3 {
        cluster.set_leader(Some(leader));
        let before = gets(&cluster);
        let client = client(&cluster, "balance=consistent-hash").await;
        cluster.put("orders", "entry");
        read(&mut consumer(&client, "orders").await, 1).await;
        let after = gets(&cluster);
        hashed.extend((1..=3).filter(|node| after[node - 1] > before[node - 1]));
        client.close().await.unwrap();
    }
    assert_eq!(hashed.len(), 1, "independent of the leader");
}

#[tokio::test(start_paused = true)]
async fn missing_capabilities_are_refused_before_any_request() {
    let cluster = Cluster::with_topic(1, "orders");
    let (client, engine) = try_client(&cluster, "").await.unwrap();
    let capabilities = engine.info().capabilities;
    assert!(capabilities.consuming_reads && capabilities.keys && capabilities.headers && capabilities.binary);
    assert!(!capabilities.partitions && !capabilities.offsets && !capabilities.commit_offsets);
    assert!(!capabilities.list_topics && !capabilities.delete_topic);
    let at = floe::Topic::from("orders").partition(0);
    let refused = |kind: ErrorKind| assert_eq!(kind, ErrorKind::Unsupported);
    refused(engine.watermarks(at.clone()).await.unwrap_err().kind());
    refused(engine.offset_for_time(at.clone(), 1).await.unwrap_err().kind());
    refused(engine.commit("g".into(), vec![(at.clone(), 1)]).await.unwrap_err().kind());
    refused(engine.committed("g".into(), at).await.unwrap_err().kind());
    refused(client.consumer("orders").from(StartAt::Offset(3)).start().await.unwrap_err().kind());
    refused(client.consumer("orders").group("g").start().await.unwrap_err().kind());
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_after_close_are_refused() {
    let cluster = Cluster::with_topic(2, "orders");
    let (client, engine) = try_client(&cluster, "").await.unwrap();
    let mut waiting = consumer(&client, "orders").await;
    let mut reader = engine.open(from_the_cursor()).await.unwrap();
    let (next, closed) = tokio::join!(reader.next(), engine.close());
    closed.unwrap();
    assert_eq!(next.unwrap_err().kind(), ErrorKind::Closed, "close ends a waiting reader");
    assert!(waiting.try_next().await.is_err());
    let mut builder = floe_wire::batch::BatchBuilder::new(64);
    builder.append(1, None, b"x", &[]).unwrap();
    let request = AppendRequest::new(
        floe::Topic::from("orders").partition(0),
        builder.finish(floe_wire::batch::FinishOptions::default()).unwrap(),
        floe::engine::Acks::Leader,
    );
    assert_eq!(engine.append(request).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.health().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.topic("orders".into()).await.unwrap_err().kind(), ErrorKind::Closed);
    engine.close().await.unwrap();
}
