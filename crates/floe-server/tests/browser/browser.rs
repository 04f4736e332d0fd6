//! A browser, driven by WebDriver, and a server with a console.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource as _, KeyAction, KeyActions},
    elements::Element,
    key::Key,
};
use floe::ErrorKind;
use floe_server::{ConsoleOptions, ServeOptions, testkit::TestServer};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// Topics of the journeys.
const TOPICS: [&str; 2] = ["orders", "orders-dlq"];

/// Longest wait for an element.
const WAIT: Duration = Duration::from_secs(20);

/// The process of chromedriver, which ends with the tests.
pub(crate) struct Driver {
    process: Child,
    port: u16,
    /// Engine of the pages that are opened.
    pub(crate) url: String,
}

impl Driver {
    pub(crate) fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("chromedriver, which .ci/browser installs");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let port = lines
            .map_while(Result::ok)
            .filter(|line| line.contains("successfully"))
            .find_map(|line| line.split("on port ").nth(1)?.trim_end_matches('.').parse().ok())
            .expect("the port of chromedriver");
        Self { process, port, url: "memory:".to_owned() }
    }

    /// Opens a window of this size.
    async fn window(&self, width: u32, height: u32) -> Client {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let url = format!("http://127.0.0.1:{}", self.port);
        let browser = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&url)
            .await
            .expect("a browser");
        browser.set_window_size(width, height).await.unwrap();
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The group holds the browsers of tests that failed, too. A process that has ended needs no end.
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.process.wait();
    }
}

/// A page of a console of its own.
pub(crate) struct Page {
    pub(crate) server: TestServer,
    pub(crate) browser: Client,
}

impl Page {
    pub(crate) async fn open(driver: &Driver) -> Self {
        Self::open_with(driver, ConsoleOptions::default()).await
    }

    pub(crate) async fn open_with(driver: &Driver, console: ConsoleOptions) -> Self {
        let page = Self::over(driver, &driver.url, console).await;
        // A cluster keeps what an earlier test has left.
        let client = page.server.client();
        let admin = client.admin();
        if driver.url != "memory:" {
            for topic in TOPICS {
                let gone = admin.delete_topic(topic).await;
                gone.or_else(|error| match error.kind() {
                    ErrorKind::TopicNotFound => Ok(()),
                    _ => Err(error),
                })
                .unwrap();
            }
            for stored in admin.committed_offsets(Some("billing")).await.unwrap() {
                admin.forget_committed_offset("billing", stored.at).await.unwrap();
            }
        }
        page
    }

    /// Opens the console of another engine.
    pub(crate) async fn over(driver: &Driver, url: &str, console: ConsoleOptions) -> Self {
        let mut options = ServeOptions::default();
        options.console = Some(console);
        let server = TestServer::with(url, options).await.unwrap();
        Self { server, browser: driver.window(1280, 900).await }
    }

    pub(crate) async fn goto(&self, path: &str) {
        self.browser.goto(&format!("http://{}{path}", self.server.http_address())).await.unwrap();
    }

    /// Waits for the element with this `data-testid`.
    pub(crate) async fn find(&self, id: &str) -> Element {
        let selector = format!("[data-testid='{id}']");
        let found = self.browser.wait().at_most(WAIT).for_element(Locator::Css(&selector)).await;
        found.unwrap_or_else(|error| panic!("no {id}: {error}"))
    }

    pub(crate) async fn click(&self, id: &str) {
        self.wait_until(id, "it can be clicked", async |element| {
            element.is_displayed().await.unwrap_or(false) && element.click().await.is_ok()
        })
        .await;
    }

    pub(crate) async fn enter(&self, id: &str, text: &str) {
        self.wait_until(id, "it takes text", async |field| {
            field.clear().await.is_ok() && field.send_keys(text).await.is_ok()
        })
        .await;
    }

    pub(crate) async fn choose(&self, id: &str, value: &str) {
        self.wait_until(id, value, async |field| field.select_by_value(value).await.is_ok()).await;
    }

    pub(crate) async fn text(&self, id: &str) -> String {
        self.wait_until(id, "it has text", async |element| element.text().await.is_ok()).await
    }

    /// Waits until the text of an element contains another.
    pub(crate) async fn wait_for_text(&self, id: &str, wanted: &str) {
        self.wait_until(id, wanted, async |element| {
            element.text().await.is_ok_and(|text| text.contains(wanted))
        })
        .await;
    }

    /// Waits until an element satisfies `holds`, and returns the text that it had before.
    async fn wait_until(&self, id: &str, wanted: &str, holds: impl AsyncFn(Element) -> bool) -> String {
        let mut seen = String::new();
        // A page renders anew while it is looked at, so that an element may be gone.
        for _ in 0..200 {
            let element = self.find(id).await;
            seen = element.text().await.unwrap_or_default();
            if holds(element).await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{id} is {seen:?}, not {wanted:?}");
    }

    /// Returns the number of elements with this `data-testid`.
    pub(crate) async fn count(&self, id: &str) -> usize {
        let selector = format!("[data-testid='{id}']");
        self.browser.find_all(Locator::Css(&selector)).await.unwrap().len()
    }

    /// Waits until there are at least so many elements.
    pub(crate) async fn wait_for_count(&self, id: &str, least: usize) {
        for _ in 0..200 {
            if self.count(id).await >= least {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} elements {id}, not {least}", self.count(id).await);
    }

    /// Waits until no element with this `data-testid` is shown.
    pub(crate) async fn wait_for_none(&self, id: &str) {
        let shown = format!("return !!document.querySelector(\"[data-testid='{id}']\")?.checkVisibility()");
        for _ in 0..200 {
            if self.run(&shown).await == false {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{id} is shown still");
    }

    /// Presses a key, which goes to the element with the focus, also while the page renders that element anew.
    pub(crate) async fn press(&self, key: char) {
        let strokes = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key });
        self.browser.perform_actions(strokes).await.unwrap();
    }

    pub(crate) async fn escape(&self) {
        self.press(Key::Escape.into()).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.browser.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until a script returns this.
    pub(crate) async fn wait_for(&self, script: &str, wanted: impl Into<Value>) {
        let (wanted, mut seen) = (wanted.into(), Value::Null);
        for _ in 0..200 {
            seen = self.run(script).await;
            if seen == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{script} is {seen}, not {wanted}");
    }

    pub(crate) async fn screenshot(&self, path: &Path) {
        std::fs::write(path, self.browser.screenshot().await.unwrap()).unwrap();
    }

    pub(crate) async fn close(self) {
        self.browser.close().await.unwrap();
        self.server.stop().await.unwrap();
    }
}
