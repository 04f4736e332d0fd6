//! The files that the rules read.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::outline::{self, Outline};

/// Folders that hold nothing of the repository's own.
const SKIPPED: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// The text files of the repository by their path from its root, with the outline of each Rust file.
#[derive(Debug, Default)]
pub struct Repository {
    /// Text of every `*.rs`, `*.md` and `Cargo.toml`.
    pub files: BTreeMap<String, String>,
    /// Outline of every Rust file.
    pub outlines: BTreeMap<String, Outline>,
    /// Every package by its folder.
    pub packages: BTreeMap<String, Package>,
}

/// A package: its name and its manifest.
#[derive(Debug)]
pub struct Package {
    /// Name in the manifest.
    pub name: String,
    /// The manifest itself.
    pub manifest: toml::Table,
}

impl Package {
    /// Tells whether the package is published to a registry.
    pub fn is_published(&self) -> bool {
        let publish = self.manifest.get("package").and_then(|p| p.get("publish"));
        publish.and_then(toml::Value::as_bool) != Some(false)
    }
}

impl Repository {
    /// Reads the repository below `root`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read.
    ///
    /// # Panics
    ///
    /// Panics if a file is not valid Rust or TOML.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, "", &mut files)?;
        Ok(Self::of(files))
    }

    /// Builds a repository from texts in memory.
    ///
    /// # Panics
    ///
    /// Panics if a file is not valid Rust or TOML.
    pub fn of(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        let mut repository = Self::default();
        for (path, text) in &files {
            if path.ends_with(".rs") {
                repository.outlines.insert(path.clone(), outline::read(path, text));
            } else if let Some(folder) = path.strip_suffix("Cargo.toml") {
                let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
                let name = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str());
                if let Some(name) = name.map(str::to_owned) {
                    let folder = folder.trim_end_matches('/').to_owned();
                    repository.packages.insert(folder, Package { name, manifest });
                }
            }
        }
        repository.files = files;
        repository
    }

    /// Returns the folder of the package that owns `path`.
    pub fn package_of(&self, path: &str) -> Option<&str> {
        let owns = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.packages.keys().map(String::as_str).filter(|folder| owns(folder)).max_by_key(|f| f.len())
    }

    /// Returns the Rust files with their outlines.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &Outline)> {
        self.outlines.iter().map(|(path, outline)| (path.as_str(), outline))
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                collect(&entry.path(), &path, files)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".md") || name == "Cargo.toml" {
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn repository(files: &[(&str, &str)]) -> Repository {
    Repository::of(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_innermost_package() {
        let manifest = |name: &str| format!("[package]\nname = \"{name}\"\n");
        let repository = repository(&[("a/Cargo.toml", &manifest("a")), ("a/b/Cargo.toml", &manifest("b"))]);
        assert_eq!(repository.package_of("a/src/lib.rs"), Some("a"));
        assert_eq!(repository.package_of("a/b/src/lib.rs"), Some("a/b"));
        assert_eq!(repository.package_of("ab/src/lib.rs"), None);
    }
}
