//! The sources of values.

use std::{fmt, path::PathBuf};

/// Source of a value, weakest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingOrigin {
    /// The built-in default.
    Default,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The profile that it belongs to, if any.
        profile: Option<String>,
    },
    /// An environment variable.
    Environment(String),
    /// An option of the URL.
    Url,
    /// A flag of the command line.
    Flag(String),
    /// The program.
    Code,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, profile: None } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line, profile: Some(profile) } => {
                write!(f, "{}:{line} (profile {profile})", path.display())
            }
            Self::Environment(name) => write!(f, "variable {name}"),
            Self::Url => f.write_str("url"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Code => f.write_str("code"),
        }
    }
}
