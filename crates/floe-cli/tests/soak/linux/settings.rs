//! Arguments of the soak.

use std::{path::PathBuf, time::Duration};

const USAGE: &str = "arguments: --seconds N --round SECONDS --rate RECORDS-PER-SECOND --seed N";

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) duration: Duration,
    /// Length of a round, without the time that is needed to finish and judge it.
    pub(crate) round: Duration,
    /// Records a second of both scenes together.
    pub(crate) rate: u64,
    pub(crate) seed: u64,
    /// The binary `floe` under test: `FLOE_SOAK_BINARY`, or that of this build.
    pub(crate) binary: PathBuf,
}

impl Settings {
    /// Reads the arguments, of which later ones override earlier ones. `None` if they ask for another test, or for a list of
    /// the tests.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let binary = std::env::var_os("FLOE_SOAK_BINARY")
            .map_or_else(|| assert_cmd::cargo::cargo_bin!("floe").to_path_buf(), PathBuf::from);
        let minute = Duration::from_secs(60);
        let mut settings = Self { duration: minute, round: minute / 3, rate: 1000, seed: 1, binary };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect(USAGE).parse().expect(USAGE);
            match argument.as_str() {
                "--seconds" => settings.duration = Duration::from_secs(value()),
                "--round" => settings.round = Duration::from_secs(value()),
                "--rate" => settings.rate = value(),
                "--seed" => settings.seed = value(),
                "--list" => return None,
                // Options of the usual harness.
                option if option.starts_with('-') => {}
                filter if "soak".contains(filter) => {}
                _ => return None,
            }
        }
        Some(settings)
    }
}
