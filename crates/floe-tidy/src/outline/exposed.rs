//! The paths that public signatures of a module name.

use syn::{
    Attribute, ImplItem, Item, ItemImpl, Path, TraitItem, Type, Visibility,
    visit::{self, Visit},
};

use super::{PathUse, is_test};

/// A path in a public signature.
#[derive(Debug)]
pub struct Exposed {
    /// The path as written; it may have one segment only.
    pub path: PathUse,
    /// Name of the type whose implementation has the signature; nothing for other items. The signature is public only if
    /// that type is.
    pub of: Option<String>,
}

/// Returns the paths that the public signatures among `items` name.
pub(super) fn exposed(items: &[Item]) -> Vec<Exposed> {
    let mut signatures = Signatures { found: Vec::new(), of: None };
    for item in items {
        signatures.add_item(item);
    }
    signatures.found
}

struct Signatures {
    found: Vec<Exposed>,
    of: Option<String>,
}

impl Signatures {
    fn add_item(&mut self, item: &Item) {
        let (vis, attributes) = match item {
            Item::Const(i) => (&i.vis, &i.attrs),
            Item::Enum(i) => (&i.vis, &i.attrs),
            Item::Fn(i) => (&i.vis, &i.attrs),
            Item::Static(i) => (&i.vis, &i.attrs),
            Item::Struct(i) => (&i.vis, &i.attrs),
            Item::Trait(i) => (&i.vis, &i.attrs),
            Item::Type(i) => (&i.vis, &i.attrs),
            Item::Impl(i) if !is_test(&i.attrs) => return self.add_impl(i),
            _ => return,
        };
        if !is_public(vis) || is_test(attributes) {
            return;
        }
        match item {
            Item::Const(i) => self.visit_type(&i.ty),
            Item::Enum(i) => self.visit_item_enum(i),
            Item::Fn(i) => self.visit_signature(&i.sig),
            Item::Static(i) => self.visit_type(&i.ty),
            Item::Struct(i) => {
                self.visit_generics(&i.generics);
                i.fields
                    .iter()
                    .filter(|field| is_public(&field.vis))
                    .for_each(|field| self.visit_field(field));
            }
            Item::Trait(i) => {
                self.visit_generics(&i.generics);
                i.supertraits.iter().for_each(|bound| self.visit_type_param_bound(bound));
                i.items.iter().for_each(|item| self.add_trait_item(item));
            }
            Item::Type(i) => self.visit_type(&i.ty),
            _ => {}
        }
    }

    fn add_trait_item(&mut self, item: &TraitItem) {
        match item {
            TraitItem::Const(i) => self.visit_type(&i.ty),
            TraitItem::Fn(i) => self.visit_signature(&i.sig),
            TraitItem::Type(i) => i.bounds.iter().for_each(|bound| self.visit_type_param_bound(bound)),
            _ => {}
        }
    }

    fn add_impl(&mut self, item: &ItemImpl) {
        self.of = last_name(&item.self_ty);
        self.visit_generics(&item.generics);
        let of_trait = item.trait_.is_some();
        if let Some((path, _)) = &item.trait_ {
            self.visit_path(path);
        }
        for inner in &item.items {
            match inner {
                ImplItem::Const(i) if of_trait || is_public(&i.vis) => self.visit_type(&i.ty),
                ImplItem::Fn(i) if (of_trait || is_public(&i.vis)) && !is_test(&i.attrs) => {
                    self.visit_signature(&i.sig);
                }
                ImplItem::Type(i) => self.visit_type(&i.ty),
                _ => {}
            }
        }
        self.of = None;
    }
}

impl<'a> Visit<'a> for Signatures {
    fn visit_path(&mut self, path: &'a Path) {
        let segments = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.found.push(Exposed { path: PathUse { segments, line }, of: self.of.clone() });
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Reference(reference) => last_name(&reference.elem),
        _ => None,
    }
}
