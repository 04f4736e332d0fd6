//! Links and paths in pages, which go stale when files move.

use crate::{Finding, Repository, tree::join};

/// Finds relative links of pages, and paths below `crates/` or `docs/` in backticks, for which `exists` is false.
pub fn broken(repository: &Repository, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, line) in text.lines().enumerate() {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
            let linked = links.map(|link| join(folder, link.split('#').next().unwrap_or(link)));
            let quoted =
                line.split('`').skip(1).step_by(2).filter(|code| is_path(code)).map(|code| join("", code));
            for target in linked.chain(quoted).filter(|target| !exists(target)) {
                findings.push(Finding::new(path, at + 1, format!("there is no {target}")));
            }
        }
    }
    findings
}

fn is_path(code: &str) -> bool {
    (code.starts_with("crates/") || code.starts_with("docs/"))
        && code.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    #[test]
    fn links_and_paths_to_nothing_are_found() {
        let page = "[a](a.md#x) [b](../b.md) [c](https://c) [d](#d)\n`crates/x/src/` and `crates/<name>/y`\n";
        let repository = repository(&[("docs/p.md", page), ("docs/a.md", "")]);
        let found: Vec<_> =
            broken(&repository, |path| path == "docs/a.md").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/p.md:1: there is no b.md", "docs/p.md:2: there is no crates/x/src"]);
    }
}
