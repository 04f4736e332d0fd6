//! Kinds of simulation.

use crate::{
    leaders,
    plan::Fault,
    server::{CONTROLLER, DATA, WALRUS},
};

/// Kind of a simulation: engine, server and possible faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Fluvio engine against floe's server.
    Fluvio,
    /// The Walrus engine against floe's server.
    Walrus,
    /// The Fluvio engine against a scripted cluster of two data servers whose partitions change leaders.
    Leaders,
    /// Members of a shared group over the Fluvio engine against floe's server.
    Groups,
    /// The Fluvio engine against floe's server over the log of `floe-log`, whose disk fails too.
    Disk,
    /// Exactly-once processors over the Fluvio engine against floe's server.
    ExactlyOnce,
    /// An outbox and a processor that works at least once, over the Fluvio engine against floe's server over a log on a disk
    /// that fails too.
    Applications,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Fluvio,
        Self::Walrus,
        Self::Leaders,
        Self::Groups,
        Self::Disk,
        Self::ExactlyOnce,
        Self::Applications,
    ];

    /// Returns the name of the test of this kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fluvio => "fluvio",
            Self::Walrus => "walrus",
            Self::Leaders => "leaders",
            Self::Groups => "groups",
            Self::Disk => "disk",
            Self::ExactlyOnce => "exactly_once",
            Self::Applications => "applications",
        }
    }

    /// Returns whether the log is on a disk.
    pub(crate) fn has_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Applications)
    }

    /// Returns the name of the topic.
    pub(crate) fn topic(self) -> &'static str {
        if self == Self::Leaders { leaders::TOPIC } else { "orders" }
    }

    /// Returns the hosts that faults may hit.
    pub(crate) fn hosts(self) -> &'static [&'static str] {
        const FLUVIO: &[&str] = &[CONTROLLER.0, DATA.0];
        const WALRUS_ONLY: &[&str] = &[WALRUS.0];
        match self {
            Self::Fluvio | Self::Groups | Self::Disk | Self::ExactlyOnce | Self::Applications => FLUVIO,
            Self::Walrus => WALRUS_ONLY,
            Self::Leaders => leaders::HOSTS,
        }
    }

    /// Returns the planned faults to choose from.
    pub(crate) fn planned_faults(self) -> &'static [Fault] {
        use Fault::{
            Crash, CutAll, CutOne, FailSyncs, FullDisk, LoseTail, MoveLeaders, Partition, PowerLoss, Refuse,
            Restart,
        };
        match self {
            Self::Fluvio | Self::Walrus | Self::ExactlyOnce => {
                &[CutAll, CutOne, Partition, Refuse, Crash, Restart]
            }
            Self::Groups => &[CutAll, CutOne, Partition, Refuse, Crash, Restart, LoseTail, LoseTail],
            Self::Disk | Self::Applications => &[
                CutAll, CutOne, Partition, Refuse, Crash, Crash, Restart, PowerLoss, PowerLoss, PowerLoss,
                FailSyncs, FullDisk,
            ],
            Self::Leaders => &[CutAll, CutOne, Partition, Refuse, MoveLeaders, MoveLeaders, MoveLeaders],
        }
    }
}
