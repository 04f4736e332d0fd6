//! A small cluster of two data servers whose partitions change leaders. floe's own server is one node, so this is the
//! scripted peer of the engine's tests, reached through the simulated network.

use floe_server::Accept;
use floe_testkit::fluvio as peer;
use floe_wire::batch::EncodedBatch;
use tokio::{io::copy_bidirectional, task::JoinSet};

use crate::{network::Network, rng::Rng, trace::Trace, world::CONTROLLER};

/// Hosts of the cluster.
pub(crate) const HOSTS: &[&str] = &[CONTROLLER.0, "spu"];

/// The topic that the cluster has.
pub(crate) const TOPIC: &str = peer::TOPIC;

/// The cluster.
#[derive(Debug, Clone)]
pub(crate) struct Leaders {
    cluster: peer::Cluster,
    trace: Trace,
}

impl Leaders {
    /// A cluster with one topic, whose partitions are led by the first data server.
    pub(crate) fn new(partitions: u32, trace: &Trace) -> Self {
        Self { cluster: peer::Cluster::new(partitions), trace: trace.clone() }
    }

    /// Serves until the tasks are dropped.
    pub(crate) fn serve(&self, network: &Network) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        let ports = peer::SPUS.iter().map(|(_, port)| ("spu", *port));
        for (host, port) in ports.chain([CONTROLLER]) {
            let mut listening = network.listen(host, port);
            let cluster = self.cluster.clone();
            serving.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok(mut from) = listening.accept().await {
                    let cluster = cluster.clone();
                    connections.spawn(async move {
                        if let Ok(mut peer) = cluster.connect(port) {
                            // However it ends, it has ended.
                            let _ = copy_bidirectional(&mut from, &mut peer).await;
                        }
                    });
                }
            });
        }
        serving
    }

    /// Gives some partitions another leader. The old one refuses from now on; clients may know or not.
    pub(crate) fn move_some(&self, rng: &mut Rng) {
        self.cluster.change(|state| {
            for (partition, leader) in &mut state.leaders {
                if rng.percent(70) {
                    let (id, _) = peer::SPUS[rng.below(peer::SPUS.len())];
                    *leader = id;
                    self.trace.note(format_args!("{partition} is led by {id}"));
                }
            }
        });
    }

    /// All batches of a partition that are stored.
    pub(crate) fn batches(&self, partition: u32) -> Vec<EncodedBatch> {
        self.cluster.state.lock().partitions.get(&partition).cloned().unwrap_or_default()
    }
}
