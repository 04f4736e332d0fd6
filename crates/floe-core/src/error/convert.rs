//! Converts errors of the wire format.

use floe_wire::WireError;

use super::{Error, ErrorKind};

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        let kind = match &error {
            WireError::TooLarge { .. } => ErrorKind::RecordTooLarge,
            // The bytes may be intact: another build can read them.
            WireError::CodecNotCompiled { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::CorruptData,
        };
        Self::new(kind, error.to_string())
    }
}
