//! Memory of scans, tails and exports, out of the budget of the server.

use std::time::Duration;

use axum::http::StatusCode;
use floe::memory::{MemoryAccount, MemoryPool, MemoryReservation};
use tokio::time::timeout;

use super::{event_queue::QUEUE_BYTES, request_error::RequestError};

/// Bytes that a reading holds beside what it reads ahead: a batch in work, and the events that wait for the browser.
const BESIDE: usize = 1 << 20;

/// Where the memory of readings comes from.
#[derive(Debug, Clone)]
pub(crate) struct ReadMemory {
    pool: MemoryPool,
    timeout: Duration,
}

/// Memory of one reading, returned when it is dropped.
#[derive(Debug, Default)]
pub(super) struct ReadRoom(Option<(MemoryAccount, MemoryReservation)>);

impl ReadMemory {
    /// Creates the memory of readings that wait `timeout` for a pool.
    pub(crate) fn new(pool: MemoryPool, timeout: Duration) -> Self {
        Self { pool, timeout }
    }

    /// Reserves the memory of one reading that reads ahead by so many bytes, in the name of a client.
    ///
    /// # Errors
    /// `memory_short` if none gets free in time.
    pub(super) async fn reserve(&self, client: String, ahead: usize) -> Result<ReadRoom, RequestError> {
        let account = self.pool.account_of(client, usize::MAX);
        let wanted = (ahead + BESIDE + QUEUE_BYTES).min(self.pool.largest());
        match timeout(self.timeout, account.reserve(wanted)).await {
            Ok(Ok(reserved)) => Ok(ReadRoom(Some((account, reserved)))),
            Ok(Err(_)) | Err(_) => Err(short_of_memory()),
        }
    }
}

impl ReadRoom {
    /// Takes more memory if there is some at once.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), RequestError> {
        let Some((account, reserved)) = &mut self.0 else { return Ok(()) };
        reserved.add(account.try_reserve(bytes).ok_or_else(short_of_memory)?);
        Ok(())
    }

    /// Resolves once other clients need the memory, which this reading then has to return.
    pub(super) fn cut_off(&self) -> impl Future<Output = RequestError> + Send + use<> {
        let account = self.0.as_ref().map(|(account, _)| account.clone());
        async move {
            match account {
                Some(account) => account.cut_off().await,
                None => std::future::pending().await,
            }
            short_of_memory()
        }
    }
}

fn short_of_memory() -> RequestError {
    let message = "the server has no memory left for this: its other clients need it";
    RequestError::new(StatusCode::SERVICE_UNAVAILABLE, "memory_short", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readings_take_their_memory_from_the_pool_and_return_it() {
        let pool = MemoryPool::new(16 << 20);
        let memory = ReadMemory::new(pool.clone(), Duration::from_millis(500));
        let room = memory.reserve("one".to_owned(), 4 << 20).await.unwrap();
        assert_eq!(pool.used(), 6 << 20);
        let refused = memory.reserve("two".to_owned(), 4 << 20).await.unwrap_err();
        assert_eq!(refused.to_json()["error"]["code"], "memory_short");
        drop(room);
        assert_eq!(pool.used(), 0);
        let mut room = memory.reserve("two".to_owned(), 4 << 20).await.unwrap();
        room.grow(1 << 20).unwrap();
        assert_eq!(pool.used(), 7 << 20);
        assert!(room.grow(8 << 20).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_stands_still_gives_way() {
        let memory = ReadMemory::new(MemoryPool::new(16 << 20), Duration::from_secs(10));
        let room = memory.reserve("one".to_owned(), 4 << 20).await.unwrap();
        let stalled = async {
            let error = room.cut_off().await;
            drop(room);
            error
        };
        let (error, other) = tokio::join!(stalled, memory.reserve("two".to_owned(), 4 << 20));
        assert_eq!(error.to_json()["error"]["code"], "memory_short");
        other.unwrap();
    }
}
