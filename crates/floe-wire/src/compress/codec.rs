//! The codecs of a record batch by name, number and level, and the options that choose one.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use crate::WireError;

/// Codec of a batch's record section.
///
/// The numbers are those of the batch attributes of Fluvio 0.18; they differ from the numbers in a Fluvio topic spec.
/// Every variant exists in every build. A codec whose Cargo feature is off can be named, parsed and compared, but not
/// used: see [`Codec::is_compiled_in`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// No compression.
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
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the codec with this number.
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

    /// Returns the number of this codec in the batch attributes.
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

    /// Returns the lower-case name used in options and messages. The Cargo feature of the codec has the same name.
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

    /// Returns the levels that this codec has, or `None` if it has no levels.
    #[must_use]
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::None | Self::Snappy | Self::Lz4 => None,
            Self::Gzip => Some(0..=9),
            Self::Zstd => Some(1..=22),
        }
    }

    /// Returns whether this build can compress and decompress with the codec. [`Codec::None`] always works; each other
    /// codec needs the Cargo feature of its name.
    #[must_use]
    pub const fn is_compiled_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = WireError;

    fn from_str(name: &str) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
            WireError::malformed(
                "codec",
                format!("unknown codec '{name}', one of none, gzip, snappy, lz4, zstd"),
            )
        })
    }
}

/// Compression options of a batch, applied when it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The codec. Default: [`Codec::None`].
    pub codec: Codec,
    /// The codec's level, within [`Codec::levels`]. Default: `None`, the level that the official client uses (gzip 6,
    /// zstd 1).
    pub level: Option<i32>,
    /// Record sections of fewer uncompressed bytes than this stay uncompressed. Default: 1024, below which the codecs
    /// gain little. A batch also stays uncompressed when compression would not make it smaller.
    pub threshold: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self { codec: Codec::None, level: None, threshold: 1024 }
    }
}

impl Compression {
    /// Creates options for the codec at its default level, with the default threshold.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, ..Self::default() }
    }

    /// Checks codec and level. Options that pass fail neither check when the first batch closes.
    ///
    /// # Errors
    /// [`WireError::CodecNotCompiled`] if the codec's Cargo feature is off; [`WireError::Compression`] if the codec
    /// has no such level.
    pub fn validate(&self) -> Result<(), WireError> {
        check(self.codec, self.level)
    }
}

/// Checks that this build has the codec and that the codec has the level.
pub(super) fn check(codec: Codec, level: Option<i32>) -> Result<(), WireError> {
    if !codec.is_compiled_in() {
        return Err(not_compiled(codec));
    }
    let Some(level) = level else { return Ok(()) };
    match codec.levels() {
        Some(levels) if levels.contains(&level) => Ok(()),
        Some(levels) => {
            Err(failed(codec, &format!("level {level}, must be {} to {}", levels.start(), levels.end())))
        }
        None => Err(failed(codec, &format!("level {level} given, but this codec has no levels"))),
    }
}

pub(super) fn failed(codec: Codec, problem: &dyn fmt::Display) -> WireError {
    WireError::Compression { codec: codec.name(), problem: problem.to_string() }
}

pub(super) fn not_compiled(codec: Codec) -> WireError {
    WireError::CodecNotCompiled { codec: codec.name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_codecs() {
        for codec in Codec::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
            assert_eq!(codec.to_string(), codec.name());
            assert_eq!(Codec::from_code(codec.code()), Ok(codec));
        }
        let problem = "brotli".parse::<Codec>().unwrap_err().to_string();
        assert_eq!(problem, "codec: unknown codec 'brotli', one of none, gzip, snappy, lz4, zstd");
        assert!(Codec::from_code(5).is_err());
    }

    #[test]
    fn levels_are_checked() {
        for (codec, level, valid) in [
            (Codec::Gzip, 9, true),
            (Codec::Gzip, 10, false),
            (Codec::Gzip, -1, false),
            (Codec::Zstd, 22, true),
            (Codec::Zstd, 23, false),
            (Codec::Zstd, 0, false),
            (Codec::Lz4, 1, false),
            (Codec::Snappy, 1, false),
            (Codec::None, 1, false),
        ] {
            let compression = Compression { level: Some(level), ..Compression::new(codec) };
            let outcome = compression.validate();
            if codec.is_compiled_in() {
                assert_eq!(outcome.is_ok(), valid, "{codec} {level}");
            } else {
                assert_eq!(outcome, Err(not_compiled(codec)));
            }
        }
        assert_eq!(Compression::default().validate(), Ok(()));
        if Codec::Zstd.is_compiled_in() {
            let compression = Compression { level: Some(23), ..Compression::new(Codec::Zstd) };
            let problem = compression.validate().unwrap_err().to_string();
            assert_eq!(problem, "zstd: level 23, must be 1 to 22");
        }
    }

    #[test]
    fn a_codec_that_is_not_compiled_in_is_named_with_its_feature() {
        assert_eq!(
            not_compiled(Codec::Zstd).to_string(),
            "compression codec \"zstd\" is not compiled in: enable the feature \"zstd\" of floe"
        );
    }
}
