//! The console: pages to look at topics, groups and dead letters, and the HTTP API that they use.
//!
//! ```text
//! browser ─► door: host, origin, login, read-only ─► assets                      the page itself
//!                                                 └► /api/v1 ─► client ─► any engine
//!                                                        └► history: rates and lag of the last 15 minutes
//! ```
//!
//! `docs/console.md` describes the screens, `docs/api.md` the requests.

mod api;
mod assets;
mod door;
mod event_queue;
mod history;
mod options;
mod query;
mod read_memory;
mod record_json;
mod request_error;
mod turn;

use std::sync::{Arc, OnceLock};

use axum::{Router, middleware};
use floe::Client;
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

pub use self::options::{ConsoleOptions, ConsoleToken};
pub(crate) use self::read_memory::ReadMemory;
use self::{history::History, turn::Turn};

/// Returns the console of a client, which an application mounts beside its own routes; pages and API take all paths that
/// begin with `/`, so that it belongs on a host or a port of its own, or behind a proxy that strips a prefix.
///
/// The console shows the engine of the client and the client itself: producers, consumers and circuit breakers.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> floe::Result<()> {
/// use floe_server::ConsoleOptions;
///
/// let client = floe::Client::connect("memory:").await?;
/// let mut options = ConsoleOptions::default();
/// options.read_only = true;
/// let router = floe_server::console(client, options);
/// # let _: axum::Router = router;
/// # Ok(())
/// # }
/// ```
pub fn console(client: Client, options: ConsoleOptions) -> Router {
    within(client, options, None)
}

/// Returns the console of a server, whose scans and tails take their memory from that of the server.
pub(crate) fn within(client: Client, options: ConsoleOptions, memory: Option<ReadMemory>) -> Router {
    let console = Arc::new(Console {
        scans: Arc::new(Semaphore::new(options.scans)),
        tails: Arc::new(Semaphore::new(options.tails)),
        turn: Mutex::new(Turn::default()),
        history: OnceLock::new(),
        started: Instant::now(),
        client,
        options,
        memory,
    });
    Router::new()
        .nest("/api/v1", api::router())
        .fallback(assets::serve)
        .layer(middleware::from_fn_with_state(Arc::clone(&console), door::admit))
        .with_state(console)
}

/// State that all requests share.
#[derive(Debug)]
struct Console {
    client: Client,
    options: ConsoleOptions,
    /// Memory of scans and tails; none outside a server.
    memory: Option<ReadMemory>,
    /// Places for scans and exports.
    scans: Arc<Semaphore>,
    /// Places for live tails.
    tails: Arc<Semaphore>,
    /// All tails together look at records for a bounded share of one processor: one at a time, with rests.
    turn: Mutex<Turn>,
    history: OnceLock<Arc<History>>,
    started: Instant,
}

impl Console {
    /// Whether looking at records leaves them where they are.
    fn can_look(&self) -> bool {
        let capabilities = self.client.info().capabilities;
        capabilities.offsets && !capabilities.consuming_reads
    }

    /// Returns the rates and lags, which are sampled from the first request on.
    fn history(&self) -> &Arc<History> {
        self.history.get_or_init(|| History::start(self.client.clone()))
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> i64 {
    floe::WallClock::default().now_millis()
}
