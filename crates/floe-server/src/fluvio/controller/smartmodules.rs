//! Stores, lists and deletes SmartModules.

use std::sync::Arc;

use floe_wire::fluvio::{
    CreateRequest, DeleteRequest, ErrorCode, SmartModuleSpec, SmartModuleSummary, Status,
};

use super::{done, refused, topics::registry_failed};
use crate::{node::Node, registry::StoredObject, smartmodule::ModuleReference};

pub(super) async fn create(node: &Node, request: CreateRequest<SmartModuleSpec>) -> Status {
    // A real controller ignores `dry_run` here and creates the module; this server honours it.
    let CreateRequest { name, dry_run, timeout_ms: _, spec } = request;
    let name = match &spec.meta {
        Some(meta) => format!("{}-{}-{}", meta.package.name, meta.package.group, meta.package.version),
        None => name,
    };
    if dry_run {
        return done(name);
    }
    match node.registry.insert(name.clone(), spec).await {
        Ok(()) => {
            node.catalog.notify_changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}

pub(super) async fn delete(node: &Node, request: &DeleteRequest<SmartModuleSpec>) -> Status {
    let name = &request.key;
    let reference = ModuleReference::parse(name);
    let found = node.registry.read(|objects| {
        objects
            .smartmodules
            .iter()
            .find(|(stored, spec)| reference.matches(stored, spec))
            .map(|(stored, _)| stored.clone())
    });
    let Some(stored) = found else {
        let code = ErrorCode::SmartModuleNotFound { name: name.clone() };
        return refused(name, code, format!("SmartModule {name:?} not found"));
    };
    match node.registry.remove::<SmartModuleSpec>(&stored).await {
        Ok(()) => {
            node.catalog.notify_changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}

/// Returns the modules that one of `filters` names, or all.
pub(super) fn list(node: &Node, filters: &[String]) -> Vec<(String, Arc<StoredObject<SmartModuleSpec>>)> {
    let filters: Vec<_> = filters.iter().map(|filter| ModuleReference::parse(filter)).collect();
    node.registry.read(|objects| {
        objects
            .smartmodules
            .iter()
            .filter(|(name, spec)| {
                filters.is_empty() || filters.iter().any(|filter| filter.matches(name, spec))
            })
            .map(|(name, spec)| (name.clone(), Arc::clone(spec)))
            .collect()
    })
}

/// Returns a module, or what describes it without its code.
pub(super) fn shown(spec: &SmartModuleSpec, summary: bool) -> SmartModuleSpec {
    if !summary {
        return spec.clone();
    }
    let wasm_length = u32::try_from(spec.payload.len()).unwrap_or(u32::MAX);
    SmartModuleSpec {
        meta: spec.meta.clone(),
        summary: Some(SmartModuleSummary { wasm_length }),
        format: spec.format,
        payload: bytes::Bytes::new(),
    }
}
