//! [`WireError`], the one error of this crate.

/// Reason why bytes cannot be decoded, or a value cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ended before the value did.
    #[error("{what}: {needed} bytes needed, {available} available")]
    Truncated {
        /// The value being read.
        what: &'static str,
        /// Number of bytes that the value needs.
        needed: usize,
        /// Number of bytes in the input.
        available: usize,
    },
    /// The input breaks the format.
    #[error("{what}: {problem}")]
    Malformed {
        /// The value being read.
        what: &'static str,
        /// Description of the fault.
        problem: String,
    },
    /// The stored checksum differs from the checksum of the bytes.
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
    /// A length or a size exceeds a limit.
    #[error("{what}: {size} bytes, at most {limit} allowed")]
    TooLarge {
        /// The value that is too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A number does not fit its field.
    #[error("{what}: {value} is outside {min}..={max}")]
    OutOfRange {
        /// Name of the field.
        what: &'static str,
        /// The value that does not fit.
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
    /// Compression or decompression failed, or the codec has no such level.
    #[error("{codec}: {problem}")]
    Compression {
        /// Name of the codec.
        codec: &'static str,
        /// Message of the codec.
        problem: String,
    },
}

impl WireError {
    /// Creates a [`WireError::Malformed`].
    pub(crate) fn malformed(what: &'static str, problem: impl Into<String>) -> Self {
        Self::Malformed { what, problem: problem.into() }
    }
}
