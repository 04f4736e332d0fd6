//! Creates and deletes objects of all kinds.

use std::sync::Arc;

use floe_wire::fluvio::{
    AnyCreate, AnyDelete, CreateRequest, CustomSpuKey, CustomSpuSpec, DeleteRequest, ErrorCode, Status,
    TableFormatSpec, UpdateTopicRequest,
};

use super::{done, failed, refused, smartmodules, topics, topics::registry_failed};
use crate::{
    access::{
        Session,
        operation::{CHANGE_TOPIC, CREATE_OBJECT, CREATE_TOPIC, DELETE_OBJECT, DELETE_TOPIC, Operation},
    },
    fluvio::errors::of_denied,
    node::{Node, SPU_ID, SPU_NAME},
    registry::StoredObject,
};

pub(super) async fn create(node: &Node, session: &Session, request: AnyCreate) -> Status {
    let change = Change::of_create(&request);
    change.guarded(session, create_allowed(node, request)).await
}

pub(super) async fn delete(node: &Node, session: &Session, request: AnyDelete) -> Status {
    let change = Change::of_delete(&request);
    change.guarded(session, delete_allowed(node, request)).await
}

pub(super) async fn update(node: &Node, session: &Session, request: UpdateTopicRequest) -> Status {
    let change = Change::new(CHANGE_TOPIC, &request.key);
    change.guarded(session, topics::update(node, request)).await
}

/// A change that a client asks for.
struct Change {
    operation: Operation,
    /// Name of the object, in the words of the client.
    name: String,
    is_topic: bool,
    dry_run: bool,
}

impl Change {
    /// Creates the change of a topic.
    fn new(operation: Operation, topic: &str) -> Self {
        Self { operation, name: topic.to_owned(), is_topic: true, dry_run: false }
    }

    fn of_create(request: &AnyCreate) -> Self {
        let object = |name: &str, dry_run| Self {
            operation: CREATE_OBJECT,
            name: name.to_owned(),
            is_topic: false,
            dry_run,
        };
        match request {
            AnyCreate::Topic(request) => {
                Self { dry_run: request.dry_run, ..Self::new(CREATE_TOPIC, &request.name) }
            }
            AnyCreate::CustomSpu(request) => object(&request.name, request.dry_run),
            AnyCreate::SmartModule(request) => object(&request.name, request.dry_run),
            AnyCreate::TableFormat(request) => object(&request.name, request.dry_run),
            AnyCreate::SpuGroup(request) => object(&request.name, request.dry_run),
            AnyCreate::Mirror(request) => object(&request.name, request.dry_run),
            AnyCreate::Partition(_) | AnyCreate::Spu(_) => object("", true),
        }
    }

    fn of_delete(request: &AnyDelete) -> Self {
        let object = |name: String| Self { operation: DELETE_OBJECT, name, is_topic: false, dry_run: false };
        match request {
            AnyDelete::Topic(request) => Self::new(DELETE_TOPIC, &request.key),
            AnyDelete::CustomSpu(request) => object(shown(&request.key)),
            AnyDelete::SmartModule(request) => object(request.key.clone()),
            AnyDelete::TableFormat(request) => object(request.key.clone()),
            AnyDelete::SpuGroup(request) => object(request.key.clone()),
            AnyDelete::Mirror(request) => object(request.key.clone()),
            AnyDelete::Partition(_) | AnyDelete::Spu(_) => object(String::new()),
        }
    }

    /// Makes the change if the rules allow it, and logs it.
    async fn guarded(self, session: &Session, make: impl Future<Output = Status>) -> Status {
        let Self { operation, name, is_topic, dry_run } = self;
        let allowed =
            if is_topic { session.check(operation, &name) } else { session.check_all(operation, &name) };
        if let Err(denied) = allowed {
            let message = denied.to_string();
            return refused(name, of_denied(denied), message);
        }
        let status = make.await;
        if status.error_code.is_success() && !dry_run {
            session.changed(operation, &name);
        }
        status
    }
}

fn shown(key: &CustomSpuKey) -> String {
    match key {
        CustomSpuKey::Name(name) => name.clone(),
        CustomSpuKey::Id(id) => id.to_string(),
    }
}

async fn create_allowed(node: &Node, request: AnyCreate) -> Status {
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

async fn delete_allowed(node: &Node, request: AnyDelete) -> Status {
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
    let shown = shown(&request.key);
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
