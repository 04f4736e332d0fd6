//! Where a value comes from.

use std::{fmt, path::PathBuf};

/// Where the value of a setting comes from, weakest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The profile whose section it stands in, if any.
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

impl fmt::Display for Origin {
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
