//! Links, paths and names of tests in pages, which go stale when files move and tests get other names.

use crate::{Finding, Repository, tree::join};

/// Finds relative links of pages, and paths below `crates/` or `docs/` in backticks, for which `exists` is false; and
/// links to headings that their page does not have.
pub fn broken(repository: &Repository, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, line) in text.lines().enumerate() {
            let mut add = |message: String| findings.push(Finding::new(path, at + 1, message));
            for code in
                line.split('`').skip(1).step_by(2).filter(|code| is_path(code) && !exists(&join("", code)))
            {
                add(format!("there is no {code}"));
            }
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains("://")) {
                let (page, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = if page.is_empty() { path.clone() } else { join(folder, page) };
                let text = repository.files.get(&target);
                if text.is_none() && !exists(&target) {
                    add(format!("there is no {target}"));
                } else if !heading.is_empty() && !text.is_some_and(|text| has_heading(text, heading)) {
                    add(format!("there is no heading #{heading} in {target}"));
                }
            }
        }
    }
    findings
}

/// Finds tests that pages name and no file has. A page writes them in backticks: `file.rs::name`, with as much of the
/// file's path as it likes, `module::tests::name`, or `…::name` after another one.
pub fn missing_tests(repository: &Repository) -> Vec<Finding> {
    let has = |file: &str, name: &str| {
        let mut files = repository.rust().filter(|(path, _)| format!("/{path}").ends_with(file));
        files.any(|(_, outline)| outline.functions.iter().any(|function| function.name == name))
    };
    let mut findings = Vec::new();
    for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (at, line) in text.lines().enumerate() {
            for code in line.split('`').skip(1).step_by(2) {
                let Some((place, name)) = code.rsplit_once("::") else { continue };
                let found = if place.ends_with(".rs") {
                    has(&format!("/{place}"), name)
                } else if place == "…" || place.split("::").any(|part| part == "tests") {
                    has("", name)
                } else {
                    continue;
                };
                if !found {
                    findings.push(Finding::new(path, at + 1, format!("there is no test {code}")));
                }
            }
        }
    }
    findings
}

fn has_heading(page: &str, anchor: &str) -> bool {
    page.lines().filter(|line| line.starts_with('#')).any(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).eq(anchor.chars())
    })
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
        let page = "# It: a `d`\n[a](a.md#x) [b](../b.md) [c](https://c) [d](#it-a-d)\n`crates/x/src/` `crates/<name>/y`\n";
        let repository = repository(&[("docs/p.md", page), ("docs/a.md", "## Y\n")]);
        let found: Vec<_> = broken(&repository, |_| false).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/p.md:2: there is no heading #x in docs/a.md",
                "docs/p.md:2: there is no b.md",
                "docs/p.md:3: there is no crates/x/src/",
            ]
        );
        assert_eq!(broken(&repository, |_| true).len(), 1);
    }

    #[test]
    fn named_tests_that_do_not_exist_are_found() {
        let page = "`a::tests::f` `a::tests::g` `…::f` `…::h` `a::other`\n`t.rs::f` `a/t.rs::f` `b/t.rs::f` `a/t.rs::g`";
        let source = "mod x { #[test] fn f() {} }";
        let repository = repository(&[("docs/p.md", page), ("a/t.rs", source), ("c/u.rs", "fn k() {}")]);
        let found: Vec<_> = missing_tests(&repository).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["a::tests::g", "…::h", "b/t.rs::f", "a/t.rs::g"].map(|name| {
                let line = if name.contains(".rs") { 2 } else { 1 };
                format!("docs/p.md:{line}: there is no test {name}")
            })
        );
    }
}
