//! The job of a child process.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// The client that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Official,
    Floe,
    /// No client: the upper bound.
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
            other => Err(format!("unknown client {other:?}")),
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
            other => Err(format!("unknown codec {other:?}").into()),
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
pub(crate) struct BenchmarkJob {
    pub(crate) sc: String,
    /// `HOST:PORT` of the data server, for jobs without a client.
    pub(crate) data_server: Option<String>,
    pub(crate) topic: String,
    pub(crate) records: u64,
    pub(crate) work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Sends all records and waits until all are acknowledged.
    Produce { size: usize, batch: Option<usize>, codec: Codec },
    /// Reads the backlog by records, or by batches where the client supports it.
    Consume { max_bytes: Option<i32>, by_batch: bool },
    /// Encodes batches and sends none.
    Encode { size: usize, batch: Option<usize>, codec: Codec },
    /// Sends single records without linger, each after the acknowledgement of the previous one.
    Latency { size: usize },
    /// Reads one record of a long backlog and then stalls for `seconds`.
    Stall { seconds: u64 },
}
