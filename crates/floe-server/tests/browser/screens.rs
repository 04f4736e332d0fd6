//! Every screen, in both themes and several widths.

use floe::consumer::StartAt;

use crate::{
    browser::{Driver, Page},
    console::orders,
    screens_folder,
};

/// Path, name of the picture, and an element that is there once the screen has its data.
const SCREENS: [(&str, &str, &str); 9] = [
    ("/", "overview", "engine"),
    ("/topics", "topics", "topic-row"),
    ("/topics/orders/messages?from=-50", "messages", "result-row"),
    ("/topics/payments/0/3", "record", "detail-value"),
    ("/topics/orders/partitions", "partitions", "add-partitions"),
    ("/topics/orders/send", "send", "send-value"),
    ("/groups/billing", "group", "reset-open"),
    ("/dead-letters/orders-dlq", "dead-letters", "letters"),
    ("/server", "server", "engine"),
];

pub(crate) async fn every_screen_fits_every_width_in_both_themes(driver: &Driver) {
    let page = Page::open(driver).await;
    for (name, partitions) in [("orders", 3), ("payments", 1), ("clicks", 6), ("orders-dlq", 1)] {
        page.topic(name, partitions).await;
    }
    for name in ["orders", "payments", "clicks"] {
        page.send(name, orders(0..3_000)).await;
    }
    let billing = page.server.client().consumer("orders").group("billing").from(StartAt::StoredOrBeginning);
    let mut billing = billing.start().await.unwrap();
    for _ in 0..700 {
        billing.try_next().await.unwrap().unwrap();
    }
    billing.close().await.unwrap();
    let dead = floe::consumer::OnUndecodable::DeadLetter("orders-dlq".into());
    let numbers = page.server.client().consumer("payments").json::<u32>().on_undecodable(dead);
    let mut numbers = numbers.from(StartAt::BeforeEnd(5)).stop_at_end().start().await.unwrap();
    while numbers.try_next().await.unwrap().is_some() {}
    numbers.close().await.unwrap();
    let folder = screens_folder();
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder).unwrap();
    }
    let axe = std::env::var_os("FLOE_AXE").map(|path| std::fs::read_to_string(path).unwrap());
    for theme in ["light", "dark"] {
        page.goto("/").await;
        for _ in 0..3 {
            if page.run("return document.documentElement.dataset.theme || ''").await == theme {
                break;
            }
            page.click("theme-toggle").await;
        }
        assert_eq!(page.run("return document.documentElement.dataset.theme").await, theme);
        for (path, name, ready) in SCREENS {
            for (width, height) in [(1280, 800), (320, 700), (2560, 1400)] {
                page.browser.set_window_size(width, height).await.unwrap();
                page.goto(path).await;
                page.find(ready).await;
                let wide =
                    page.run("return document.documentElement.scrollWidth > window.innerWidth + 1").await;
                assert_eq!(wide, false, "{name} at {width} is wider than its window");
                if let Some(folder) = &folder {
                    page.screenshot(&folder.join(format!("{name}-{theme}-{width}.png"))).await;
                }
            }
            if let Some(axe) = &axe {
                check_accessibility(&page, axe, name).await;
            }
        }
    }
    page.close().await;
}

/// Fails if axe-core finds a violation.
async fn check_accessibility(page: &Page, axe: &str, name: &str) {
    let script = format!(
        "{axe}; const done = arguments[arguments.length - 1];\
         axe.run().then((r) => done(r.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.target).join(' '))));"
    );
    let found = page.browser.execute_async(&script, Vec::new()).await.unwrap();
    assert_eq!(found, serde_json::json!([]), "{name}");
}
