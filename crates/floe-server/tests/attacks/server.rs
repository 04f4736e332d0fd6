//! A server with small limits, and what it reports about itself.

use floe_server::{ServeLimits, ServeOptions, ServerMetrics, testkit::TestServer};
use floe_wire::fluvio::ErrorCode;

use crate::peer::{Peer, WalrusPeer, batch, topic};

/// Memory of the server under attack.
pub(crate) const MEMORY: usize = 16 << 20;

/// A server with a topic `well` that a good client uses.
pub(crate) struct Attacked {
    pub(crate) server: TestServer,
    metrics: ServerMetrics,
}

impl Attacked {
    pub(crate) async fn start(change: impl FnOnce(&mut ServeLimits)) -> Self {
        let mut limits = ServeLimits::default();
        limits.memory = MEMORY;
        limits.connections = 100;
        limits.frame_bytes = 1 << 20;
        limits.unread_bytes = 256 << 10;
        limits.response_bytes = 256 << 10;
        change(&mut limits);
        let mut options = ServeOptions::default();
        options.limits = limits;
        let metrics = options.metrics.clone();
        let server = TestServer::with("memory:", options).await.unwrap();
        topic(&server, "well", 1).await;
        Self { server, metrics }
    }

    /// Returns the sum of a metric over the points that have all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let families = self.metrics.families();
        let family = families.iter().find(|family| family.name == name).expect(name);
        let matching =
            family.points.iter().filter(|point| labels.iter().all(|label| point.labels.contains(label)));
        matching.map(|point| point.value).sum()
    }

    /// Memory that clients hold.
    pub(crate) fn held(&self) -> u64 {
        self.metric("floe_server_memory_bytes", &[])
    }

    /// Checks that the budget holds, and that a good client produces, reads, and finds the server alive.
    pub(crate) async fn is_well(&self) {
        assert!(self.held() <= MEMORY as u64, "{} bytes held", self.held());
        let mut peer = Peer::data(&self.server).await;
        let produced = peer.produce("well", &[batch(&["fine"])]).await;
        assert_eq!(produced.error_code, ErrorCode::None);
        let id = peer.open("well", produced.base_offset, 1000).await;
        assert_eq!(peer.pushed(id).await.partition.error_code, ErrorCode::None);
        assert!(WalrusPeer::connect(&self.server).await.ask("METRICS").await.contains("Leader"));
        assert!(self.held() <= MEMORY as u64, "{} bytes held", self.held());
    }

    /// Waits until all memory is returned.
    pub(crate) async fn is_empty(&self) {
        let empty = async {
            for _ in 0..4000 {
                if self.held() == 0 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let shown = |name| {
                self.metrics.families().into_iter().filter(move |family| family.name.starts_with(name))
            };
            let memory: Vec<_> = shown("floe_server_memory").map(|family| family.points).collect();
            let connections: Vec<_> = shown("floe_server_connections").map(|family| family.points).collect();
            panic!("memory stays held: {memory:?} {connections:?}");
        };
        crate::peer::within(empty).await;
    }
}
