//! The one error of this crate.

/// Why bytes could not be decoded, or a value could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ended before the value did.
    #[error("{what}: {needed} bytes needed, {available} available")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// How many bytes the value needs.
        needed: usize,
        /// How many bytes there were.
        available: usize,
    },
    /// The input breaks the format.
    #[error("{what}: {problem}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The stored checksum is not the checksum of the bytes.
    #[error(
        "record batch at offset {base_offset}: checksum {stored:#010x} stored, {computed:#010x} computed"
    )]
    Checksum {
        /// Base offset of the batch.
        base_offset: i64,
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A length or a size is over a limit.
    #[error("{what}: {size} bytes, at most {limit} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A number does not fit its field.
    #[error("{what}: {value} is outside {min}..={max}")]
    OutOfRange {
        /// What does not fit.
        what: &'static str,
        /// Its value.
        value: i64,
        /// The least value that fits.
        min: i64,
        /// The greatest value that fits.
        max: i64,
    },
    /// The codec's Cargo feature is off in this build.
    #[error("compression codec {codec:?} is not compiled in: enable the feature {codec:?} of floe")]
    CodecNotCompiled {
        /// Name of the codec, and of the feature.
        codec: &'static str,
    },
    /// A compressed section could not be (de)compressed.
    #[error("{codec}: {problem}")]
    Compression {
        /// Name of the codec.
        codec: &'static str,
        /// What the codec said.
        problem: String,
    },
}

impl WireError {
    /// Shorthand for [`WireError::Malformed`].
    pub(crate) fn malformed(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Malformed { what, problem: problem.into() }
    }
}
