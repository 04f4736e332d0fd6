//! Sends arbitrary requests to a console, for a fuzz target and for the test that replays its corpus. The input has the method,
//! the path in the API and the body, separated by newlines; a body is JSON. No answer is an error of the server, and each ends.

use std::{cell::RefCell, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use floe::{Client, Record, TopicSpec};
use floe_server::{ConsoleOptions, console};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

/// Inputs of one console: changes of the inputs before must not fill the memory.
const LIFE: u32 = 2_000;

/// Longest answer that is read; streams go on.
const LONGEST: usize = 1 << 20;

/// Time of the paused clock after which an answer that goes on is left.
const LEFT: Duration = Duration::from_secs(300);

/// Runs the fuzz target on the console of this thread.
pub(crate) fn fuzz(data: &[u8]) {
    thread_local! {
        static WORLD: RefCell<Option<(World, u32)>> = const { RefCell::new(None) };
    }
    WORLD.with_borrow_mut(|world| {
        let (console, life) = world.get_or_insert_with(|| (World::new(), LIFE));
        console.receives(data);
        *life -= 1;
        if *life == 0 {
            *world = None;
        }
    });
}

/// A console with topics, records and a group.
struct World {
    runtime: Runtime,
    router: Router,
}

impl World {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
        let router = runtime.block_on(async {
            let client = Client::connect("memory:").await.expect("an engine");
            for topic in ["orders", "orders-dlq"] {
                client.admin().ensure_topic(TopicSpec::new(topic).partitions(2)).await.expect("a topic");
            }
            let producer = client.shared_producer("orders").await.expect("a producer");
            let records = (0..20).map(|n| Record::keyed("ada", format!("{{\"total\":{n}}}")));
            let sent = producer.send_all(records).await.expect("records");
            drop(sent);
            let at = floe::topic::Topic::from("orders").partition(0);
            client.admin().set_committed_offset("billing", at, 3).await.expect("a group");
            console(client, ConsoleOptions::default())
        });
        Self { runtime, router }
    }

    fn receives(&self, data: &[u8]) {
        let mut parts = data.splitn(3, |byte| *byte == b'\n');
        let [method, target, body] = [(); 3].map(|()| parts.next().unwrap_or_default());
        let target = [b"/api/v1/", target.strip_prefix(b"/").unwrap_or(target)].concat();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from(body.to_vec()));
        let Ok(request) = request else { return };
        self.runtime.block_on(async {
            let answered = tokio::time::timeout(LEFT, self.router.clone().oneshot(request)).await;
            let answer = answered.expect("an answer").expect("a router never fails");
            let status = answer.status();
            assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer:?}");
            // A tail of records goes on until its reader leaves.
            let _ = tokio::time::timeout(LEFT, to_bytes(answer.into_body(), LONGEST)).await;
        });
    }
}
