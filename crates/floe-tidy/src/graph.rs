//! The graph of modules of a library or program, and the circles in it.
//!
//! A module is a file. A use of an item is an edge to the module that defines the item, however many re-exports lie
//! between. Parents and children may use each other. Siblings are compared as wholes, with all that lies below them:
//! if `a::x` uses `b::y` and `b::z` uses `a::w`, then `a` and `b` are a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Finding, Repository,
    tree::{self, Module},
};

/// Re-exports that a name may go through before the search gives up.
const DEPTH: usize = 12;

/// Finds the circles of all packages: one finding for each edge between two siblings of a circle.
pub fn circles(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, package) in &repository.packages {
        for root in ["src/lib.rs", "src/main.rs"] {
            let modules = tree::modules(repository, &tree::join(folder, root));
            findings.extend(Graph::new(&modules).circles(&package.name));
        }
    }
    findings
}

/// The first use that makes an edge, and the number of all of them.
struct Edge {
    file: String,
    line: usize,
    target: String,
    uses: usize,
}

/// Edges between siblings by the module around them.
type Levels = BTreeMap<Vec<String>, BTreeMap<(String, String), Edge>>;

struct Graph<'m, 'r> {
    modules: &'m [Module<'r>],
    /// Modules by the module around them and their name.
    children: BTreeMap<(usize, &'m str), usize>,
}

impl<'m, 'r> Graph<'m, 'r> {
    fn new(modules: &'m [Module<'r>]) -> Self {
        let named = modules
            .iter()
            .enumerate()
            .filter_map(|(index, module)| Some(((module.parent?, module.path.last()?.as_str()), index)));
        Self { modules, children: named.collect() }
    }

    fn circles(&self, package: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (level, edges) in self.levels() {
            for members in knots(&edges) {
                let names: Vec<_> = members.iter().copied().collect();
                let inside = |(from, to): &(String, String)| {
                    members.contains(from.as_str()) && members.contains(to.as_str())
                };
                for ((from, to), edge) in edges.iter().filter(|(pair, _)| inside(pair)) {
                    let message = format!(
                        "circle of {}::{{{}}}: `{from}` uses `{to}` ({} times, here {}): turn one arrow around",
                        [&[package.to_owned()], level.as_slice()].concat().join("::"),
                        names.join(", "),
                        edge.uses,
                        edge.target,
                    );
                    findings.push(Finding::new(&edge.file, edge.line, message));
                }
            }
        }
        findings
    }

    fn levels(&self) -> Levels {
        let mut levels = Levels::new();
        for (at, module) in self.modules.iter().enumerate().filter(|(_, module)| !module.test) {
            let imports = module.scope.imports.iter().map(|i| (&i.path, i.line));
            let paths = module.scope.paths.iter().map(|p| (&p.segments, p.line));
            for (path, line) in imports.chain(paths) {
                if let Some(target) = self.resolve(at, path, DEPTH) {
                    self.add(&mut levels, (at, self.modules[target].owner), line, path);
                }
            }
        }
        levels
    }

    fn add(&self, levels: &mut Levels, (from, to): (usize, usize), line: usize, target: &[String]) {
        let (from, to) = (&self.modules[self.modules[from].owner], &self.modules[to]);
        let shared = from.path.iter().zip(&to.path).take_while(|(a, b)| a == b).count();
        // Where one of the two ends here, it is around the other, or both are the same.
        let (Some(source), Some(sink)) = (from.path.get(shared), to.path.get(shared)) else { return };
        let edges = levels.entry(from.path[..shared].to_vec()).or_default();
        let edge = edges.entry((source.clone(), sink.clone())).or_insert_with(|| Edge {
            file: from.file.clone(),
            line,
            target: target.join("::"),
            uses: 0,
        });
        edge.uses += 1;
    }

    /// Returns the module that defines what `path` means in the module `at`; nothing if it is not of this target.
    fn resolve(&self, at: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(0, rest, depth),
            "self" => self.descend(at, rest, depth),
            "super" => self.descend(self.modules[at].parent?, rest, depth),
            _ if self.defines(at, first) => self.descend(at, path, depth),
            _ => None,
        }
    }

    fn defines(&self, at: usize, name: &str) -> bool {
        let scope = self.modules[at].scope;
        self.children.contains_key(&(at, name))
            || scope.items.iter().any(|item| item == name)
            || scope.imports.iter().any(|import| import.name == name)
    }

    /// Follows `path` down from the module `at`.
    fn descend(&self, at: usize, path: &[String], depth: usize) -> Option<usize> {
        let Some((name, rest)) = path.split_first() else { return Some(at) };
        let depth = depth.checked_sub(1)?;
        if name == "super" {
            return self.descend(self.modules[at].parent?, rest, depth);
        }
        if let Some(child) = self.children.get(&(at, name.as_str())) {
            return self.descend(*child, rest, depth);
        }
        let scope = self.modules[at].scope;
        if scope.items.contains(name) {
            return Some(at);
        }
        if let Some(import) = scope.imports.iter().find(|import| import.name == *name) {
            let path = [import.path.as_slice(), rest].concat();
            // An import from another crate counts as defined where it is re-exported.
            return self.resolve(at, &path, depth).or(Some(at));
        }
        let globs = scope.imports.iter().filter(|import| import.name == "*");
        let through = globs
            .filter_map(|glob| self.resolve(at, &glob.path, depth))
            .find(|module| *module != at && self.defines(*module, name));
        through.map_or(Some(at), |module| self.descend(module, path, depth))
    }
}

/// Returns the strongly connected components of more than one node.
fn knots(edges: &BTreeMap<(String, String), Edge>) -> Vec<BTreeSet<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        next.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (*from, reach(&next, from))).collect();
    let mut knots: Vec<BTreeSet<&str>> = Vec::new();
    for (from, targets) in &reached {
        if !targets.contains(from) || knots.iter().any(|knot| knot.contains(from)) {
            continue;
        }
        let back = |to: &&&str| reached.get(**to).is_some_and(|targets| targets.contains(from));
        knots.push(targets.iter().filter(back).copied().collect());
    }
    knots
}

fn reach<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(at) = open.pop() {
        for to in next.get(at).into_iter().flatten() {
            if seen.insert(*to) {
                open.push(to);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let manifest = ("p/Cargo.toml", "[package]\nname = \"p\"");
        let files: Vec<_> = files.iter().copied().chain([manifest]).collect();
        circles(&repository(&files)).into_iter().map(|f| f.to_string()).collect()
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let found = found(&[
            ("p/src/lib.rs", "mod a; mod b; mod c;"),
            ("p/src/a.rs", "use crate::b::B;\npub struct A;"),
            ("p/src/b.rs", "pub struct B;\nfn f() { crate::a::A; super::a::A; }"),
            ("p/src/c.rs", "use crate::{a::A, b::B};"),
        ]);
        assert_eq!(
            found,
            [
                "p/src/a.rs:1: circle of p::{a, b}: `a` uses `b` (1 times, here crate::b::B): turn one arrow around",
                "p/src/b.rs:2: circle of p::{a, b}: `b` uses `a` (2 times, here crate::a::A): turn one arrow around",
            ]
        );
    }

    #[test]
    fn parents_and_children_are_no_circle() {
        let files = [
            ("p/src/lib.rs", "mod a; pub struct Root;"),
            ("p/src/a/mod.rs", "mod b; mod c; use b::B; pub struct A;"),
            ("p/src/a/b.rs", "use super::{A, c::C}; use crate::Root; pub struct B;"),
            ("p/src/a/c.rs", "pub struct C;"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn siblings_are_compared_with_all_that_lies_below_them() {
        let found = found(&[
            ("p/src/lib.rs", "mod a { mod x; pub mod w; } mod b { pub mod y; mod z; }"),
            ("p/src/a/x.rs", "use crate::b::y::Y;"),
            ("p/src/a/w.rs", "pub struct W;"),
            ("p/src/b/y.rs", "pub struct Y;"),
            ("p/src/b/z.rs", "use crate::a::w::W;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_re_export_leads_to_the_module_that_defines() {
        let found = found(&[
            ("p/src/lib.rs", "mod a; mod b; pub use a::*; pub use b::B as C;"),
            ("p/src/a.rs", "use crate::C;\npub struct A;"),
            ("p/src/b.rs", "use crate::A;\npub struct B;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn names_of_other_crates_and_tests_make_no_edge() {
        let files = [
            ("p/src/lib.rs", "mod a; mod b;"),
            ("p/src/a.rs", "use b::B; use std::mem; pub struct A; #[cfg(test)] mod t { use crate::b::B; }"),
            ("p/src/b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn an_item_that_a_macro_makes_counts_where_its_path_ends() {
        let found = found(&[
            ("p/src/lib.rs", "mod a; mod b; pub use a::Made; pub use missing::Gone;"),
            ("p/src/a.rs", "use crate::b::B;\nmake!(Made);"),
            ("p/src/b.rs", "use crate::{Gone, Made}; pub struct B;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
