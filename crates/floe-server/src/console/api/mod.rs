//! The HTTP API: JSON under `/api/v1`.

mod attention;
mod caller;
mod dead_letters;
mod export;
mod groups;
mod openapi;
mod overview;
mod paced_reader;
mod page;
mod records;
mod routes;
mod scan;
mod schemas;
mod session;
mod tail;
mod topics;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{Console, request_error::RequestError};

/// Largest body: a record of the largest size in base64, and its headers.
const MAX_BODY: usize = 24 << 20;

/// Result of a request that answers with JSON.
type Answer = Result<Response, RequestError>;

pub(super) fn router() -> Router<Arc<Console>> {
    let not_found =
        || async { RequestError::new(StatusCode::NOT_FOUND, "no_such_request", "the API has no such path") };
    routes::ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
        .fallback(not_found)
        .method_not_allowed_fallback(|| async {
            RequestError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "no_such_request",
                "the path has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Answers with a document.
fn json(document: &Value) -> Response {
    with_status(StatusCode::OK, document)
}

fn with_status(status: StatusCode, document: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
