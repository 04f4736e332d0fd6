//! The one error of this crate.
//!
//! Match on [`Error::kind`], decide with [`Error::is_retriable`] and [`Error::effect`], print the error itself, and
//! walk [`std::error::Error::source`] for the cause.

mod convert;
mod kind;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

pub use kind::{Effect, ErrorKind};

use crate::topic_name::Topic;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// The failure of an operation: its kind, whether a retry makes sense, and whether it may have taken effect.
///
/// An error is one pointer wide, and a clone shares it: one failed batch fails every delivery in it.
#[derive(Clone)]
pub struct Error(Arc<ErrorParts>);

#[derive(Clone)]
struct ErrorParts {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retriable: bool,
    effect: Effect,
    engine: Option<&'static str>,
    operation: Option<&'static str>,
    topic: Option<Topic>,
    partition: Option<u32>,
    endpoint: Option<Arc<str>>,
    attempts: u32,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

/// For callers: the failure, and the decisions that follow from it.
impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a later retry makes sense.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.0.retriable
    }

    /// Whether the failed operation may have taken effect.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// Describes the failure, without the context that [`Display`](fmt::Display) adds.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Name of the engine, such as `embedded`.
    #[must_use]
    pub fn engine(&self) -> Option<&'static str> {
        self.0.engine
    }

    /// Name of the operation, such as `append`.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The topic concerned.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        self.0.topic.as_ref()
    }

    /// The partition concerned.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        self.0.partition
    }

    /// Address of the server or node that was asked.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.as_deref()
    }

    /// Number of attempts; 0 where attempts are not counted.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Wait before the next attempt, where the server asked for one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// For authors of engines and layers: building an error. Each setter returns the changed error.
impl Error {
    /// Creates an error with the retriability and effect that its kind has by default.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(ErrorParts {
            kind,
            message: message.into(),
            retriable: kind.is_retriable(),
            effect: kind.default_effect(),
            engine: None,
            operation: None,
            topic: None,
            partition: None,
            endpoint: None,
            attempts: 0,
            retry_after: None,
            source: None,
        }))
    }

    /// The error of a call on a closed component, such as `"producer"`.
    #[must_use]
    pub fn closed(component: &'static str) -> Self {
        Self::new(ErrorKind::Closed, format!("the {component} is closed"))
    }

    /// The error of a call that needs a capability which the engine lacks.
    #[must_use]
    pub fn unsupported(capability: &'static str, engine: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("the {engine} engine has no {capability}"))
            .with_engine(engine)
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// Sets whether a retry makes sense.
    #[must_use]
    pub fn with_retriable(mut self, retriable: bool) -> Self {
        Arc::make_mut(&mut self.0).retriable = retriable;
        self
    }

    /// Sets whether the operation may have taken effect.
    #[must_use]
    pub fn with_effect(mut self, effect: Effect) -> Self {
        Arc::make_mut(&mut self.0).effect = effect;
        self
    }

    /// Sets the name of the engine unless there is one.
    #[must_use]
    pub fn with_engine(mut self, engine: &'static str) -> Self {
        Arc::make_mut(&mut self.0).engine.get_or_insert(engine);
        self
    }

    /// Sets the name of the operation unless there is one.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        Arc::make_mut(&mut self.0).operation.get_or_insert(operation);
        self
    }

    /// Sets the topic unless there is one.
    #[must_use]
    pub fn with_topic(mut self, topic: &Topic) -> Self {
        Arc::make_mut(&mut self.0).topic.get_or_insert_with(|| topic.clone());
        self
    }

    /// Sets the partition unless there is one.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        Arc::make_mut(&mut self.0).partition.get_or_insert(partition);
        self
    }

    /// Sets the address of the server or node unless there is one.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).endpoint.get_or_insert_with(|| endpoint.into());
        self
    }

    /// Sets the number of attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        Arc::make_mut(&mut self.0).attempts = attempts;
        self
    }

    /// Sets the wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        Arc::make_mut(&mut self.0).retry_after = Some(wait);
        self
    }
}

/// One line, without the source: error chains print that themselves.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        match (inner.operation, &inner.topic) {
            (Some(operation), Some(topic)) => {
                write!(f, "{operation} of {topic}")?;
                if let Some(partition) = inner.partition {
                    write!(f, "/{partition}")?;
                }
            }
            (Some(operation), None) => f.write_str(operation)?,
            (None, Some(topic)) => {
                write!(f, "{topic}")?;
                if let Some(partition) = inner.partition {
                    write!(f, "/{partition}")?;
                }
            }
            (None, None) => {}
        }
        let mut context = inner.operation.is_some() || inner.topic.is_some();
        if let (Some(engine), true) = (inner.engine, context) {
            write!(f, " on {engine}")?;
        }
        if let Some(endpoint) = &inner.endpoint {
            write!(f, "{}at {endpoint}", if context { " " } else { "" })?;
            context = true;
        }
        if context {
            f.write_str(": ")?;
        }
        write!(f, "{} ({}", inner.message, inner.kind.as_str())?;
        if inner.attempts > 1 {
            write!(f, ", {} attempts", inner.attempts)?;
        }
        f.write_str(")")
    }
}

/// Several lines, with the decision data and the causes.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{self}")?;
        write!(f, "\n  retriable: {}, effect: {:?}", inner.retriable, inner.effect)?;
        if let Some(wait) = inner.retry_after {
            write!(f, ", retry after {wait:?}")?;
        }
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Error {
        Error::new(ErrorKind::NotLeader, "not the leader")
            .with_operation("append")
            .with_topic(&Topic::from("orders"))
            .with_partition(2)
            .with_engine("fluvio")
            .with_attempts(3)
            .with_source(std::io::Error::other("socket closed"))
    }

    #[test]
    fn display_is_one_line_with_context_and_without_source() {
        assert_eq!(
            sample().to_string(),
            "append of orders/2 on fluvio: not the leader (not_leader, 3 attempts)"
        );
        assert_eq!(Error::new(ErrorKind::Closed, "closed").to_string(), "closed (closed)");
        assert_eq!(
            Error::new(ErrorKind::ConnectionRefused, "refused").with_endpoint("h:1").to_string(),
            "at h:1: refused (connection_refused)"
        );
    }

    #[test]
    fn debug_shows_decisions_and_causes() {
        assert_eq!(
            format!("{:?}", sample()),
            "append of orders/2 on fluvio: not the leader (not_leader, 3 attempts)\n  \
             retriable: true, effect: None\n  caused by: socket closed"
        );
    }

    #[test]
    fn first_context_wins() {
        let error = sample().with_engine("other").with_operation("open").with_partition(9);
        assert_eq!(
            (error.engine(), error.operation(), error.partition()),
            (Some("fluvio"), Some("append"), Some(2))
        );
    }

    #[test]
    fn error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
