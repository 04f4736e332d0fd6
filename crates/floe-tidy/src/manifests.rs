//! Completeness of the manifests of published crates, and the compilers that their dependencies ask for.

use serde::Deserialize;

use crate::{Finding, Repository};

/// Finds published packages below `crates/` whose manifest lacks one of `keys`.
pub fn incomplete(repository: &Repository, keys: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, package) in &repository.packages {
        if !folder.starts_with("crates/") || !package.is_published() {
            continue;
        }
        let said = package.manifest.get("package").and_then(|table| table.as_table());
        for key in keys.iter().filter(|key| said.is_none_or(|said| !said.contains_key(**key))) {
            let message = format!("`{}` is published without `{key}`", package.name);
            findings.push(Finding::new(&format!("{folder}/Cargo.toml"), 1, message));
        }
    }
    findings
}

/// The part of `cargo metadata` that tells which compiler a package asks for.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    name: String,
    version: String,
    rust_version: Option<String>,
}

/// Finds packages of `metadata`, the output of `cargo metadata`, that ask for a newer compiler than `ours`.
///
/// The build with the oldest compiler finds them too, on a machine that has it.
///
/// # Errors
///
/// Fails if `metadata` is not the output of `cargo metadata`.
pub fn too_new(metadata: &str, ours: &str) -> Result<Vec<Finding>, serde_json::Error> {
    let metadata: Metadata = serde_json::from_str(metadata)?;
    let is_newer = |asked: &str| release(asked) > release(ours);
    let too_new =
        metadata.packages.iter().filter(|package| package.rust_version.as_deref().is_some_and(is_newer));
    let finding = |package: &Asked| {
        let asked = package.rust_version.as_deref().unwrap_or_default();
        let message =
            format!("`{} {}` asks for Rust {asked}, floe for {ours}", package.name, package.version);
        Finding::new("Cargo.lock", 1, message)
    };
    Ok(too_new.map(finding).collect())
}

/// Numbers of a release, `1.90` or `1.90.0`.
fn release(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    #[test]
    fn dependencies_that_ask_for_a_newer_compiler_are_found() {
        let package = |name: &str, asked: &str| {
            format!("{{\"name\":\"{name}\",\"version\":\"0.1.0\",\"rust_version\":{asked}}}")
        };
        let packages = [
            package("a", "null"),
            package("b", "\"1.90\""),
            package("c", "\"1.90.1\""),
            package("d", "\"1.100\""),
        ];
        let metadata = format!("{{\"packages\":[{}]}}", packages.join(","));
        let found: Vec<_> = too_new(&metadata, "1.90.0").unwrap().into_iter().map(|f| f.message).collect();
        assert_eq!(
            found,
            [
                "`c 0.1.0` asks for Rust 1.90.1, floe for 1.90.0",
                "`d 0.1.0` asks for Rust 1.100, floe for 1.90.0"
            ]
        );
    }

    #[test]
    fn only_published_crates_need_the_keys() {
        let repository = repository(&[
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\nlicense.workspace = true"),
            ("crates/b/Cargo.toml", "[package]\nname = \"b\"\npublish = false"),
            ("fuzz/Cargo.toml", "[package]\nname = \"c\""),
        ]);
        let found: Vec<_> =
            incomplete(&repository, &["license", "readme"]).iter().map(|f| f.message.clone()).collect();
        assert_eq!(found, ["`a` is published without `readme`"]);
    }
}
