//! The console in the hands of a person.

use floe::{
    Bytes, Record, TopicSpec,
    consumer::{OnUndecodable, StartAt},
};
use floe_server::{ConsoleOptions, testkit::TestServer};
use serde_json::json;

use crate::browser::{Driver, Page};

impl Page {
    pub(crate) async fn topic(&self, name: &str, partitions: u32) {
        let admin = self.server.client().admin();
        admin.create_topic(TopicSpec::new(name).partitions(partitions)).await.unwrap();
    }

    pub(crate) async fn send(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        self.server.client().shared_producer(topic).await.unwrap().send_all(records).await.unwrap();
    }
}

pub(crate) fn orders(range: std::ops::Range<u32>) -> impl Iterator<Item = Record> {
    range.map(|number| {
        let value = json!({ "id": number, "order": { "total": number % 97, "item": "coffee" } });
        keyed(&format!("customer-{}", number % 7), &value.to_string())
    })
}

fn keyed(key: &str, value: &str) -> Record {
    let mut record = Record::new(Bytes::from(value.to_owned()));
    record.key = Some(Bytes::from(key.to_owned()));
    record
}

pub(crate) async fn a_newcomer_creates_a_topic_sends_a_record_and_finds_it(driver: &Driver) {
    let page = Page::open(driver).await;
    page.goto("/").await;
    page.click("nav-topics").await;
    page.click("create-topic").await;
    page.enter("topic-name", "orders").await;
    page.enter("topic-partitions", "3").await;
    page.click("submit").await;
    page.click("tab-send").await;
    page.enter("send-key", "ada").await;
    page.enter("send-value", r#"{"item":"one coffee"}"#).await;
    page.click("send-submit").await;
    page.click("send-link").await;
    page.wait_for_text("detail-value", "one coffee").await;
    page.goto("/topics/orders/messages").await;
    page.enter("filter", "key = \"ada\"").await;
    page.click("search-start").await;
    page.wait_for_text("result-row", "ada").await;
    // A mistake is told at its place.
    page.enter("filter", "key = ").await;
    page.wait_for_text("filter-error", "expected").await;
    page.close().await;
}

pub(crate) async fn one_bad_record_is_found_among_a_hundred_thousand(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 3).await;
    page.send("orders", orders(0..60_000)).await;
    page.send("orders", [keyed("ada", r#"{"id":"bad","order":null}"#)]).await;
    page.send("orders", orders(60_000..100_000)).await;
    page.goto("/topics/orders/messages?from=beginning").await;
    page.enter("filter", ".id = \"bad\"").await;
    page.click("search-start").await;
    page.wait_for_text("progress", "100").await;
    assert_eq!(page.count("result-row").await, 1);
    page.click("result-row").await;
    page.wait_for_text("detail", "ada").await;
    page.close().await;
}

pub(crate) async fn a_topic_is_watched_live_and_paused(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.goto("/topics/orders/messages").await;
    page.click("tail-start").await;
    page.find("rate").await;
    // Records sent before the tail has opened are not shown, so some are sent until one is.
    for start in 0..50 {
        page.send("orders", orders(start * 10..start * 10 + 10)).await;
        if page.count("result-row").await > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    page.wait_for_count("result-row", 1).await;
    page.click("tail-pause").await;
    assert_eq!(page.find("tail-pause").await.attr("aria-pressed").await.unwrap().as_deref(), Some("true"));
    page.click("tail-pause").await;
    // A hundred thousand go by: the page keeps its rows bounded, and answers meanwhile.
    for start in 0..10 {
        page.send("orders", orders(start * 10_000..(start + 1) * 10_000)).await;
    }
    page.wait_for_count("skipped", 1).await;
    assert!(page.count("result-row").await <= 500);
    page.click("stop").await;
    page.close().await;
}

pub(crate) async fn a_group_that_falls_behind_is_reset(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.send("orders", orders(0..500)).await;
    let billing = page.server.client().consumer("orders").group("billing").from(StartAt::StoredOrBeginning);
    let mut billing = billing.start().await.unwrap();
    for _ in 0..10 {
        billing.try_next().await.unwrap().unwrap();
    }
    billing.close().await.unwrap();
    page.goto("/groups").await;
    page.wait_for_text("group-row", "490").await;
    page.goto("/groups/billing").await;
    page.click("reset-open").await;
    page.choose("reset-to", "end").await;
    page.click("reset-preview").await;
    page.wait_for_text("reset-changes", "500").await;
    page.click("reset-apply").await;
    for attempt in 0.. {
        let stored = page.server.client().admin().committed_offsets(Some("billing")).await.unwrap();
        if stored[0].next == 500 {
            break;
        }
        assert!(attempt < 100, "the reset was not applied");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    page.close().await;
}

pub(crate) async fn a_dead_letter_is_replayed(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.topic("orders-dlq", 1).await;
    page.send("orders", [keyed("ada", "<b>no number</b>")]).await;
    let dead = OnUndecodable::DeadLetter("orders-dlq".into());
    let numbers = page.server.client().consumer("orders").json::<u32>().on_undecodable(dead);
    let mut numbers = numbers.from(StartAt::Beginning).stop_at_end().start().await.unwrap();
    assert!(numbers.try_next().await.unwrap().is_none());
    numbers.close().await.unwrap();
    page.goto("/dead-letters/orders-dlq").await;
    page.wait_for_text("letters", "deserialization_error").await;
    page.click("letter-select").await;
    page.click("replay").await;
    page.click("replay-apply").await;
    page.wait_for_text("replay-results", "orders").await;
    let end = page.server.client().offsets_at("orders", None, StartAt::End).await.unwrap();
    assert_eq!(end[0].1, 2);
    page.close().await;
}

pub(crate) async fn found_records_are_exported(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.send("orders", orders(0..20)).await;
    page.goto("/topics/orders/messages?from=beginning").await;
    page.enter("filter", ".id = 7").await;
    page.click("search-start").await;
    page.wait_for_count("result-row", 1).await;
    for (id, first) in [("export-jsonl", "{\"topic\""), ("export-csv", "topic,")] {
        let href = page.find(id).await.prop("href").await.unwrap().unwrap();
        let script = format!("const r = await fetch({href:?}); return await r.text();");
        let text = page.browser.execute_async(&async_script(&script), Vec::new()).await.unwrap();
        let text = text.as_str().unwrap_or_default();
        assert!(text.starts_with(first) && text.contains("customer-0"), "{id}: {text}");
    }
    page.close().await;
}

/// Wraps statements with `await` for the form of WebDriver, which calls back.
fn async_script(body: &str) -> String {
    format!(
        "const done = arguments[arguments.length - 1]; (async () => {{ {body} }})().then(done, (e) => done(String(e)));"
    )
}

pub(crate) async fn the_keyboard_reaches_everything(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.send("orders", orders(0..20)).await;
    page.goto("/topics").await;
    page.find("topic-row").await;
    page.press('/').await;
    let focused = "return document.activeElement.dataset.testid || ''";
    assert_eq!(page.run(focused).await, "topic-search");
    page.escape().await;
    page.goto("/topics/orders/messages").await;
    page.wait_for_count("result-row", 20).await;
    page.press('j').await;
    page.press('j').await;
    page.press(fantoccini::key::Key::Enter.into()).await;
    page.find("detail-value").await;
    page.escape().await;
    page.wait_for_none("detail").await;
    page.press('g').await;
    page.press('g').await;
    page.wait_for_text("nav-groups", "Groups").await;
    for attempt in 0.. {
        if page.browser.current_url().await.unwrap().path() == "/groups" {
            break;
        }
        assert!(attempt < 100, "`g g` does not lead to the groups");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    page.close().await;
}

pub(crate) async fn ten_thousand_topics_are_searched(driver: &Driver) {
    let page = Page::open(driver).await;
    for number in 0..10_000 {
        page.topic(&format!("topic-{number:05}"), 1).await;
    }
    page.goto("/topics").await;
    page.wait_for_count("topic-row", 50).await;
    assert!(page.count("topic-row").await <= 500);
    page.enter("topic-search", "topic-09876").await;
    page.wait_for_text("topic-row", "topic-09876").await;
    // The list is rendered anew with what was found, and the next letter goes to the field still.
    let focused = "return document.activeElement.dataset.testid || ''";
    assert_eq!(page.run(focused).await, "topic-search");
    page.close().await;
}

pub(crate) async fn ten_thousand_partitions_are_paged_and_searched(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 10_000).await;
    page.goto("/topics/orders/partitions").await;
    page.wait_for_text("next-page", "Next").await;
    let rows = "return document.querySelectorAll('.list tbody tr').length";
    assert_eq!(page.run(rows).await, 100);
    let first = "return document.querySelector('.list tbody tr')?.innerText.trim().split(/\\s/)[0]";
    page.click("next-page").await;
    page.wait_for(first, "100").await;
    page.enter("list-search", "9876").await;
    page.wait_for(first, "9876").await;
    assert_eq!(page.run(rows).await, 1);
    let focused = "return document.activeElement.dataset.testid || ''";
    assert_eq!(page.run(focused).await, "list-search", "the next letter goes to the field");
    page.enter("list-search", "none").await;
    page.wait_for(rows, 0).await;
    page.close().await;
}

pub(crate) async fn an_engine_that_lists_nothing_opens_topics_by_name(driver: &Driver) {
    let cluster = TestServer::start().await.unwrap();
    let url = format!("walrus://{}", cluster.walrus_address());
    let page = Page::over(driver, &url, ConsoleOptions::default()).await;
    page.goto("/topics").await;
    page.enter("open-topic", "none").await;
    page.click("open-submit").await;
    page.wait_for_text("error", "topic_not_found").await;
    page.goto("/topics").await;
    page.click("create-topic").await;
    page.enter("topic-name", "orders").await;
    page.click("submit").await;
    page.enter("send-value", "one coffee").await;
    page.click("send-submit").await;
    page.wait_for_text("send-result", "Stored").await;
    for path in ["/topics", "/"] {
        page.goto(path).await;
        page.wait_for_text("known-topic", "orders").await;
        assert_eq!(page.count("known-topic").await, 1, "a topic that is not there is forgotten");
        assert_eq!(page.count("error").await, 0, "{path}");
    }
    for path in ["/groups", "/dead-letters", "/topics/orders/messages"] {
        page.goto(path).await;
        let text = "return document.querySelector('main').innerText";
        let mut shown = String::new();
        for _ in 0..100 {
            shown = page.run(text).await.as_str().unwrap_or_default().to_owned();
            if shown.contains("stores no offsets") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(shown.contains("stores no offsets"), "{path}: {shown}");
        assert_eq!(page.count("error").await, 0, "{path}");
    }
    page.close().await;
}
