//! One attempt at one record: decode, handle, encode, on a task of its own.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::task::{AbortHandle, JoinError};

use super::{Failure, Outputs};
use crate::{Error, ErrorKind, Message, Record, Result, payload::PayloadCodec, telemetry};

/// What is left of the types of the handler: bytes in, bytes out.
pub(super) type Handler =
    Arc<dyn Fn(Message) -> BoxFuture<'static, Result<Vec<Record>, Failure>> + Send + Sync>;

pub(super) fn erase<I, O, F, Fut, R>(input: I, output: O, handler: F) -> Handler
where
    I: PayloadCodec,
    O: PayloadCodec,
    F: Fn(Message<I::Value>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
    R: Outputs<O>,
{
    let handler = Arc::new(handler);
    Arc::new(move |message: Message| {
        let value = match input.decode(&message.value) {
            Ok(value) => value,
            Err(problem) => {
                let text = format!("the payload is not {}: {problem}", I::NAME);
                let failure = Failure::permanent(text).code(ErrorKind::DeserializationError.as_str());
                return Box::pin(std::future::ready(Err(failure)));
            }
        };
        let (handler, output) = (Arc::clone(&handler), output.clone());
        let message = message.map(|_| value);
        Box::pin(async move {
            let made = handler(message).await?;
            made.encode(&output)
                .map_err(|error| Failure::permanent(error).code(ErrorKind::SerializationError.as_str()))
        })
    })
}

/// How an attempt ended that did not succeed.
#[derive(Debug)]
pub(super) enum Ended {
    /// The record's own fault, or the handler's.
    Failed(Failure),
    /// The runtime ends.
    Cancelled,
}

/// Runs the handler on a task of its own, so that a panic or a thread that never comes back harms this attempt alone.
pub(super) async fn attempt(
    handler: Handler,
    message: Message,
    limit: Duration,
) -> Result<Vec<Record>, Ended> {
    // The call itself is foreign code as well, and decoding is.
    let mut task = tokio::spawn(telemetry::carrying(async move { handler(message).await }));
    let _abort = AbortOnDrop(task.abort_handle());
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(outcome)) => outcome.map_err(Ended::Failed),
        Ok(Err(stopped)) => Err(of_join_error(stopped)),
        Err(_) => {
            let failure = Failure::retriable(format!("the handler did not end within {limit:?}"));
            Err(Ended::Failed(failure.code("handler_timeout")))
        }
    }
}

fn of_join_error(stopped: JoinError) -> Ended {
    match stopped.try_into_panic() {
        Ok(panic) => {
            let failure = Failure::retriable(format!("the handler panicked: {}", panic_text(&*panic)));
            Ended::Failed(failure.code("handler_panicked"))
        }
        Err(_) => Ended::Cancelled,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no text"
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error of a processor that was stopped with its runtime.
pub(super) fn runtime_ends() -> Error {
    Error::new(ErrorKind::Closed, "the runtime stopped while records were handled")
}
