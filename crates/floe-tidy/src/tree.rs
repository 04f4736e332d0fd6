//! The tree of modules of each target.

use std::collections::BTreeSet;

use crate::{
    Finding, Repository,
    limits::Exception,
    outline::{Declared, Scope},
};

/// A module of a target.
#[derive(Debug)]
pub struct Module<'r> {
    /// Names from the root of the target, which has none.
    pub path: Vec<String>,
    /// The file that its content is in.
    pub file: String,
    /// Its content.
    pub scope: &'r Scope,
    /// Whether it exists in tests only.
    pub test: bool,
    /// The module around it.
    pub parent: Option<usize>,
    /// The innermost module, itself or around it, that is a file of its own.
    pub owner: usize,
}

/// Returns the modules of the target whose root file is `root`: itself first, parents before children.
pub fn modules<'r>(repository: &'r Repository, root: &str) -> Vec<Module<'r>> {
    let mut modules = Vec::new();
    if let Some(outline) = repository.outlines.get(root) {
        let scope = &outline.root;
        let file = root.to_owned();
        modules.push(Module { path: Vec::new(), file, scope, test: false, parent: None, owner: 0 });
        add_children(repository, 0, &folder(root), &mut modules);
    }
    modules
}

fn add_children<'r>(repository: &'r Repository, at: usize, base: &str, modules: &mut Vec<Module<'r>>) {
    let (scope, file, path, outer) = {
        let module = &modules[at];
        (module.scope, module.file.clone(), module.path.clone(), module.test)
    };
    for declared in &scope.modules {
        let test = outer || declared.test;
        let path = [path.as_slice(), std::slice::from_ref(&declared.name)].concat();
        let index = modules.len();
        if let Some(content) = &declared.content {
            let owner = modules[at].owner;
            modules.push(Module { path, file: file.clone(), scope: content, test, parent: Some(at), owner });
            add_children(repository, index, &join(base, &declared.name), modules);
        } else if let Some(child) = file_of(repository, &file, base, declared) {
            let scope = &repository.outlines[&child].root;
            let below = if child.ends_with("/mod.rs") || declared.path.is_some() {
                folder(&child)
            } else {
                child.trim_end_matches(".rs").to_owned()
            };
            modules.push(Module { path, file: child, scope, test, parent: Some(at), owner: index });
            add_children(repository, index, &below, modules);
        }
    }
}

/// Returns the file of a declared module, if there is one.
fn file_of(repository: &Repository, file: &str, base: &str, declared: &Declared) -> Option<String> {
    let candidates = match &declared.path {
        Some(path) => vec![join(&folder(file), path)],
        None => vec![
            join(base, &format!("{}.rs", declared.name)),
            join(base, &format!("{}/mod.rs", declared.name)),
        ],
    };
    candidates.into_iter().find(|path| repository.outlines.contains_key(path))
}

fn folder(path: &str) -> String {
    path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned())
}

/// Joins a path to a folder and resolves `..`.
pub(crate) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the root files of all targets of the package in `package`.
pub fn roots(repository: &Repository, package: &str) -> Vec<String> {
    let mut roots = BTreeSet::new();
    for path in repository.outlines.keys() {
        let Some(inside) = path.strip_prefix(package).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let parts: Vec<&str> = inside.split('/').collect();
        let root = match parts[..] {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => true,
            ["tests" | "benches" | "examples", _] => true,
            [kind, _, name] => name == "main.rs" && ["tests", "benches", "examples"].contains(&kind),
            _ => false,
        };
        if root {
            roots.insert(path.clone());
        }
    }
    for (_, target) in repository.packages.get(package).map(|p| &p.manifest).into_iter().flatten() {
        for path in target.as_array().into_iter().flatten().filter_map(|t| t.get("path")?.as_str()) {
            roots.insert(join(package, path));
        }
    }
    roots.into_iter().collect()
}

/// Finds Rust files that belong to no target: no compiler reads them.
pub fn orphans(repository: &Repository) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for package in repository.packages.keys() {
        for root in roots(repository, package) {
            reached.extend(modules(repository, &root).into_iter().map(|module| module.file));
        }
    }
    let orphans = repository.outlines.keys().filter(|path| !reached.contains(*path));
    orphans.map(|path| Finding::new(path, 1, "no module names this file: declare it or delete it")).collect()
}

/// Finds `#[path]` attributes that leave their package, except in files below a path in `exceptions`.
pub fn foreign_paths(repository: &Repository, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, outline) in repository.rust() {
        if exceptions.iter().any(|e| file.starts_with(e.name)) {
            continue;
        }
        for declared in &outline.root.modules {
            let Some(path) = &declared.path else { continue };
            let target = join(&folder(file), path);
            if repository.package_of(&target) != repository.package_of(file) {
                let message = format!("`#[path]` reaches into another crate, {target}: share it by a crate");
                findings.push(Finding::new(file, declared.line, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    const MANIFEST: &str = "[package]\nname = \"a\"\n[[test]]\nname = \"t\"\npath = \"checks/t.rs\"\n";

    #[test]
    fn modules_are_found_in_their_files() {
        let repository = repository(&[
            ("a/Cargo.toml", MANIFEST),
            ("a/src/lib.rs", "mod b; mod c { mod d; } #[cfg(test)] mod t;"),
            ("a/src/b/mod.rs", "mod e;"),
            ("a/src/b/e.rs", "mod f;"),
            ("a/src/b/e/f.rs", ""),
            ("a/src/c/d.rs", ""),
            ("a/src/t.rs", ""),
        ]);
        let found = modules(&repository, "a/src/lib.rs");
        let names: Vec<_> = found.iter().map(|m| (m.path.join("::"), m.file.as_str(), m.test)).collect();
        let expected = [
            ("", "a/src/lib.rs", false),
            ("b", "a/src/b/mod.rs", false),
            ("b::e", "a/src/b/e.rs", false),
            ("b::e::f", "a/src/b/e/f.rs", false),
            ("c", "a/src/lib.rs", false),
            ("c::d", "a/src/c/d.rs", false),
            ("t", "a/src/t.rs", true),
        ];
        assert_eq!(names, expected.map(|(path, file, test)| (path.to_owned(), file, test)));
        assert!(orphans(&repository).is_empty());
    }

    #[test]
    fn a_file_that_no_target_reaches_is_found() {
        let repository = repository(&[
            ("a/Cargo.toml", MANIFEST),
            ("a/src/lib.rs", "mod b;"),
            ("a/src/b.rs", ""),
            ("a/src/c.rs", ""),
            ("a/tests/one.rs", "mod shared;"),
            ("a/tests/shared/mod.rs", ""),
            ("a/tests/two/main.rs", ""),
            ("a/tests/two/part.rs", ""),
            ("a/checks/t.rs", ""),
        ]);
        let found: Vec<_> = orphans(&repository).into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["a/src/c.rs", "a/tests/two/part.rs"]);
    }

    #[test]
    fn a_path_into_another_package_is_found() {
        let repository = repository(&[
            ("a/Cargo.toml", MANIFEST),
            ("a/tests/t.rs", "#[path = \"../src/x.rs\"] mod x;\n#[path = \"../../b/src/y.rs\"] mod y;"),
            ("a/fuzz/t.rs", "#[path = \"../../b/src/y.rs\"] mod y;"),
            ("b/Cargo.toml", "[package]\nname = \"b\""),
        ]);
        let found = foreign_paths(&repository, &[Exception { name: "a/fuzz/", reason: "a test" }]);
        assert_eq!(
            found.iter().map(|f| (f.path.as_str(), f.line)).collect::<Vec<_>>(),
            [("a/tests/t.rs", 2)]
        );
    }
}
