//! The console over other engines than that of its own server, and inside an application.

use floe::{Client, Message, Record, TopicSpec, processor::Failure};
use floe_server::testkit::TestServer;
use serde_json::{Value, json};

use crate::{World, code};

#[tokio::test]
async fn an_application_sees_its_own_producers_consumers_processors_and_outboxes() {
    let client = Client::connect("memory:").await.unwrap();
    for topic in ["orders", "invoices", "orders-dead"] {
        client.admin().create_topic(TopicSpec::new(topic)).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let producer = client.producer("invoices").start().await.unwrap();
    let consumer = client.consumer("invoices").group("billing").start().await.unwrap();
    let processor = client
        .processor("orders", "invoices")
        .map(async |order: Message<_>| Ok::<_, Failure>(Record::new(order.value)))
        .start()
        .await
        .unwrap();
    let outbox = client.producer("orders").outbox(folder.path()).start().await.unwrap();
    outbox.send("one coffee").await.unwrap();
    outbox.drained().await.unwrap();

    let world = World::mounted(client).await;
    let (_, server) = world.get("/server").await;
    let open = server["components"].as_array().unwrap();
    let of = |kind: &str, topic: &str| -> &Value {
        let found = open.iter().find(|one| one["kind"] == kind && one["topic"] == topic);
        found.unwrap_or_else(|| panic!("no {kind} of {topic}: {server}"))
    };
    assert!(of("producer", "invoices")["limit"].as_u64().unwrap() > 0);
    assert_eq!(of("consumer", "invoices")["group"], "billing");
    let running = of("processor", "orders");
    assert_eq!((&running["to"], &running["group"]), (&json!("invoices"), &json!("orders-to-invoices")));
    let sending = of("outbox", "orders");
    assert!(sending["limit"].as_u64() > sending["used"].as_u64());
    for counter in [json!({ "name": "delivered", "value": 1 }), json!({ "name": "waiting", "value": 0 })] {
        assert!(sending["counters"].as_array().unwrap().contains(&counter), "{sending}");
    }
    assert_eq!(server["serving"], Value::Null);

    let _ = processor.stop().await.unwrap();
    consumer.close().await.unwrap();
    outbox.close().await.unwrap();
    let _ = producer.close().await.unwrap();
    let kinds = |server: &Value| -> Vec<String> {
        let open = server["components"].as_array().unwrap();
        open.iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!kinds(&world.get("/server").await.1).contains(&"processor".to_owned()));
}

#[tokio::test]
async fn partitions_of_a_cluster_have_a_leader_and_replicas() {
    let cluster = TestServer::start().await.unwrap();
    let client = Client::connect(&format!("fluvio://{}", cluster.fluvio_address())).await.unwrap();
    let world = World::mounted(client).await;
    let (status, created) = world.post("/topics", &json!({ "name": "orders", "partitions": 2 })).await;
    assert_eq!(status, 201, "{created}");
    world.send("orders", ["one", "two"]).await;
    let (_, topic) = world.get("/topics/orders").await;
    let (_, server) = world.get("/server").await;
    for partition in topic["partition_details"].as_array().unwrap() {
        let leader = &partition["leader"];
        assert_eq!(partition["replicas"], json!([leader]));
        assert!(leader.as_str().unwrap().contains("5001"), "{partition}");
        assert!(partition["start_offset"].is_number() && partition["high_watermark"].is_number());
    }
    assert_eq!(topic["records"], 2, "{topic} {server}");
    // An engine without servers has none.
    let alone = World::new().await;
    alone.topic("orders", 1).await;
    let (_, topic) = alone.get("/topics/orders").await;
    let partition = &topic["partition_details"][0];
    assert_eq!((&partition["leader"], &partition["replicas"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn an_engine_that_lists_nothing_opens_topics_by_name_and_takes_records() {
    let cluster = TestServer::start().await.unwrap();
    let client = Client::connect(&format!("walrus://{}", cluster.walrus_address())).await.unwrap();
    let world = World::mounted(client).await;
    let (_, info) = world.get("/info").await;
    let can = &info["capabilities"];
    assert_eq!((&can["offsets"], &can["list_topics"]), (&json!(false), &json!(false)), "{info}");
    assert_eq!(world.post("/topics", &json!({ "name": "orders" })).await.0, 201);
    let (status, topic) = world.get("/topics/orders").await;
    assert_eq!((status, &topic["name"], &topic["partition_details"]), (200, &json!("orders"), &json!([])));
    assert_eq!(code(&world.get("/topics/none").await.1), "topic_not_found");
    assert_eq!(world.post("/topics/orders/records", &json!({ "value": "one" })).await.0, 201);
    let (status, overview) = world.get("/overview").await;
    assert_eq!((status, &overview["totals"]["topics"]), (200, &Value::Null), "{overview}");
    assert_eq!(world.get("/server").await.0, 200);
    for path in [
        "/topics",
        "/topics/orders/scan",
        "/topics/orders/tail",
        "/topics/orders/export",
        "/topics/orders/records/0/0",
        "/topics/orders/dead-letters",
        "/groups",
        "/dead-letters",
    ] {
        let (status, refused) = world.get(path).await;
        assert_eq!((status, code(&refused)), (400, "unsupported"), "{path}: {refused}");
    }
    assert_eq!(world.get("/topics").await.1["error"]["hint"].as_str().map(str::is_empty), Some(false));
    assert_eq!(world.delete("/topics/orders").await.0, 400);
    // None of these has taken the record away.
    let mut orders = cluster.client().consumer("orders").from(floe::consumer::StartAt::Beginning);
    orders = orders.stop_at_end();
    let mut orders = orders.start().await.unwrap();
    assert_eq!(&orders.try_next().await.unwrap().unwrap().value[..], b"one");
}
