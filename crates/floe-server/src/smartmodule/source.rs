//! Module references, and the lookup of the modules that a request names.

use bytes::Bytes;
use floe_wire::fluvio::{ErrorCode, SmartModuleSource, SmartModuleSpec};

use crate::registry::Registry;

/// A module as users name it: `[group/]name[@version]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModuleReference<'a> {
    group: Option<&'a str>,
    name: &'a str,
    version: Option<&'a str>,
}

impl<'a> ModuleReference<'a> {
    /// Splits a reference into its parts; parts that are not given stay open.
    pub(crate) fn parse(text: &'a str) -> Self {
        let (rest, version) =
            text.rsplit_once('@').map_or((text, None), |(rest, version)| (rest, Some(version)));
        let (group, name) = rest.split_once('/').map_or((None, rest), |(group, name)| (Some(group), name));
        Self { group, name, version }
    }

    /// Whether the reference names a stored module: by its package, or by its stored name if it has no package.
    pub(crate) fn matches(&self, stored_name: &str, spec: &SmartModuleSpec) -> bool {
        let Some(meta) = &spec.meta else {
            return self.group.is_none() && self.version.is_none() && self.name == stored_name;
        };
        let package = &meta.package;
        package.name == self.name
            && self.group.is_none_or(|group| group == package.group)
            && self.version.is_none_or(|version| version == package.version)
    }
}

/// Returns the module as it was stored or sent, usually compressed.
pub(super) fn find(registry: &Registry, source: &SmartModuleSource) -> Result<Bytes, ErrorCode> {
    match source {
        SmartModuleSource::AdHoc(sent) => Ok(sent.clone()),
        SmartModuleSource::Predefined(name) => {
            let reference = ModuleReference::parse(name);
            let payload = registry.read(|objects| {
                let mut modules = objects.smartmodules.iter();
                let found = modules.find(|(stored, spec)| reference.matches(stored, spec));
                found.map(|(_, spec)| spec.payload.clone())
            });
            payload.ok_or_else(|| ErrorCode::SmartModuleNotFound { name: name.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::{SmartModuleMetadata, SmartModulePackage};

    use super::*;

    #[test]
    fn modules_match_by_package_or_stored_name() {
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
            let reference = ModuleReference::parse(text);
            assert_eq!(reference.matches("upper-acme-0.1.0", &packaged), is_packaged, "{text}");
            assert_eq!(reference.matches("upper", &plain), is_plain, "{text}");
        }
    }
}
