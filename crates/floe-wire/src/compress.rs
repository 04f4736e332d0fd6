//! The five codecs of a record batch.

use crate::WireError;

/// How the record section of a batch is compressed. Numbers as in the batch attributes of Fluvio 0.18 (they differ
/// from the numbers in a Fluvio topic spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Stored as it is.
    #[default]
    None,
    /// RFC 1952 stream.
    Gzip,
    /// Snappy framing format.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
}

impl Codec {
    /// The codec with this number.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a number that no codec has.
    pub fn from_code(code: i16) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(WireError::malformed("batch attributes", format!("unknown codec {other}"))),
        }
    }

    /// The number of this codec in the batch attributes.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Lower-case name, as used in options and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}
