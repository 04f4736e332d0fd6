//! What one child process does.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Whose client runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Official,
    Floe,
    /// No client: what is left of the work without one.
    Bare,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Official, Self::Floe];
}

impl FromStr for Side {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "official" => Ok(Self::Official),
            "floe" => Ok(Self::Floe),
            "bare" => Ok(Self::Bare),
            other => Err(format!("there is no client {other:?}")),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Official => "official",
            Self::Floe => "floe",
            Self::Bare => "bare",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Codec {
    None,
    Lz4,
    Zstd,
}

impl Codec {
    pub(crate) fn parse(name: &str) -> Outcome<Self> {
        match name {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            other => Err(format!("there is no codec {other:?} here").into()),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) sc: String,
    /// `HOST:PORT`, for those who know no controller.
    pub(crate) data_server: Option<String>,
    pub(crate) topic: String,
    pub(crate) records: u64,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Hands all records over, then waits until all are acknowledged.
    Produce { size: usize, batch: Option<usize>, codec: Codec },
    /// Reads the backlog record by record, or batch by batch where the client can.
    Consume { max_bytes: Option<i32>, by_batch: bool },
    /// Makes batches and sends none.
    Encode { size: usize, batch: Option<usize>, codec: Codec },
    /// One record at a time, each after the acknowledgement of the one before, without linger.
    Latency { size: usize },
    /// Reads one record of a long backlog and no other for `seconds`.
    Stall { seconds: u64 },
}
