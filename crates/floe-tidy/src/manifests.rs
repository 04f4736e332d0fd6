//! Completeness of the manifests of published crates.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

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
