//! The outline of a Rust file: its functions, types, modules, imports and paths, as plain data.

mod exposed;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, Meta, UseTree, Visibility, visit::Visit};

pub use exposed::Exposed;

/// The outline of a file.
#[derive(Debug, Default)]
pub struct Outline {
    /// All functions, those of tests and inside other functions included.
    pub functions: Vec<Function>,
    /// The content of the file.
    pub root: Scope,
}

/// A function and its length.
#[derive(Debug)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// Line of its signature.
    pub line: usize,
    /// Lines from the signature to the closing brace.
    pub length: usize,
}

/// The content of a module.
#[derive(Debug, Default)]
pub struct Scope {
    /// Structs, enums, unions, traits and aliases.
    pub types: Vec<TypeName>,
    /// Names of everything that is defined here and is no module.
    pub items: Vec<String>,
    /// Imports, one for each name.
    pub imports: Vec<Import>,
    /// Paths of two and more segments in code that is not for tests.
    pub paths: Vec<PathUse>,
    /// Paths in public signatures, those of tests left out.
    pub exposed: Vec<Exposed>,
    /// Modules declared here.
    pub modules: Vec<Declared>,
}

/// A type that a module defines.
#[derive(Debug)]
pub struct TypeName {
    /// Name of the type.
    pub name: String,
    /// Line of its name.
    pub line: usize,
    /// Whether it is `pub` without restriction.
    pub public: bool,
    /// Whether it exists in tests only.
    pub test: bool,
}

/// A name that a module imports.
#[derive(Debug)]
pub struct Import {
    /// Segments of the imported path.
    pub path: Vec<String>,
    /// The name that it gets here; `*` for a glob.
    pub name: String,
    /// Line of the import.
    pub line: usize,
    /// Whether it is a re-export: `pub` without restriction.
    pub public: bool,
}

/// A path used in code.
#[derive(Debug)]
pub struct PathUse {
    /// Segments of the path.
    pub segments: Vec<String>,
    /// Line of its first segment.
    pub line: usize,
}

/// A module that another one declares.
#[derive(Debug)]
pub struct Declared {
    /// Name of the module.
    pub name: String,
    /// Line of its declaration.
    pub line: usize,
    /// Whether it exists in tests only.
    pub test: bool,
    /// Value of its `#[path]`.
    pub path: Option<String>,
    /// Its content, unless it has a file of its own.
    pub content: Option<Scope>,
}

/// Reads the outline of `text`.
///
/// # Panics
///
/// Panics if `text` is not Rust.
pub fn read(path: &str, text: &str) -> Outline {
    let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}:{}: {e}", e.span().start().line));
    let mut functions = Functions::default();
    functions.visit_file(&file);
    Outline { functions: functions.0, root: scope(&file.items, is_test(&file.attrs)) }
}

/// Tells whether the attributes keep an item for tests.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let last = path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        match &attribute.meta {
            Meta::List(list) if path.is_ident("cfg") => {
                let words = words(&list.tokens);
                words.iter().any(|w| w == "test" || w == "doctest") && !words.iter().any(|w| w == "not")
            }
            _ => last == "test",
        }
    })
}

/// Returns all identifiers of a token stream, in order, those inside groups included.
fn words(tokens: &TokenStream) -> Vec<String> {
    let mut found = Vec::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => found.extend(words(&group.stream())),
            _ => {}
        }
    }
    found
}

fn scope(items: &[Item], test: bool) -> Scope {
    let mut scope = Scope::default();
    if !test {
        scope.exposed = exposed::exposed(items);
    }
    for item in items {
        let (attributes, name) = describe(item);
        let test = test || is_test(attributes);
        if let Some((ident, vis)) = type_name(item) {
            scope.types.push(TypeName {
                name: ident.to_string(),
                line: ident.span().start().line,
                public: matches!(vis, Visibility::Public(_)),
                test,
            });
        }
        scope.items.extend(name);
        match item {
            Item::Mod(module) => scope.modules.push(Declared {
                name: module.ident.to_string(),
                line: module.ident.span().start().line,
                test,
                path: path_attribute(&module.attrs),
                content: module.content.as_ref().map(|(_, items)| self::scope(items, test)),
            }),
            Item::Use(item) if !test && item.leading_colon.is_none() => {
                let line = item.use_token.span.start().line;
                let public = matches!(item.vis, Visibility::Public(_));
                flatten(&item.tree, &mut Vec::new(), &mut |path, name| {
                    scope.imports.push(Import { path, name, line, public });
                });
            }
            _ if !test => Paths(&mut scope.paths).visit_item(item),
            _ => {}
        }
    }
    scope
}

/// Returns the attributes of an item, and its name unless it is a module or an import.
fn describe(item: &Item) -> (&[Attribute], Option<String>) {
    let (attributes, ident) = match item {
        Item::Const(i) => (&i.attrs, Some(&i.ident)),
        Item::Enum(i) => (&i.attrs, Some(&i.ident)),
        Item::Fn(i) => (&i.attrs, Some(&i.sig.ident)),
        Item::Macro(i) => (&i.attrs, i.ident.as_ref()),
        Item::Static(i) => (&i.attrs, Some(&i.ident)),
        Item::Struct(i) => (&i.attrs, Some(&i.ident)),
        Item::Trait(i) => (&i.attrs, Some(&i.ident)),
        Item::Type(i) => (&i.attrs, Some(&i.ident)),
        Item::Union(i) => (&i.attrs, Some(&i.ident)),
        Item::Impl(i) => (&i.attrs, None),
        Item::Mod(i) => (&i.attrs, None),
        Item::Use(i) => (&i.attrs, None),
        _ => return (&[], None),
    };
    (attributes, ident.map(ToString::to_string))
}

fn type_name(item: &Item) -> Option<(&syn::Ident, &Visibility)> {
    Some(match item {
        Item::Enum(i) => (&i.ident, &i.vis),
        Item::Struct(i) => (&i.ident, &i.vis),
        Item::Trait(i) => (&i.ident, &i.vis),
        Item::Type(i) => (&i.ident, &i.vis),
        Item::Union(i) => (&i.ident, &i.vis),
        _ => return None,
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Calls `found` with path and name of everything that the tree imports.
fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>, String)) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, found)),
        UseTree::Glob(_) => found(prefix.clone(), "*".to_owned()),
        UseTree::Name(name) if name.ident == "self" => {
            found(prefix.clone(), prefix.last().cloned().unwrap_or_default());
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found([prefix.as_slice(), std::slice::from_ref(&name)].concat(), name);
        }
        UseTree::Rename(rename) if rename.ident == "self" => found(prefix.clone(), rename.rename.to_string()),
        UseTree::Rename(rename) => {
            found([prefix.as_slice(), &[rename.ident.to_string()]].concat(), rename.rename.to_string());
        }
    }
}

/// Collects the functions of a file.
#[derive(Default)]
struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let length = block.brace_token.span.close().end().line + 1 - line;
        self.0.push(Function { name: signature.ident.to_string(), line, length });
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// Collects the paths of an item, without those of its attributes and of tests inside it.
struct Paths<'s>(&'s mut Vec<PathUse>);

impl Paths<'_> {
    fn add(&mut self, segments: Vec<String>, line: usize) {
        if segments.len() > 1 {
            self.0.push(PathUse { segments, line });
        }
    }

    /// Finds `a::b::c` in the tokens of a macro, which are no syntax yet.
    fn scan(&mut self, tokens: &TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.add(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add(std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(&group.stream());
                    }
                }
            }
        }
        self.add(path, line);
    }
}

impl<'a> Visit<'a> for Paths<'_> {
    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|s| s.ident.to_string()).collect();
            let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
            self.add(segments, line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let line = item.use_token.span.start().line;
        flatten(&item.tree, &mut Vec::new(), &mut |path, _| self.add(path, line));
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.visit_path(&item.path);
        self.scan(&item.tokens);
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        read("a.rs", text).root.paths.iter().map(|p| p.segments.join("::")).collect()
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let outline = read("a.rs", "/// Doc.\n#[inline]\nfn a(\n) {\n}\nimpl X { fn b() {} }\n");
        let found: Vec<_> = outline.functions.iter().map(|f| (f.name.as_str(), f.line, f.length)).collect();
        assert_eq!(found, [("a", 3, 3), ("b", 6, 1)]);
    }

    #[test]
    fn imports_are_taken_apart() {
        let outline = read("a.rs", "use a::{self, b::*, c as d};");
        let found: Vec<_> =
            outline.root.imports.iter().map(|i| (i.path.join("::"), i.name.as_str())).collect();
        assert_eq!(found, [("a".into(), "a"), ("a::b".into(), "*"), ("a::c".into(), "d")]);
    }

    #[test]
    fn paths_are_found_in_code_and_in_macros() {
        assert_eq!(
            paths("fn f(x: crate::a::A) { y!(\"{}\", crate::b::c(super::d)); }"),
            ["crate::a::A", "crate::b::c", "super::d"]
        );
        assert_eq!(paths("fn f() { use crate::a::{B, C}; }"), ["crate::a::B", "crate::a::C"]);
    }

    #[test]
    fn code_for_tests_has_no_paths() {
        assert!(paths("#[cfg(test)] mod t { use crate::a::b; } #[test] fn f() { crate::a::b() }").is_empty());
        assert!(paths("impl X { #[cfg(test)] fn f() { crate::a::b() } }").is_empty());
        assert_eq!(paths("#[cfg(not(test))] fn f() { crate::a::b() }"), ["crate::a::b"]);
    }

    #[test]
    fn modules_carry_their_path_attribute() {
        let outline = read("a.rs", "#[path = \"../x.rs\"] mod a; mod b { struct C; }");
        assert_eq!(outline.root.modules[0].path.as_deref(), Some("../x.rs"));
        assert_eq!(outline.root.modules[1].content.as_ref().unwrap().types[0].name, "C");
    }
}
