//! Errors of requests, as HTTP answers.

use std::error::Error as _;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use floe::{Error, ErrorKind, filter::FilterError};
use serde_json::{Value, json};

/// An error as the API answers it: the shape of errors on the command line with `-o json`.
#[derive(Debug)]
pub(super) struct RequestError {
    status: StatusCode,
    body: Box<ErrorBody>,
}

#[derive(Debug, Default)]
struct ErrorBody {
    code: &'static str,
    message: String,
    topic: Option<String>,
    partition: Option<u32>,
    causes: Vec<String>,
    hint: Option<String>,
    /// Place in a filter, in bytes.
    position: Option<usize>,
}

impl RequestError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: Box::new(ErrorBody { code, message: message.into(), ..ErrorBody::default() }) }
    }

    /// A request that cannot be understood.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// A request that the engine cannot answer.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let body = &self.body;
        let mut error = json!({
            "code": body.code,
            "message": body.message,
            "topic": body.topic,
            "partition": body.partition,
            "causes": body.causes,
            "hint": body.hint,
        });
        if let Some(position) = body.position {
            error["position"] = position.into();
        }
        json!({ "error": error })
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        let mut failed = Self::new(status_of(error.kind()), error.kind().as_str(), error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failed.body.causes.push(cause.to_string());
            source = cause.source();
        }
        failed.body.topic = error.topic().map(|topic| topic.as_str().to_owned());
        failed.body.partition = error.partition();
        failed
    }
}

impl From<FilterError> for RequestError {
    fn from(error: FilterError) -> Self {
        let mut failed = Self::new(StatusCode::BAD_REQUEST, "invalid_filter", error.to_string());
        failed.body.position = Some(error.position());
        failed
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, "application/json")], self.to_json().to_string())
            .into_response()
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::TopicNotFound
        | ErrorKind::PartitionNotFound
        | ErrorKind::NotAMember
        | ErrorKind::OffsetOutOfRange => StatusCode::NOT_FOUND,
        ErrorKind::TopicAlreadyExists | ErrorKind::Fenced | ErrorKind::ConditionFailed => {
            StatusCode::CONFLICT
        }
        ErrorKind::InvalidCommand
        | ErrorKind::InvalidConfig
        | ErrorKind::Unsupported
        | ErrorKind::DeserializationError => StatusCode::BAD_REQUEST,
        ErrorKind::RecordTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::AuthFailed => StatusCode::FORBIDDEN,
        kind if kind.is_retriable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
