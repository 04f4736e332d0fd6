//! PEM texts: certificates and keys, in files or given by the program.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use floe_core::{Error, ErrorKind, Result, setting::Setting};

/// Source of a PEM text. `Debug` hides inline texts, which may be keys.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file, which is read when the engine connects.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

impl Pem {
    /// Returns the PEM text in a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// Returns a PEM text that the program has.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Inline(text.into())
    }

    pub(crate) fn read(&self, what: &str) -> Result<Vec<u8>> {
        match self {
            Self::Inline(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => std::fs::read(path).map_err(|error| {
                let message = format!("the {what} {} cannot be read: {error}", path.display());
                Error::new(ErrorKind::InvalidConfig, message).with_source(error)
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

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("(inline)"),
        }
    }
}

impl Setting for Pem {
    fn form() -> String {
        "path of a PEM file, or its text".to_owned()
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("write the path of a PEM file".to_owned()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }

    fn is_secret() -> bool {
        true
    }
}
