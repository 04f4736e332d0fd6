//! Types of inner crates in public signatures.

use std::collections::BTreeSet;

use crate::{
    Finding, Repository,
    limits::Exception,
    names::{each_type, is_published},
    outline::Scope,
};

/// Finds types of the crates `inner` in public signatures of published libraries, unless the library re-exports the type
/// or its module by name. An exception is the beginning of a file's path, or of a type's.
///
/// The rule takes every `pub` item for public, which the lint `unreachable_pub` makes true.
pub fn leaks(repository: &Repository, inner: &[&str], exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, package) in &repository.packages {
        let own = package.name.replace('-', "_");
        let files: Vec<(&str, &Scope)> = repository
            .rust()
            .filter(|(path, _)| repository.package_of(path) == Some(folder) && is_published(repository, path))
            .map(|(path, outline)| (path, &outline.root))
            .collect();
        let library = Library::of(&files);
        for (file, scope) in files.iter().filter(|(file, _)| !excepted(exceptions, file)) {
            library.check(scope, &mut |line, path| {
                if path[0] != own && inner.contains(&path[0].as_str()) {
                    let path = path.join("::");
                    if !excepted(exceptions, &path) {
                        let message = format!("`{path}` in a public signature: re-export it or hide it");
                        findings.push(Finding::new(file, line, message));
                    }
                }
            });
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn excepted(exceptions: &[Exception], path: &str) -> bool {
    exceptions.iter().any(|e| path.starts_with(e.name))
}

/// The public names of a library.
#[derive(Default)]
struct Library {
    types: BTreeSet<String>,
    /// Paths that it re-exports.
    exports: BTreeSet<Vec<String>>,
}

impl Library {
    fn of(files: &[(&str, &Scope)]) -> Self {
        let mut library = Self::default();
        for (_, scope) in files {
            each_type(scope, &mut |found| {
                if found.public && !found.test {
                    library.types.insert(found.name.clone());
                }
            });
            library.add_exports(scope);
        }
        library
    }

    fn add_exports(&mut self, scope: &Scope) {
        let public = scope.imports.iter().filter(|import| import.public);
        self.exports.extend(public.map(|import| import.path.clone()));
        scope.modules.iter().filter_map(|m| m.content.as_ref()).for_each(|inner| self.add_exports(inner));
    }

    /// Calls `found` with line and full path of every exposed path that is not re-exported.
    fn check(&self, scope: &Scope, found: &mut impl FnMut(usize, &[String])) {
        for exposed in &scope.exposed {
            if exposed.of.as_ref().is_some_and(|of| !self.types.contains(of)) {
                continue;
            }
            let written = &exposed.path.segments;
            let Some((first, rest)) = written.split_first() else { continue };
            let import = scope.imports.iter().find(|import| import.name == *first);
            let path = import.map_or_else(|| written.clone(), |import| [&import.path, rest].concat());
            if !(1..=path.len()).any(|length| self.exports.contains(&path[..length])) {
                found(exposed.path.line, &path);
            }
        }
        for inner in scope.modules.iter().filter(|m| !m.test).filter_map(|m| m.content.as_ref()) {
            self.check(inner, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    fn found(source: &str) -> Vec<String> {
        let repository = repository(&[
            ("a/Cargo.toml", "[package]\nname = \"a\""),
            ("a/src/lib.rs", source),
            ("b/Cargo.toml", "[package]\nname = \"b\"\npublish = false"),
            ("b/src/lib.rs", "pub fn f(x: wire::X) {}"),
        ]);
        let exceptions = [Exception { name: "wire::Ok", reason: "a test" }];
        let names = leaks(&repository, &["wire", "a"], &exceptions).into_iter();
        names.map(|f| f.message.split('`').nth(1).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn types_in_public_signatures_are_found_through_imports() {
        assert_eq!(found("use wire::m::X; pub fn f(x: &[X]) {}"), ["wire::m::X"]);
        assert_eq!(found("use wire::m; pub struct S { pub x: Vec<m::X>, y: m::Y }"), ["wire::m::X"]);
        assert_eq!(found("pub trait T { fn f() -> impl Iterator<Item = wire::X>; }"), ["wire::X"]);
        assert_eq!(found("pub enum E { A(wire::X) } pub type Y = wire::Y;"), ["wire::X", "wire::Y"]);
    }

    #[test]
    fn implementations_count_if_their_type_is_public() {
        let of = |vis: &str| format!("{vis} struct S; impl From<wire::X> for S {{}}");
        assert_eq!(found(&of("pub")), ["wire::X"]);
        assert!(found(&of("pub(crate)")).is_empty());
        assert_eq!(
            found("pub struct S; impl S { pub fn f(x: wire::X) {} fn g(x: wire::Y) { wire::z() } }"),
            ["wire::X"]
        );
    }

    #[test]
    fn exports_exceptions_and_private_items_are_left_out() {
        assert!(found("pub use wire::X; use wire::X as Y; pub fn f(x: Y) {}").is_empty());
        assert!(found("pub use wire::m; pub fn f(x: m::X, y: wire::m::Y) {}").is_empty());
        assert!(found("pub fn f(x: wire::Ok, y: a::Own) {} pub(crate) fn g(x: wire::X) {}").is_empty());
        assert!(found("#[cfg(test)] pub fn f(x: wire::X) {}").is_empty());
    }
}
