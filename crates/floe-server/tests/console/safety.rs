//! Requests that the console refuses: other hosts, other sites, changes that are not allowed, rights.

use floe_server::{AccessRules, ConsoleOptions, ConsoleToken, ServeOptions, testkit::TestServer};
use serde_json::json;

use crate::{World, code};

const TOKEN: &str = "a-token-of-sixteen";

#[tokio::test]
async fn requests_for_other_hosts_are_refused_on_every_path() {
    let world = World::new().await;
    for path in ["/", "/assets/app.js", "/api/v1/info", "/metrics", "/livez", "/topics/orders"] {
        for host in ["127.0.0.1.evil", "localhost.", "evil", "[::2]", "localhost@evil", "localhost:evil"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let status = world.raw(&request).await.status;
            assert!(status == 421 || status == 400, "{path} {host}: {status}");
        }
        let absolute =
            format!("GET http://evil{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert_eq!(world.raw(&absolute).await.status, 421, "{path}");
    }
    assert_eq!(world.request("GET", "/api/v1/info", "", "").await.status, 200);
}

#[tokio::test]
async fn changes_come_from_the_page_itself_and_as_json() {
    let world = World::new().await;
    let body = r#"{"name":"orders"}"#;
    let json = "content-type: application/json\r\n";
    let port = &world.address;
    for (headers, expected) in [
        ("", 415),
        ("content-type: text/plain\r\n", 415),
        ("content-type: application/x-www-form-urlencoded\r\n", 415),
        (&format!("{json}origin: http://evil\r\n"), 403),
        (&format!("{json}origin: null\r\n"), 403),
        (&format!("{json}origin: http://localhost.evil\r\n"), 403),
        (&format!("{json}origin: http://{port}\r\n"), 403),
        (&format!("{json}origin: http://localhost\r\norigin: http://localhost\r\n"), 403),
        (&format!("{json}sec-fetch-site: cross-site\r\n"), 403),
        (&format!("{json}sec-fetch-site: same-site\r\n"), 403),
    ] {
        let reply = world.request("POST", "/api/v1/topics", headers, body).await;
        assert_eq!(reply.status, expected, "{headers} {}", reply.body);
    }
    assert_eq!(world.get("/topics").await.1["total"], 0);
    let good = format!("{json}origin: http://localhost\r\nsec-fetch-site: same-origin\r\n");
    assert_eq!(world.request("POST", "/api/v1/topics", &good, body).await.status, 201);
    // Another site may not even make the server read.
    let read = world.request("GET", "/api/v1/topics", "sec-fetch-site: cross-site\r\n", "").await;
    assert_eq!(read.status, 403);
    let preflight = "origin: http://evil\r\naccess-control-request-method: POST\r\n";
    let reply = world.request("OPTIONS", "/api/v1/topics", preflight, "").await;
    assert!(!reply.head.to_lowercase().contains("access-control-allow"), "{}", reply.head);
}

#[tokio::test]
async fn a_read_only_console_changes_nothing() {
    let mut options = ConsoleOptions::default();
    options.read_only = true;
    let world = World::with(options).await;
    world.topic("orders", 1).await;
    for (path, body) in [
        ("/topics", json!({ "name": "other" })),
        ("/topics/orders/records", json!({ "value": "x" })),
        ("/topics/orders/partitions", json!({ "partitions": 2 })),
        ("/groups/g/reset", json!({ "topic": "orders", "to": "end", "apply": true })),
        ("/topics/orders/dead-letters/replay", json!({ "letters": [] })),
        ("/topics/orders/records/0/0/copy", json!({ "to": "orders" })),
    ] {
        let (status, refused) = world.post(path, &body).await;
        assert_eq!((status, code(&refused)), (403, "read_only"), "{path}");
    }
    assert_eq!(world.delete("/topics/orders").await.0, 403);
    assert_eq!(world.get("/topics").await.1["total"], 1);
}

#[tokio::test]
async fn a_token_opens_the_console() {
    let mut options = ConsoleOptions::default();
    options.token = Some(ConsoleToken::new(TOKEN).unwrap());
    let world = World::with(options).await;
    let (status, refused) = world.get("/info").await;
    assert_eq!((status, code(&refused)), (401, "login_required"));
    // The page itself has no secrets, and health is answered to probes.
    assert_eq!(world.request("GET", "/", "", "").await.status, 200);
    assert_eq!(world.request("GET", "/livez", "", "").await.status, 200);
    assert_eq!(world.post("/login", &json!({ "token": "a-token-of-sixteem" })).await.0, 401);
    let json = "content-type: application/json\r\n";
    let body = json!({ "token": TOKEN }).to_string();
    let login = world.request("POST", "/api/v1/login", json, &body).await;
    assert_eq!(login.status, 204);
    let cookie = login.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let (pair, _) = cookie.split_once(';').unwrap();
    for headers in [format!("cookie: other=1; {pair}\r\n"), format!("authorization: Bearer {TOKEN}\r\n")] {
        assert_eq!(world.request("GET", "/api/v1/info", &headers, "").await.status, 200, "{headers}");
    }
    for headers in ["cookie: floe_console=\r\n", "authorization: Bearer x\r\n", "cookie: floe_console\r\n"] {
        assert_eq!(world.request("GET", "/api/v1/info", headers, "").await.status, 401, "{headers}");
    }
    let logout = world.request("POST", "/api/v1/logout", json, "{}").await;
    assert!(logout.head.contains("Max-Age=0"), "{}", logout.head);
}

#[tokio::test]
async fn pages_run_nothing_but_their_own_scripts() {
    let world = World::new().await;
    for path in ["/", "/topics/a/b/c", "/assets/app.js", "/assets/none.js", "/api/v1/info"] {
        let reply = world.request("GET", path, "", "").await;
        let head = reply.head.to_lowercase();
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(!head.contains("unsafe-inline"), "{head}");
        for header in
            ["x-content-type-options: nosniff", "referrer-policy: no-referrer", "x-frame-options: deny"]
        {
            assert!(head.contains(header), "{path}: {header}");
        }
    }
    let page = world.request("GET", "/topics/orders", "", "").await;
    assert!(page.head.contains("text/html"));
    for inline in ["<style", "style=", "onclick", "onerror", "javascript:"] {
        assert!(!page.body.contains(inline), "the page has {inline}");
    }
    assert!(!page.body.contains("<script>"));
    assert_eq!(world.request("GET", "/assets/../Cargo.toml", "", "").await.status, 404);
    assert_eq!(world.request("POST", "/", "content-type: application/json\r\n", "{}").await.status, 405);
    let tag = page.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let known = world.request("GET", "/topics/orders", &format!("if-none-match: {tag}\r\n"), "").await;
    assert_eq!(known.status, 304);
}

#[tokio::test]
async fn the_rules_of_the_server_hold_in_its_console() {
    let rules = "[[rule]]\nsubjects = [\"anonymous\"]\ntopics = [\"open-*\"]\nallow = [\"read\"]\n";
    let mut options = ServeOptions::default();
    options.access = Some(AccessRules::parse(rules).unwrap());
    options.console = Some(ConsoleOptions::default());
    let world = World::of(TestServer::with("memory:", options).await.unwrap());
    world.topic("open-orders", 1).await;
    world.topic("closed", 1).await;
    let (_, list) = world.get("/topics").await;
    assert_eq!((list["total"].as_u64(), list["topics"][0]["name"].as_str()), (Some(1), Some("open-orders")));
    assert_eq!(world.get("/topics/open-orders").await.0, 200);
    // A group of both topics shows the open one only.
    for topic in ["open-orders", "closed"] {
        let at = floe::Topic::from(topic).partition(0);
        world.client().admin().set_committed_offset("billing", at, 0).await.unwrap();
    }
    let mut billing = serde_json::Value::Null;
    for _ in 0..60 {
        billing = world.get("/groups/billing").await.1;
        if billing["partitions"] == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert_eq!(billing["topics"], json!(["open-orders"]), "{billing}");
    assert_eq!(billing["partition_details"].as_array().unwrap().len(), 1);
    for path in ["/topics/closed", "/topics/closed/scan", "/topics/closed/records/0/0", "/server"] {
        let (status, refused) = world.get(path).await;
        assert_eq!((status, code(&refused)), (403, "forbidden"), "{path}");
    }
    for (path, body) in [
        ("/topics", json!({ "name": "open-more" })),
        ("/topics/open-orders/records", json!({ "value": "x" })),
        ("/topics/open-orders/partitions", json!({ "partitions": 2 })),
    ] {
        assert_eq!(code(&world.post(path, &body).await.1), "forbidden", "{path}");
    }
    assert_eq!(code(&world.delete("/topics/open-orders").await.1), "forbidden");
}

#[tokio::test]
async fn reading_counts_against_the_rate_of_the_client() {
    for path in [
        "/topics/orders/export",
        "/topics/orders/scan?from=beginning",
        "/topics/orders/tail",
        "/topics/orders/dead-letters",
        "/topics/orders/records/0/0",
    ] {
        let mut options = ServeOptions::default();
        options.console = Some(ConsoleOptions::default());
        options.limits.client_consume_bytes_per_second = Some(10_000);
        let metrics = options.metrics.clone();
        let world = World::of(TestServer::with("memory:", options).await.unwrap());
        world.topic("orders", 1).await;
        world.send("orders", [vec![b'x'; 1 << 20]]).await;
        let delayed = || {
            let families = metrics.families();
            let family = families.iter().find(|family| family.name == "floe_server_delayed_total").unwrap();
            let consume = family.points.iter().filter(|point| point.labels.contains(&("rate", "consume")));
            consume.map(|point| point.value).sum::<u64>()
        };
        // A megabyte passes, and is paid for after a hundred seconds.
        assert_eq!(world.get("/topics/orders/records/0/0").await.0, 200);
        assert_eq!(delayed(), 0);
        let _waits = world.events(path).await;
        for attempt in 0.. {
            if delayed() == 1 {
                break;
            }
            assert!(attempt < 500, "{path} does not wait");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn scans_take_their_memory_from_the_budget_of_the_server() {
    let mut options = ServeOptions::default();
    options.console = Some(ConsoleOptions::default());
    let metrics = options.metrics.clone();
    let world = World::of(TestServer::with("memory:", options).await.unwrap());
    world.topic("orders", 1).await;
    let large = |number: u32| floe::Record::new(format!("{number} {}", "x".repeat(15_000)));
    for start in 0..8 {
        world.send("orders", (start * 250..(start + 1) * 250).map(large)).await;
    }
    let held = || {
        let families = metrics.families();
        let family = families.iter().find(|family| family.name == "floe_server_memory_bytes").unwrap();
        family.points.iter().map(|point| point.value).sum::<u64>()
    };
    // A browser that does not read holds the scan, and its memory.
    let stalled = world.events("/topics/orders/scan?from=beginning&limit=1000").await;
    for attempt in 0.. {
        if held() >= 6 << 20 {
            break;
        }
        assert!(attempt < 500, "the scan holds {} bytes", held());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(stalled);
    for attempt in 0.. {
        if held() == 0 {
            break;
        }
        assert!(attempt < 500, "the scan of a browser that is gone holds {} bytes", held());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.get("/topics/orders/dead-letters").await.0, 200);
}
