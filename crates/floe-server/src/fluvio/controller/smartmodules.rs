//! SmartModules that the cluster keeps: stored, listed and deleted.

use floe_wire::fluvio::{
    CreateRequest, DeleteRequest, ErrorCode, SmartModuleSpec, SmartModuleSummary, Status,
};

use super::{done, refused, topics::registry_failed};
use crate::node::Node;

/// `[group/]name[@version]`, as people write it.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    group: Option<&'a str>,
    name: &'a str,
    version: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Self {
        let (rest, version) =
            text.rsplit_once('@').map_or((text, None), |(rest, version)| (rest, Some(version)));
        let (group, name) = rest.split_once('/').map_or((None, rest), |(group, name)| (Some(group), name));
        Self { group, name, version }
    }

    fn matches(&self, stored_name: &str, spec: &SmartModuleSpec) -> bool {
        let Some(meta) = &spec.meta else {
            return self.group.is_none() && self.version.is_none() && self.name == stored_name;
        };
        let package = &meta.package;
        package.name == self.name
            && self.group.is_none_or(|group| group == package.group)
            && self.version.is_none_or(|version| version == package.version)
    }
}

pub(super) fn create(node: &Node, request: CreateRequest<SmartModuleSpec>) -> Status {
    // Real controllers create in spite of `dry_run`; one that says it does not change anything should not.
    let CreateRequest { name, dry_run, timeout_ms: _, spec } = request;
    let name = match &spec.meta {
        Some(meta) => format!("{}-{}-{}", meta.package.name, meta.package.group, meta.package.version),
        None => name,
    };
    if dry_run {
        return done(name);
    }
    match node.registry.change(|objects| objects.smartmodules.insert(name.clone(), spec)) {
        Ok(_) => {
            node.catalog.changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}

pub(super) fn delete(node: &Node, request: &DeleteRequest<SmartModuleSpec>) -> Status {
    let name = &request.key;
    let reference = Reference::parse(name);
    let found = node.registry.read(|objects| {
        objects
            .smartmodules
            .iter()
            .find(|(stored, spec)| reference.matches(stored, spec))
            .map(|(stored, _)| stored.clone())
    });
    let Some(stored) = found else {
        let code = ErrorCode::SmartModuleNotFound { name: name.clone() };
        return refused(name, code, format!("there is no SmartModule {name:?}"));
    };
    match node.registry.change(|objects| objects.smartmodules.remove(&stored)) {
        Ok(_) => {
            node.catalog.changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}

/// The modules that one of `filters` names, or all.
pub(super) fn list(node: &Node, filters: &[String], summary: bool) -> Vec<(String, SmartModuleSpec)> {
    let filters: Vec<_> = filters.iter().map(|filter| Reference::parse(filter)).collect();
    node.registry.read(|objects| {
        objects
            .smartmodules
            .iter()
            .filter(|(name, spec)| {
                filters.is_empty() || filters.iter().any(|filter| filter.matches(name, spec))
            })
            .map(|(name, spec)| (name.clone(), if summary { summarized(spec) } else { spec.clone() }))
            .collect()
    })
}

/// The bytes of the module that a request names.
pub(crate) fn payload(node: &Node, name: &str) -> Option<bytes::Bytes> {
    let reference = Reference::parse(name);
    node.registry.read(|objects| {
        let mut modules = objects.smartmodules.iter();
        modules.find(|(stored, spec)| reference.matches(stored, spec)).map(|(_, spec)| spec.payload.clone())
    })
}

fn summarized(spec: &SmartModuleSpec) -> SmartModuleSpec {
    let wasm_length = u32::try_from(spec.payload.len()).unwrap_or(u32::MAX);
    SmartModuleSpec {
        meta: spec.meta.clone(),
        summary: Some(SmartModuleSummary { wasm_length }),
        format: spec.format,
        payload: bytes::Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::{SmartModuleMetadata, SmartModulePackage};

    use super::*;

    #[test]
    fn modules_are_named_by_package_or_by_their_stored_name() {
        let package = SmartModulePackage {
            name: "upper".to_owned(),
            group: "acme".to_owned(),
            version: "0.1.0".to_owned(),
            ..SmartModulePackage::default()
        };
        let meta = SmartModuleMetadata { package, ..SmartModuleMetadata::default() };
        let packaged = SmartModuleSpec { meta: Some(meta), ..SmartModuleSpec::default() };
        let plain = SmartModuleSpec::default();
        for (text, is_packaged, is_plain) in [
            ("upper", true, true),
            ("acme/upper", true, false),
            ("acme/upper@0.1.0", true, false),
            ("upper@0.1.0", true, false),
            ("other/upper", false, false),
            ("acme/upper@0.2.0", false, false),
            ("upper-acme-0.1.0", false, false),
        ] {
            let reference = Reference::parse(text);
            assert_eq!(reference.matches("upper-acme-0.1.0", &packaged), is_packaged, "{text}");
            assert_eq!(reference.matches("upper", &plain), is_plain, "{text}");
        }
    }
}
