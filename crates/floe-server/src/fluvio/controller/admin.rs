//! Creates and deletes objects of all kinds.

use std::sync::Arc;

use floe_wire::fluvio::{
    AnyCreate, AnyDelete, CreateRequest, CustomSpuKey, CustomSpuSpec, DeleteRequest, ErrorCode, Status,
    TableFormatSpec,
};

use super::{done, failed, refused, smartmodules, topics, topics::registry_failed};
use crate::{
    node::{Node, SPU_ID, SPU_NAME},
    registry::StoredObject,
};

pub(super) async fn create(node: &Node, request: AnyCreate) -> Status {
    match request {
        AnyCreate::Topic(request) => topics::create(node, request).await,
        AnyCreate::CustomSpu(request) => create_custom_spu(node, request).await,
        AnyCreate::SmartModule(request) => smartmodules::create(node, request).await,
        AnyCreate::TableFormat(request) => create_table_format(node, request).await,
        AnyCreate::SpuGroup(request) => {
            failed(request.name, "this server does not support groups of data servers")
        }
        AnyCreate::Mirror(request) => failed(request.name, "this server does not support mirroring"),
        // The controller creates these itself; clients cannot.
        AnyCreate::Partition(_) | AnyCreate::Spu(_) => failed("create error", "unknown admin object type"),
    }
}

pub(super) async fn delete(node: &Node, request: AnyDelete) -> Status {
    match request {
        AnyDelete::Topic(request) => topics::delete(node, request).await,
        AnyDelete::CustomSpu(request) => delete_custom_spu(node, &request).await,
        AnyDelete::SmartModule(request) => smartmodules::delete(node, &request).await,
        AnyDelete::TableFormat(request) => delete_table_format(node, request).await,
        AnyDelete::SpuGroup(DeleteRequest { key, .. }) => {
            refused(key, ErrorCode::SpuNotFound, "group of data servers not found")
        }
        AnyDelete::Mirror(DeleteRequest { key, .. }) => {
            refused(key, ErrorCode::MirrorNotFound, "mirror not found")
        }
        AnyDelete::Partition(_) | AnyDelete::Spu(_) => failed("delete error", "unknown admin object type"),
    }
}

async fn create_custom_spu(node: &Node, request: CreateRequest<CustomSpuSpec>) -> Status {
    let CreateRequest { name, dry_run, timeout_ms: _, spec } = request;
    let taken = name == SPU_NAME
        || spec.id == SPU_ID
        || node.registry.read(|objects| {
            objects.custom_spus.iter().any(|(known, other)| *known == name || other.id == spec.id)
        });
    if taken {
        return refused(
            name,
            ErrorCode::SpuAlreadyExists,
            "a data server with this name or id already exists",
        );
    }
    if dry_run {
        return done("");
    }
    match node.registry.insert(name.clone(), spec).await {
        Ok(()) => {
            node.catalog.notify_changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}

async fn delete_custom_spu(node: &Node, request: &DeleteRequest<CustomSpuSpec>) -> Status {
    let shown = match &request.key {
        CustomSpuKey::Name(name) => name.clone(),
        CustomSpuKey::Id(id) => id.to_string(),
    };
    let found = node.registry.read(|objects| {
        let is_meant = |(name, spec): &(&String, &Arc<StoredObject<CustomSpuSpec>>)| match &request.key {
            CustomSpuKey::Name(wanted) => *name == wanted,
            CustomSpuKey::Id(wanted) => spec.id == *wanted,
        };
        objects.custom_spus.iter().find(is_meant).map(|(name, _)| name.clone())
    });
    let Some(name) = found else {
        return refused(shown, ErrorCode::SpuNotFound, "registered data server not found");
    };
    match node.registry.remove::<CustomSpuSpec>(&name).await {
        Ok(()) => {
            node.catalog.notify_changed();
            done(shown)
        }
        Err(error) => registry_failed(shown, &error),
    }
}

async fn create_table_format(node: &Node, request: CreateRequest<TableFormatSpec>) -> Status {
    let CreateRequest { name, dry_run, timeout_ms: _, spec } = request;
    if node.registry.read(|objects| objects.table_formats.contains_key(&name)) {
        return refused(
            name,
            ErrorCode::TableFormatAlreadyExists,
            "a table format with this name already exists",
        );
    }
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

async fn delete_table_format(node: &Node, request: DeleteRequest<TableFormatSpec>) -> Status {
    let name = request.key;
    if !node.registry.read(|objects| objects.table_formats.contains_key(&name)) {
        return refused(name, ErrorCode::TableFormatNotFound, "table format not found");
    }
    match node.registry.remove::<TableFormatSpec>(&name).await {
        Ok(()) => {
            node.catalog.notify_changed();
            done(name)
        }
        Err(error) => registry_failed(name, &error),
    }
}
