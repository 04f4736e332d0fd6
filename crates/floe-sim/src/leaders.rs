//! A scripted Fluvio cluster of two data servers whose partitions change leaders, because floe's own server is a single
//! node.

use floe_server::Accept;
use floe_testkit::fluvio as peer;
use floe_wire::batch::EncodedBatch;
use tokio::{io::copy_bidirectional, task::JoinSet};

use crate::{network::Network, rng::Rng, server::CONTROLLER, trace::Trace};

/// Hosts of the cluster.
pub(crate) const HOSTS: &[&str] = &[CONTROLLER.0, "spu"];

/// The topic of the cluster.
pub(crate) const TOPIC: &str = peer::TOPIC;

/// The scripted cluster in the simulated network.
#[derive(Debug, Clone)]
pub(crate) struct Leaders {
    cluster: peer::Cluster,
    trace: Trace,
}

impl Leaders {
    /// Creates a cluster with one topic, whose partitions the first data server leads.
    pub(crate) fn new(partitions: u32, trace: &Trace) -> Self {
        Self { cluster: peer::Cluster::new(partitions), trace: trace.clone() }
    }

    /// Serves connections until the returned tasks are dropped.
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
                            // Either side may break the connection, which ends the task.
                            let _ = copy_bidirectional(&mut from, &mut peer).await;
                        }
                    });
                }
            });
        }
        serving
    }

    /// Moves some partitions to another leader. The old leader refuses requests from now on.
    pub(crate) fn move_some(&self, rng: &mut Rng) {
        self.cluster.change(|state| {
            for (partition, leader) in &mut state.leaders {
                if rng.percent(70) {
                    let (id, _) = peer::SPUS[rng.below(peer::SPUS.len())];
                    *leader = id;
                    self.trace.note(format_args!("{id} leads partition {partition}"));
                }
            }
        });
    }

    /// Returns all stored batches of a partition.
    pub(crate) fn batches(&self, partition: u32) -> Vec<EncodedBatch> {
        self.cluster.state.lock().partitions.get(&partition).cloned().unwrap_or_default()
    }
}
