//! Topics, records, groups and dead letters.

use floe::{
    Record,
    consumer::{AckMode, OnUndecodable, StartAt},
};
use serde_json::{Value, json};

use crate::{World, code, numbered};

#[tokio::test]
async fn the_openapi_document_lists_the_requests_that_the_server_answers() {
    let world = World::new().await;
    let (status, document) = world.get("/openapi.json").await;
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 15);
    let manual = include_str!("../../../../docs/api.md");
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let line = format!("{} {path}", method.to_uppercase());
            assert!(manual.contains(&line), "docs/api.md does not describe {line}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            let path = path.replace("{topic}", "none").replace("{group}", "none");
            let path = path.replace("{partition}", "0").replace("{offset}", "0");
            let headers = "content-type: application/json\r\n";
            let body = if method == "get" { "" } else { "{}" };
            let method = method.to_uppercase();
            let reply = world.request(&method, &format!("/api/v1{path}?where=key"), headers, body).await;
            let unknown = reply.json()["error"]["code"] == "no_such_request";
            assert!(!unknown && reply.status != 405, "{method} {path}: {}", reply.body);
        }
    }
    assert_eq!(code(&world.get("/nothing").await.1), "no_such_request");
    assert_eq!(world.delete("/info").await.0, 405);
}

/// Fails unless an object has exactly the documented fields, or fewer where some are optional.
fn has_the_fields(object: &Value, schema: &Value, optional: &[&str]) {
    let documented = schema["properties"].as_object().unwrap_or_else(|| panic!("no properties: {schema}"));
    let found = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    for name in found.keys() {
        assert!(documented.contains_key(name), "{name} is not documented: {object}");
    }
    for name in documented.keys() {
        assert!(found.contains_key(name) || optional.contains(&name.as_str()), "no {name}: {object}");
    }
}

#[tokio::test]
async fn answers_have_the_fields_of_the_openapi_document() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", numbered(0..3)).await;
    let at = floe::Topic::from("orders").partition(0);
    world.client().admin().set_committed_offset("billing", at, 1).await.unwrap();
    let (_, document) = world.get("/openapi.json").await;
    let answer = |path: &str, method: &str| {
        document["paths"][path][method]["responses"]["2XX"]["content"]["application/json"]["schema"].clone()
    };
    for (path, at, optional) in [
        ("/info", "/info", &[][..]),
        ("/overview", "/overview", &[]),
        ("/server", "/server", &[]),
        ("/filter", "/filter?where=key", &["error"]),
        ("/topics", "/topics", &[]),
        ("/topics/{topic}", "/topics/orders", &[]),
        ("/topics/{topic}/records/{partition}/{offset}", "/topics/orders/records/0/0", &[]),
        ("/groups", "/groups", &[]),
        ("/groups/{group}", "/groups/billing", &[]),
        ("/dead-letters", "/dead-letters", &[]),
        ("/topics/{topic}/dead-letters", "/topics/orders/dead-letters", &[]),
    ] {
        let (status, found) = world.get(at).await;
        assert_eq!(status, 200, "{at}: {found}");
        has_the_fields(&found, &answer(path, "get"), optional);
    }
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    let (_, topic) = world.get("/topics/orders").await;
    has_the_fields(&topic["partition_details"][0], &schema("Partition"), &["error"]);
    has_the_fields(&topic["rates"], &schema("Rates"), &[]);
    let (_, topics) = world.get("/topics").await;
    has_the_fields(&topics["topics"][0], &schema("TopicSummary"), &[]);
    let (_, groups) = world.get("/groups").await;
    has_the_fields(&groups["groups"][0], &schema("GroupSummary"), &[]);
    let (_, server) = world.get("/server").await;
    has_the_fields(&server["components"][0], &schema("Component"), &[]);
    let (_, sent) = world.post("/topics/orders/records", &json!({ "value": "x" })).await;
    has_the_fields(&sent, &answer("/topics/{topic}/records", "post"), &[]);
}

#[tokio::test]
async fn a_topic_is_created_described_extended_and_deleted() {
    let world = World::new().await;
    let new = json!({ "name": "orders", "partitions": 2, "retention_age_ms": 60_000 });
    let (status, created) = world.post("/topics", &new).await;
    assert_eq!((status, created["partitions"].as_u64()), (201, Some(2)), "{created}");
    assert_eq!(code(&world.post("/topics", &new).await.1), "topic_already_exists");
    let (status, grown) = world.post("/topics/orders/partitions", &json!({ "partitions": 3 })).await;
    assert_eq!((status, grown["partition_details"].as_array().unwrap().len()), (200, 3));
    world.send("orders", numbered(0..30)).await;
    let (_, described) = world.get("/topics/orders").await;
    assert_eq!(described["records"], 30);
    assert_eq!(described["retention_age_ms"], 60_000);
    for bad in
        [json!({}), json!({ "name": "" }), json!({ "name": "a b" }), json!({ "name": "x", "partitions": 0 })]
    {
        assert_eq!(world.post("/topics", &bad).await.0, 400, "{bad}");
    }
    assert_eq!(world.delete("/topics/orders").await.0, 204);
    assert_eq!(code(&world.get("/topics/orders").await.1), "topic_not_found");
    assert_eq!(world.delete("/topics/orders").await.0, 404);
}

#[tokio::test]
async fn lists_are_searched_sorted_and_divided() {
    let world = World::new().await;
    for number in 0..30 {
        world.topic(&format!("topic-{number:02}"), 1 + number % 3).await;
    }
    let names = |answer: &serde_json::Value| -> Vec<String> {
        let topics = answer["topics"].as_array().unwrap();
        topics.iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect()
    };
    let (_, page) = world.get("/topics?limit=2&skip=3").await;
    assert_eq!(
        (names(&page), page["total"].as_u64()),
        (vec!["topic-03".into(), "topic-04".into()], Some(30))
    );
    let (_, page) = world.get("/topics?search=TOPIC-1&sort=partitions&order=desc&limit=1").await;
    assert_eq!((names(&page), page["total"].as_u64()), (vec!["topic-11".to_owned()], Some(10)));
    let (_, page) = world.get("/topics?search=none").await;
    assert_eq!(page["total"], 0);
    assert_eq!(code(&world.get("/topics?limit=many").await.1), "invalid_request");
    assert_eq!(code(&world.get("/topics?size=5").await.1), "invalid_request");
}

#[tokio::test]
async fn a_record_is_sent_read_and_copied() {
    let world = World::new().await;
    world.topic("orders", 2).await;
    world.topic("other", 1).await;
    let record = json!({
        "key": "ada", "value": { "b64": "/w==" }, "partition": 1,
        "headers": [{ "name": "origin", "value": "web" }],
    });
    let (status, sent) = world.post("/topics/orders/records", &record).await;
    assert_eq!((status, &sent), (201, &json!({ "topic": "orders", "partition": 1, "offset": 0 })));
    let (_, read) = world.get("/topics/orders/records/1/0").await;
    assert_eq!((&read["key"], &read["value"]), (&json!("ada"), &json!({ "b64": "/w==" })));
    assert_eq!(read["headers"], record["headers"]);
    let (status, copied) = world.post("/topics/orders/records/1/0/copy", &json!({ "to": "other" })).await;
    assert_eq!((status, copied["topic"].as_str()), (201, Some("other")));
    let (_, copy) = world.get("/topics/other/records/0/0").await;
    assert_eq!((&copy["key"], &copy["headers"]), (&read["key"], &read["headers"]));
    assert_eq!(copy["timestamp"], read["timestamp"]);
    assert_eq!(world.get("/topics/orders/records/1/5").await.0, 404);
    assert_eq!(world.get("/topics/orders/records/7/0").await.0, 404);
    assert_eq!(world.get("/topics/orders/records/x/0").await.0, 400);
    for bad in
        [json!({}), json!({ "value": 5 }), json!({ "value": "x", "partition": -1 }), json!({ "valu": "x" })]
    {
        assert_eq!(world.post("/topics/orders/records", &bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_group_falls_behind_and_is_reset() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", numbered(0..100)).await;
    let client = world.client();
    let start = || client.consumer("orders").group("billing").from(StartAt::StoredOrBeginning).start();
    let mut billing = start().await.unwrap();
    for _ in 0..10 {
        billing.try_next().await.unwrap().unwrap();
    }
    billing.close().await.unwrap();
    let (_, list) = world.get("/groups").await;
    assert_eq!(
        (list["groups"][0]["name"].as_str(), list["groups"][0]["lag"].as_u64()),
        (Some("billing"), Some(90))
    );
    let (_, group) = world.get("/groups/billing").await;
    assert_eq!(group["partition_details"][0]["next_offset"], 10);
    let (_, topic) = world.get("/topics/orders").await;
    assert_eq!(topic["groups"][0]["group"], "billing");

    let reset = |apply: bool| json!({ "topic": "orders", "to": "-5", "apply": apply });
    let (_, preview) = world.post("/groups/billing/reset", &reset(false)).await;
    let change = json!({ "topic": "orders", "partition": 0, "from": 10, "to": 95, "records": 85 });
    assert_eq!(preview, json!({ "applied": false, "changes": [change] }));
    assert_eq!(client.admin().committed_offsets(Some("billing")).await.unwrap()[0].next, 10);
    assert_eq!(world.post("/groups/billing/reset", &reset(true)).await.1["applied"], true);
    assert_eq!(client.admin().committed_offsets(Some("billing")).await.unwrap()[0].next, 95);
    for bad in ["stored", "soon", "1000"] {
        let (status, _) = world.post("/groups/billing/reset", &json!({ "topic": "orders", "to": bad })).await;
        assert!(status == 400 || status == 404, "{bad}: {status}");
    }
    assert_eq!(world.delete("/groups/billing").await.0, 204);
    assert_eq!(code(&world.delete("/groups/billing").await.1), "no_such_group");
    assert_eq!(code(&world.get("/groups/other").await.1), "no_such_group");
}

#[tokio::test]
async fn members_of_a_shared_group_are_shown_and_keep_their_partitions() {
    let world = World::new().await;
    world.topic("orders", 4).await;
    world.send("orders", numbered(0..8)).await;
    let worker = world.client().consumer("orders").group("workers").shared().ack_mode(AckMode::Explicit);
    let worker = worker.start().await.unwrap();
    let (_, group) = world.get("/groups/workers").await;
    assert_eq!((group["shared"].as_bool(), group["members"].as_u64()), (Some(true), Some(1)), "{group}");
    assert_eq!(group["members_detail"][0]["partitions"], 4);
    assert!(group["partition_details"][0]["member"].is_string());
    let reset = |force: bool| json!({ "topic": "orders", "to": "end", "apply": true, "force": force });
    let (status, refused) = world.post("/groups/workers/reset", &reset(false)).await;
    assert_eq!((status, code(&refused)), (409, "fenced"));
    assert_eq!(world.post("/groups/workers/reset", &reset(true)).await.0, 200);
    worker.close().await.unwrap();
}

#[tokio::test]
async fn dead_letters_are_listed_and_replayed() {
    let world = World::new().await;
    world.topic("orders", 2).await;
    world.topic("orders-dlq", 1).await;
    world.send("orders", [Record::keyed("ada", "<b>no</b>"), Record::keyed("bob", "5")]).await;
    let dead = OnUndecodable::DeadLetter("orders-dlq".into());
    let numbers = world.client().consumer("orders").json::<u32>().on_undecodable(dead);
    let mut numbers = numbers.from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    assert_eq!(numbers.try_next().await.unwrap().unwrap().value, 5);
    assert!(numbers.try_next().await.unwrap().is_none());
    numbers.close().await.unwrap();

    let (_, topics) = world.get("/dead-letters").await;
    assert_eq!(topics["topics"][0]["name"], "orders-dlq");
    let (_, list) = world.get("/topics/orders-dlq/dead-letters").await;
    let letter = &list["letters"][0];
    assert_eq!(letter["origin"]["topic"], "orders");
    assert_eq!(
        (letter["code"].as_str(), letter["value"].as_str()),
        (Some("deserialization_error"), Some("<b>no</b>"))
    );
    let at = json!({ "partition": letter["partition"], "offset": letter["offset"] });
    let missing = json!({ "partition": 0, "offset": "77" });
    let (_, replayed) =
        world.post("/topics/orders-dlq/dead-letters/replay", &json!({ "letters": [at, missing] })).await;
    let results = replayed["results"].as_array().unwrap();
    assert_eq!(
        (results[0]["replayed"].as_bool(), results[0]["to"]["topic"].as_str()),
        (Some(true), Some("orders"))
    );
    assert_eq!(results[1]["replayed"], false);
    // The record is in the partition of its key again, behind the first one.
    let origin = letter["origin"]["partition"].as_u64().unwrap();
    assert_eq!(results[0]["to"]["partition"].as_u64(), Some(origin));
}

#[tokio::test]
async fn the_server_shows_its_connections_requests_and_limits() {
    let world = World::new().await;
    let (_, info) = world.get("/info").await;
    assert_eq!((info["engine"].as_str(), info["serving"].as_bool()), (Some("memory"), Some(true)), "{info}");
    let (_, server) = world.get("/server").await;
    let serving = &server["serving"];
    assert!(serving["connections"].as_array().unwrap().iter().any(|one| one["protocol"] == "http"));
    assert!(serving["limits"].as_array().unwrap().len() > 10);
    assert!(serving["memory"]["limit"].as_u64().unwrap() > 0);
    let (_, overview) = world.get("/overview").await;
    assert_eq!(overview["health"]["status"], "pass");
    assert_eq!(overview["totals"]["topics"], 0);
}

#[tokio::test]
async fn names_that_addresses_cannot_hold_are_marked() {
    let world = World::new().await;
    world.topic("orders", 1).await;
    world.send("orders", numbered(0..3)).await;
    let at = floe::Topic::from("orders").partition(0);
    for group in ["..", ".", "~a"] {
        world.client().admin().set_committed_offset(group, at.clone(), 1).await.unwrap();
    }
    for (part, group) in [("~..", ".."), ("~.", "."), ("~~a", "~a"), ("%7E..", "..")] {
        let (status, described) = world.get(&format!("/groups/{part}")).await;
        assert_eq!((status, described["name"].as_str()), (200, Some(group)), "{described}");
    }
    let reset = json!({ "topic": "orders", "to": "end", "apply": true });
    assert_eq!(world.post("/groups/~../reset", &reset).await.0, 200);
    let stored = world.client().admin().committed_offsets(Some("..")).await.unwrap();
    assert_eq!(stored[0].next, 3);
    assert_eq!(world.delete("/groups/~.").await.0, 204);
    // No engine creates a topic of such a name.
    for name in [".", ".."] {
        let (status, refused) = world.post("/topics", &json!({ "name": name })).await;
        assert_eq!((status, code(&refused)), (400, "invalid_command"), "{name}");
    }
}
