//! Execution of planned faults.

use crate::{
    leaders::Leaders,
    network::Network,
    plan::{Fault, PlannedFault},
    rng::Rng,
    server::Server,
    trace::Trace,
};

/// Executes planned faults.
#[derive(Debug, Clone)]
pub(crate) struct FaultInjector {
    pub(crate) network: Network,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) server: Option<Server>,
    pub(crate) leaders: Option<Leaders>,
    pub(crate) trace: Trace,
}

impl FaultInjector {
    /// Waits, injects the fault, and ends it after its time.
    pub(crate) async fn inject(&self, planned: &PlannedFault, rng: &mut Rng) -> Result<(), String> {
        tokio::time::sleep(planned.after).await;
        let host = rng.pick(self.hosts);
        self.trace.note(format_args!("fault: {:?} at {host} for {:?}", planned.fault, planned.lasts));
        let wait = || tokio::time::sleep(planned.lasts);
        match planned.fault {
            Fault::CutAll => self.network.cut_all(host),
            Fault::CutOne => self.network.cut_one(rng),
            Fault::Partition => {
                self.network.set_reachable(host, false);
                wait().await;
                self.network.set_reachable(host, true);
            }
            Fault::Refuse => {
                self.network.set_refusing(host, true);
                wait().await;
                self.network.set_refusing(host, false);
            }
            Fault::Crash | Fault::Restart | Fault::LoseTail => {
                // The other line of faults may have taken the server down already.
                if let Some(server) = self.server.as_ref().filter(|server| server.is_up()) {
                    if planned.fault == Fault::Restart {
                        server.stop().await?;
                    } else {
                        server.crash().await;
                    }
                    if planned.fault == Fault::LoseTail {
                        server.lose_tail(rng).await.map_err(|error| error.to_string())?;
                    }
                    wait().await;
                    server.boot();
                }
            }
            Fault::MoveLeaders => {
                if let Some(leaders) = &self.leaders {
                    leaders.move_some(rng);
                }
            }
        }
        Ok(())
    }
}
