//! Runs a closure right after the first poll of a future.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

/// Runs `started` right after the first poll of `future`.
pub(super) async fn after_first_poll<T>(mut future: BoxFuture<'_, T>, started: impl FnOnce()) -> T {
    let first = poll_fn(|context: &mut Context<'_>| Poll::Ready(Pin::new(&mut future).poll(context))).await;
    started();
    match first {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => future.await,
    }
}
