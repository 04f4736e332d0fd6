//! TLS: settings, and the connector that the feature `tls` compiles in.

#[cfg(feature = "tls")]
mod connector;
#[cfg(not(feature = "tls"))]
#[path = "absent.rs"]
mod connector;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use floe_core::{Error, ErrorKind, Result};

pub(crate) use connector::{Tls, refusal};

/// Source of a PEM text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Pem {
    /// A file.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

impl Pem {
    fn read(&self, what: &str) -> Result<Vec<u8>> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => std::fs::read(path).map_err(|error| {
                invalid(format!("the {what} {} cannot be read: {error}", path.display())).with_source(error)
            }),
        }
    }
}

impl From<&str> for Pem {
    /// Takes text that begins like PEM as PEM, other text as a path.
    fn from(text: &str) -> Self {
        if text.trim_start().starts_with("-----BEGIN") {
            Self::Inline(text.to_owned())
        } else {
            Self::File(Path::new(text).to_owned())
        }
    }
}

/// Prints paths and hides inline texts, which may be keys.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("(inline)"),
        }
    }
}

/// TLS settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Certificate authorities for the server; the system's if `None`.
    pub(crate) ca: Option<Pem>,
    /// Client certificate, with `key`.
    pub(crate) cert: Option<Pem>,
    /// Private key of the client certificate.
    pub(crate) key: Option<Pem>,
    /// Name in the controller's certificate, in place of the host. Data servers have `<name>.<domain>`.
    pub(crate) domain: Option<String>,
    /// Whether the server's certificate is verified. Without verification, a man in the middle reads and changes
    /// everything.
    pub(crate) verify: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca: None, cert: None, key: None, domain: None, verify: true }
    }
}

/// Whether the first bytes of an answer are a TLS alert, which a TLS port sends to a plaintext client.
pub(crate) fn is_alert(start: [u8; 4]) -> bool {
    matches!(start, [0x15, 3, 0..=4, 0])
}

pub(crate) fn invalid(problem: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}
