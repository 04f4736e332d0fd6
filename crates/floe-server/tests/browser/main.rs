//! The console in a real browser.
//!
//! `cargo test -p floe-server --test browser` needs Chromium and chromedriver; `.ci/browser` installs them. Screenshots go to
//! the folder of `FLOE_SCREENS`, and the pictures of docs/console.md are made by `FLOE_SCREENS=docs/console`. With `FLOE_AXE`,
//! the path of axe-core's script, the accessibility of each screen is checked, too. The journeys of a person run on each cluster
//! of `FLOE_TEST_URLS`, too, which lose their topics `orders` and `orders-dlq`.

mod browser;
mod console;
mod refusals;
mod screens;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use browser::Driver;
use futures_util::future::LocalBoxFuture;

/// Longest time of one test; a failure, not a measurement.
const LIMIT: Duration = Duration::from_secs(120);

type BrowserTest = fn(&Driver) -> LocalBoxFuture<'_, ()>;

macro_rules! tests {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$((stringify!($name), |driver| Box::pin($module::$name(driver)))),+]
    };
}

/// What a person does, on every engine with offsets.
const JOURNEYS: &[(&str, BrowserTest)] = tests![
    console::a_newcomer_creates_a_topic_sends_a_record_and_finds_it,
    console::one_bad_record_is_found_among_a_hundred_thousand,
    console::a_topic_is_watched_live_and_paused,
    console::a_group_that_falls_behind_is_reset,
    console::a_dead_letter_is_replayed,
    console::found_records_are_exported,
];

const TESTS: &[(&str, BrowserTest)] = tests![
    console::the_keyboard_reaches_everything,
    console::ten_thousand_topics_are_searched,
    console::ten_thousand_partitions_are_paged_and_searched,
    console::an_engine_that_lists_nothing_opens_topics_by_name,
    refusals::markup_in_records_and_names_stays_text,
    refusals::a_read_only_console_offers_no_changes,
    refusals::a_token_is_asked_for_once,
    refusals::a_lost_server_is_told_and_comes_back,
    screens::every_screen_fits_every_width_in_both_themes,
];

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut driver = Driver::start();
    let (mut passed, mut failed) = (0, 0);
    let clusters = std::env::var("FLOE_TEST_URLS").unwrap_or_default();
    let clusters = clusters.split([' ', ';']).filter(|url| url.starts_with("fluvio:"));
    let on_clusters = clusters.flat_map(|url| JOURNEYS.iter().map(move |test| (url, test)));
    let own = JOURNEYS.iter().chain(TESTS).map(|test| ("memory:", test));
    for (url, (name, test)) in own.chain(on_clusters) {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        url.clone_into(&mut driver.url);
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(LIMIT, test(&driver)).await }).expect("in time");
        }));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {url} {name} ... {word} ({:.1} s)", started.elapsed().as_secs_f64());
        if outcome.is_ok() { passed += 1 } else { failed += 1 }
    }
    println!("\ntest result: {passed} passed; {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the folder of the screenshots.
fn screens_folder() -> Option<PathBuf> {
    std::env::var_os("FLOE_SCREENS").map(PathBuf::from)
}
