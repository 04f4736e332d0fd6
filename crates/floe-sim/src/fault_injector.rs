//! Execution of planned faults.

use crate::{
    disk::{LogDisk, Loss},
    leaders::Leaders,
    network::Network,
    plan::{Fault, PlannedFault},
    rng::Rng,
    server::Server,
    trace::Trace,
};

/// Time for which syncs fail before the machine goes down.
const FAILING: std::time::Duration = std::time::Duration::from_millis(500);

/// Executes planned faults.
#[derive(Debug, Clone)]
pub(crate) struct FaultInjector {
    pub(crate) network: Network,
    pub(crate) hosts: &'static [&'static str],
    pub(crate) server: Option<Server>,
    pub(crate) leaders: Option<Leaders>,
    pub(crate) disk: Option<LogDisk>,
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
            Fault::Crash | Fault::Restart | Fault::LoseTail | Fault::PowerLoss | Fault::FailSyncs => {
                let _turn = match &self.disk {
                    Some(disk) => Some(disk.turn().await),
                    None => None,
                };
                // The other line of faults may have taken the server down already.
                if let Some(server) = self.server.as_ref().filter(|server| server.is_up()) {
                    self.take_down(server, planned.fault).await?;
                    if planned.fault == Fault::LoseTail {
                        server.lose_tail(rng).await.map_err(|error| error.to_string())?;
                    }
                    wait().await;
                    if let Some(disk) = &self.disk {
                        disk.reopen()?;
                    }
                    server.boot();
                }
            }
            Fault::FullDisk => {
                if let Some(disk) = &self.disk {
                    disk.set_full(true);
                    wait().await;
                    disk.set_full(false);
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

    async fn take_down(&self, server: &Server, fault: Fault) -> Result<(), String> {
        if fault == Fault::Restart {
            server.stop().await?;
            if let Some(disk) = &self.disk {
                disk.close();
            }
            return Ok(());
        }
        if let Some(disk) = &self.disk {
            if fault == Fault::FailSyncs {
                disk.fail_syncs();
                tokio::time::sleep(FAILING).await;
            }
            let loss = if fault == Fault::Crash { Loss::Kill } else { Loss::Power };
            let (network, hosts) = (self.network.clone(), self.hosts);
            disk.crash(loss, move || hosts.iter().for_each(|host| network.cut_all(host))).await;
        }
        server.crash().await;
        Ok(())
    }
}
