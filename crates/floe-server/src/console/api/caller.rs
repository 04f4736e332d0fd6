//! Rights of the client that sends a request.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    access::{Session, WHOLE_SERVER, operation::Operation},
    console::request_error::RequestError,
};

/// The client of a request: with rules where `floe serve` has some, else one that may do everything.
#[derive(Debug, Clone)]
pub(super) struct Caller(Option<Arc<Session>>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Arc<Session>>().map(Arc::clone)))
    }
}

impl Caller {
    /// A client that may do everything.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        Self(None)
    }

    /// The client of a session.
    #[cfg(test)]
    pub(super) fn of(session: Arc<Session>) -> Self {
        Self(Some(session))
    }

    /// Fails unless the client may do something with a topic.
    pub(super) fn check(&self, operation: Operation, topic: &str) -> Result<(), RequestError> {
        let refused = self.0.as_ref().and_then(|session| session.check(operation, topic).err());
        refused.map_or(Ok(()), |denied| Err(RequestError::forbidden(denied.to_string())))
    }

    /// Fails unless the client may do something that concerns all topics.
    pub(super) fn check_all(&self, operation: Operation) -> Result<(), RequestError> {
        let refused = self.0.as_ref().and_then(|session| session.check_all(operation, WHOLE_SERVER).err());
        refused.map_or(Ok(()), |denied| Err(RequestError::forbidden(denied.to_string())))
    }

    /// Whether the client may do something with a topic.
    pub(super) fn may(&self, operation: Operation, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|session| session.may(operation, topic))
    }

    /// Whether the client may do something that concerns all topics.
    pub(super) fn may_all(&self, operation: Operation) -> bool {
        self.0.as_ref().is_none_or(|session| session.may_all(operation))
    }

    /// Logs a change that the client made.
    pub(super) fn changed(&self, operation: Operation, object: &str) {
        match &self.0 {
            Some(session) => session.changed(operation, object),
            None => tracing::info!(operation = operation.name, object, "changed by the console"),
        }
    }

    /// Waits until the bytes that the client has read are paid for by its rate.
    pub(super) async fn admit_reading(&self) {
        if let Some(session) = &self.0 {
            session.admit_reading().await;
        }
    }

    /// Counts bytes that are read for the client.
    pub(super) fn received(&self, bytes: usize) {
        if let Some(session) = &self.0 {
            session.received(bytes);
        }
    }

    /// Returns the name of the client, for the list of those that hold memory.
    pub(super) fn name(&self) -> String {
        self.0.as_ref().map_or_else(|| "console".to_owned(), |session| session.client())
    }

    /// Waits until the rate of the client admits the bytes of a record.
    pub(super) async fn admit(&self, bytes: usize) {
        if let Some(session) = &self.0 {
            session.admit(bytes).await;
        }
    }
}
