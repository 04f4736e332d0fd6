//! The crates that each crate may use.

use crate::{Finding, Repository, limits::Arrows};

/// Finds dependencies between packages of the repository that `allowed` does not name, and packages below `crates/`
/// without an entry.
pub fn forbidden(repository: &Repository, allowed: &[Arrows]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, package) in repository.packages.iter().filter(|(folder, _)| folder.starts_with("crates/")) {
        let path = format!("{folder}/Cargo.toml");
        let Some(arrows) = allowed.iter().find(|a| a.from == package.name) else {
            let message = format!("`{}` has no entry in the table of arrows (limits.rs)", package.name);
            findings.push(Finding::new(&path, 1, message));
            continue;
        };
        for (dependency, development) in dependencies(&package.manifest) {
            let ours = repository.packages.values().any(|other| other.name == dependency);
            let named = arrows.to.contains(&dependency.as_str())
                || development && (arrows.tests.contains(&dependency.as_str()) || dependency == package.name);
            if ours && !named {
                let kind = if development { "its tests may" } else { "it may" };
                let line = line_of(&repository.files[&path], &dependency);
                let message =
                    format!("`{}` depends on `{dependency}`, which {kind} not (limits.rs)", package.name);
                findings.push(Finding::new(&path, line, message));
            }
        }
    }
    findings
}

/// Returns the names of the packages that a manifest depends on, and whether it does so for tests only.
fn dependencies(manifest: &toml::Table) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let targets = manifest.get("target").and_then(|t| t.as_table());
    let tables = targets.into_iter().flatten().filter_map(|(_, target)| target.as_table());
    for table in tables.chain([manifest]) {
        for (key, development) in
            [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
            for (name, value) in table.get(key).and_then(|d| d.as_table()).into_iter().flatten() {
                let name = value.get("package").and_then(|p| p.as_str()).unwrap_or(name);
                found.push((name.to_owned(), development));
            }
        }
    }
    found
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let at = manifest
        .lines()
        .position(|line| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '='])));
    at.map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    #[test]
    fn only_named_arrows_are_allowed() {
        let repository = repository(&[
            (
                "crates/low/Cargo.toml",
                "[package]\nname = \"low\"\n[dependencies]\nbytes = \"1\"\nhigh.path = \"\"",
            ),
            (
                "crates/high/Cargo.toml",
                "[package]\nname = \"high\"\n[target.'cfg(unix)'.dependencies]\nx = { package = \"low\" }\n\
                 [dev-dependencies]\nkit = \"1\"\nhigh = \"1\"",
            ),
            ("crates/kit/Cargo.toml", "[package]\nname = \"kit\""),
        ]);
        let arrows =
            [Arrows { from: "low", to: &[], tests: &[] }, Arrows { from: "high", to: &["low"], tests: &[] }];
        let found: Vec<_> = forbidden(&repository, &arrows).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/high/Cargo.toml:6: `high` depends on `kit`, which its tests may not (limits.rs)",
                "crates/kit/Cargo.toml:1: `kit` has no entry in the table of arrows (limits.rs)",
                "crates/low/Cargo.toml:5: `low` depends on `high`, which it may not (limits.rs)",
            ]
        );
    }
}
