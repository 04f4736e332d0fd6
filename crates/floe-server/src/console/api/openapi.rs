//! The API as an OpenAPI document, made from the table of its requests.

use std::sync::Arc;

use axum::routing::MethodRouter;
use serde_json::{Map, Value, json};

use super::schemas::{Fields, SCHEMAS};
use crate::console::Console;

/// One request of the API.
pub(super) struct ApiRoute {
    pub(super) method: &'static str,
    /// Path below `/api/v1`, with `{parameters}`.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Query parameters: name and description.
    pub(super) query: Fields,
    /// Fields of the JSON body: name and description.
    pub(super) body: Fields,
    /// Fields of the answer, where it is an object.
    pub(super) answer: Fields,
    pub(super) handler: fn() -> MethodRouter<Arc<Console>>,
}

/// Returns the document, version 3.1.
pub(super) fn document(routes: &[ApiRoute]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "floe console", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/api/v1" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn schemas() -> Value {
    let mut schemas: Map<_, _> =
        SCHEMAS.iter().map(|(name, fields)| ((*name).to_owned(), object(fields))).collect();
    schemas.insert("Error".to_owned(), error_schema());
    schemas.insert("Bytes".to_owned(), bytes_schema());
    Value::Object(schemas)
}

fn object(fields: Fields) -> Value {
    let property =
        |(name, description): &(&str, &str)| ((*name).to_owned(), json!({ "description": description }));
    let properties: Map<_, _> = fields.iter().map(property).collect();
    json!({ "type": "object", "properties": properties })
}

fn operation(route: &ApiRoute) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<_> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.query.iter().map(|(name, description)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
    }));
    let error = json!({
        "description": "The request failed.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": { "2XX": { "description": "As described in docs/api.md." }, "default": error },
    });
    let content = |fields| json!({ "application/json": { "schema": object(fields) } });
    if !route.body.is_empty() {
        operation["requestBody"] = json!({ "content": content(route.body) });
    }
    if !route.answer.is_empty() {
        operation["responses"]["2XX"]["content"] = content(route.answer);
    }
    operation
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "error": {
            "type": "object",
            "properties": {
                "code": { "type": "string" },
                "message": { "type": "string" },
                "topic": { "type": ["string", "null"] },
                "partition": { "type": ["integer", "null"] },
                "causes": { "type": "array", "items": { "type": "string" } },
                "hint": { "type": ["string", "null"] },
                "position": { "type": "integer" },
            },
            "required": ["code", "message"],
        } },
        "required": ["error"],
    })
}

fn bytes_schema() -> Value {
    let encoded = json!({
        "type": "object", "properties": { "b64": { "type": "string" } }, "required": ["b64"],
    });
    json!({ "oneOf": [{ "type": "string" }, encoded] })
}
