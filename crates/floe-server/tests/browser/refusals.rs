//! Hostile records, and what the page does without rights.

use floe::{Bytes, Record};
use floe_server::{ConsoleOptions, ConsoleToken};

use crate::browser::{Driver, Page};

const MARKUP: &str = "<img src=x onerror=\"window.injected=1\"><script>window.injected=1</script>\u{202e}";

pub(crate) async fn markup_in_records_and_names_stays_text(driver: &Driver) {
    let page = Page::open(driver).await;
    page.topic("orders", 1).await;
    page.topic("orders-dlq", 1).await;
    let hostile = || {
        let mut record = Record::new(Bytes::from_static(MARKUP.as_bytes()));
        record.key = Some(MARKUP.into());
        record
            .header("floe-dead-origin", "orders/0/0")
            .header("floe-dead-code", MARKUP)
            .header("floe-dead-error", MARKUP)
            .header("floe-dead-attempts", "3")
            .header("floe-dead-at", "1700000000000")
            .header("evil", MARKUP)
    };
    page.send("orders", [hostile()]).await;
    page.send("orders-dlq", [hostile()]).await;
    for (path, shown) in [
        ("/topics/orders/messages", "result-row"),
        ("/topics/orders/0/0", "detail-value"),
        ("/dead-letters/orders-dlq", "letters"),
    ] {
        page.goto(path).await;
        page.wait_for_text(shown, "<img src=x").await;
        assert_eq!(page.run("return window.injected === undefined").await, true, "{path}");
        assert_eq!(
            page.run("return document.querySelectorAll('main img, main script').length").await,
            0,
            "{path}"
        );
        let text = page.text(shown).await;
        assert!(!text.contains('\u{202e}'), "{path} turns text around: {text}");
    }
    page.goto("/topics/%3Cimg%20src%3Dx%20onerror%3D%22window.injected%3D1%22%3E").await;
    page.find("error").await;
    assert_eq!(page.run("return window.injected === undefined").await, true);
    page.close().await;
}

pub(crate) async fn a_read_only_console_offers_no_changes(driver: &Driver) {
    let mut options = ConsoleOptions::default();
    options.read_only = true;
    let page = Page::open_with(driver, options).await;
    page.topic("orders", 1).await;
    page.goto("/topics").await;
    page.find("topic-row").await;
    assert_eq!(page.count("create-topic").await, 0);
    page.goto("/topics/orders/partitions").await;
    page.find("tab-partitions").await;
    assert_eq!(page.count("delete-topic").await + page.count("add-partitions").await, 0);
    page.close().await;
}

pub(crate) async fn a_token_is_asked_for_once(driver: &Driver) {
    let mut options = ConsoleOptions::default();
    options.token = Some(ConsoleToken::new("a-token-of-sixteen").unwrap());
    let page = Page::open_with(driver, options).await;
    page.topic("orders", 1).await;
    page.goto("/topics").await;
    page.enter("login-token", "another-token-here").await;
    page.click("login-submit").await;
    page.wait_for_text("error", "wrong").await;
    page.enter("login-token", "a-token-of-sixteen").await;
    page.click("login-submit").await;
    page.goto("/topics").await;
    page.wait_for_text("topic-row", "orders").await;
    assert_eq!(page.run("return document.cookie").await, "", "scripts must not see the token");
    page.close().await;
}

pub(crate) async fn a_lost_server_is_told_and_comes_back(driver: &Driver) {
    let page = Page::open(driver).await;
    page.goto("/").await;
    page.find("engine").await;
    let is_hidden = "return document.querySelector(\"[data-testid='offline-banner']\").hidden";
    assert_eq!(page.run(is_hidden).await, true);
    page.server.client().engine().close().await.unwrap();
    let browser = page.browser;
    page.server.stop().await.unwrap();
    for attempt in 0.. {
        if browser.execute(is_hidden, Vec::new()).await.unwrap() == false {
            break;
        }
        assert!(attempt < 150, "the page does not tell that the server is away");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    browser.close().await.unwrap();
}
