//! Names of types.

use std::collections::BTreeMap;

use crate::{
    Finding, Repository,
    limits::Exception,
    outline::{Scope, TypeName},
};

/// Finds types whose whole name is one of `banned`: they do not say of what.
pub fn vague(repository: &Repository, banned: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, outline) in repository.rust() {
        each_type(&outline.root, &mut |found| {
            if banned.contains(&found.name.as_str()) {
                let message = format!("a type called `{}`: say of what", found.name);
                findings.push(Finding::new(path, found.line, message));
            }
        });
    }
    findings
}

/// Finds names that two public types of the published libraries have. An exception is a name, or the beginning of a
/// path whose types are left out.
pub fn colliding(repository: &Repository, exceptions: &[Exception]) -> Vec<Finding> {
    let mut types: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    for (path, outline) in repository.rust().filter(|(path, _)| is_published(repository, path)) {
        if exceptions.iter().any(|e| e.name.contains('/') && path.starts_with(e.name)) {
            continue;
        }
        each_type(&outline.root, &mut |found| {
            if found.public && !found.test {
                types.entry(found.name.clone()).or_default().push((path, found.line));
            }
        });
    }
    types.retain(|name, places| places.len() > 1 && !exceptions.iter().any(|e| e.name == name));
    let mut findings = Vec::new();
    for (name, places) in types {
        let others: Vec<_> = places.iter().map(|(path, line)| format!("{path}:{line}")).collect();
        let (path, line) = places[0];
        let message = format!("{} public types are called `{name}`: {}", places.len(), others.join(", "));
        findings.push(Finding::new(path, line, message));
    }
    findings
}

/// Tells whether the file is part of a library that users get.
pub(crate) fn is_published(repository: &Repository, path: &str) -> bool {
    repository.package_of(path).is_some_and(|folder| {
        path.starts_with(&format!("{folder}/src/"))
            && repository.files.contains_key(&format!("{folder}/src/lib.rs"))
            && repository.packages[folder].is_published()
    })
}

pub(crate) fn each_type(scope: &Scope, found: &mut impl FnMut(&TypeName)) {
    scope.types.iter().for_each(&mut *found);
    for content in scope.modules.iter().filter_map(|module| module.content.as_ref()) {
        each_type(content, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    #[test]
    fn vague_names_are_found_wherever_they_are() {
        let repository = repository(&[("a.rs", "mod m {\n struct State; }\nstruct PoolState;")]);
        let found = vague(&repository, &["State"]);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn two_public_types_of_one_name_collide() {
        let manifest = |name: &str| format!("[package]\nname = \"{name}\"");
        let repository = repository(&[
            ("a/Cargo.toml", &manifest("a")),
            ("a/src/lib.rs", "pub struct Error; pub struct A; pub(crate) struct B; mod m { pub enum C {} }"),
            ("b/Cargo.toml", &manifest("b")),
            ("b/src/lib.rs", "pub enum Error {} pub use a::A; pub struct B; pub trait C {}"),
            ("b/src/d.rs", "pub struct A;"),
            ("b/tests/t.rs", "pub struct A;"),
            ("c/Cargo.toml", "[package]\nname = \"c\"\npublish = false"),
            ("c/src/lib.rs", "pub struct A;"),
        ]);
        let exceptions = ["Error", "b/src/d.rs"].map(|name| Exception { name, reason: "a test" });
        let found = colliding(&repository, &exceptions);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("`C`: a/src/lib.rs:1, b/src/lib.rs:1"), "{}", found[0]);
    }
}
