//! Calls the handler of a program: decodes, handles, encodes, on a task of its own.

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use floe_core::process;
use futures_util::future::BoxFuture;
use tokio::task::{AbortHandle, JoinError};

use super::{failure::Failure, outputs::Outputs};
use crate::{Error, ErrorKind, Message, Record, Result, payload::PayloadCodec, telemetry};

/// A handler without the types of its values: bytes in, bytes out.
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

/// Error of a call to a handler.
#[derive(Debug)]
pub(super) enum HandlerError {
    /// The record or the handler is at fault.
    Failed(Failure),
    /// The runtime stopped during the call.
    RuntimeStopped(Error),
}

/// Runs a handler on a task of its own, so that a panic or a blocked thread affects this call alone.
pub(super) async fn call(
    handler: Handler,
    message: Message,
    timeout: Duration,
) -> Result<Vec<Record>, HandlerError> {
    // Decoding and the call itself are code of the program too, so they run on the task.
    let work = telemetry::carrying(async move { handler(message).await });
    let mut task = tokio::spawn(process::inherit(work));
    let _abort = AbortOnDrop(task.abort_handle());
    match tokio::time::timeout(timeout, &mut task).await {
        Ok(Ok(outcome)) => outcome.map_err(HandlerError::Failed),
        Ok(Err(stopped)) => Err(of_join_error(stopped)),
        Err(_) => {
            let failure = Failure::retriable(format!("the handler did not end within {timeout:?}"));
            Err(HandlerError::Failed(failure.code("handler_timeout")))
        }
    }
}

fn of_join_error(stopped: JoinError) -> HandlerError {
    match stopped.try_into_panic() {
        Ok(panic) => {
            let failure = Failure::retriable(format!("the handler panicked: {}", panic_text(&*panic)));
            HandlerError::Failed(failure.code("handler_panicked"))
        }
        Err(stopped) => {
            let error = Error::new(ErrorKind::Closed, "the runtime stopped while records were handled");
            HandlerError::RuntimeStopped(error.with_source(stopped))
        }
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
