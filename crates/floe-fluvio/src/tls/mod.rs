//! TLS: the connector, which the feature `tls` compiles in.

#[cfg(feature = "tls")]
mod connector;
#[cfg(not(feature = "tls"))]
#[path = "absent.rs"]
mod connector;

pub(crate) use connector::{Tls, refusal};

/// Whether the first bytes of an answer are a TLS alert, which a TLS port sends to a plaintext client.
pub(crate) fn is_alert(start: [u8; 4]) -> bool {
    matches!(start, [0x15, 3, 0..=4, 0])
}
