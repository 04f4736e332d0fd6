//! Style rules as tests. `cargo test -p floe-tidy` reads every `*.rs`, `*.md` and `Cargo.toml` of the repository and
//! checks what a compiler does not: lengths, words, names, the graph of modules and the arrows between crates.
//!
//! A rule is a function from a [`Repository`] and its limits to [`Finding`]s. The limits stand in [`limits`], the runs
//! over this repository in `tests/tidy.rs`, and each rule's own tests beside it, on small repositories in memory.

pub mod arrows;
pub mod graph;
pub mod length;
pub mod lexer;
pub mod limits;
pub mod links;
pub mod manifests;
pub mod names;
pub mod outline;
pub mod repository;
pub mod signatures;
pub mod tree;
pub mod words;

use std::fmt;

pub use repository::Repository;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The broken rule, and the way to mend it.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}
