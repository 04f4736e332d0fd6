//! The faults of a scene, one after the other.

use std::{collections::BTreeMap, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::Scene;

/// A fault, and what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillServer,
    StopServer,
    FullDisk,
    KillMember,
    StopMember,
}

impl Fault {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KillServer => "server killed",
            Self::StopServer => "server stopped",
            Self::FullDisk => "disk full",
            Self::KillMember => "member killed",
            Self::StopMember => "member stopped",
        }
    }
}

/// How often each fault happened.
pub(crate) type FaultCounts = BTreeMap<&'static str, u64>;

impl Scene {
    /// Lets faults happen until the time has come. None is left then.
    pub(crate) async fn break_things(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let pause = self.rng.millis(1_000..=9_000);
            if Instant::now() + pause >= until {
                return Ok(());
            }
            sleep(pause).await;
            let servers: &[Fault] =
                if self.kills { &[Fault::KillServer, Fault::StopServer] } else { &[Fault::StopServer] };
            let fault = match self.rng.within(0..=9) {
                0..=3 => self.rng.pick(servers),
                4..=5 => Fault::FullDisk,
                6..=8 => Fault::KillMember,
                _ => Fault::StopMember,
            };
            *self.faults.entry(fault.as_str()).or_default() += 1;
            self.happen(fault).await?;
        }
    }

    async fn happen(&mut self, fault: Fault) -> Result<(), String> {
        let number = usize::try_from(self.rng.within(0..=self.members.len() as u64 - 1)).unwrap();
        match fault {
            Fault::KillServer => {
                self.server.kill().await;
                self.wait(3_000).await;
                self.server.restart().await
            }
            Fault::StopServer => {
                self.server.signal(Signal::STOP)?;
                self.wait(4_000).await;
                self.server.signal(Signal::CONT)
            }
            Fault::FullDisk => {
                self.server.fill_disk(true)?;
                self.wait(4_000).await;
                self.server.fill_disk(false)
            }
            Fault::KillMember => {
                let member = self.members.swap_remove(number);
                let name = member.name().to_owned();
                member.kill().await?;
                self.wait(6_000).await;
                self.join(&name);
                Ok(())
            }
            Fault::StopMember => {
                self.members[number].signal(Signal::STOP)?;
                self.wait(8_000).await;
                self.members[number].signal(Signal::CONT)
            }
        }
    }

    async fn wait(&mut self, longest: u64) {
        let pause: Duration = self.rng.millis(0..=longest);
        sleep(pause).await;
    }
}
