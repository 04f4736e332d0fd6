//! Reads a partition of the log without blocking the runtime.

use std::{collections::VecDeque, fmt, future::poll_fn};

use floe_core::{Error, ErrorKind, Result, engine::BatchReader};
use floe_log::{Chunk, LogError, Reader, TryChunk};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{damage::gap, errors::log_error};

/// A read position in a partition, with the batches read ahead.
pub(crate) struct LogReader {
    /// Batches that were read ahead, and the gaps between them.
    ready: VecDeque<Result<EncodedBatch>>,
    location: ReaderLocation,
    max_bytes: usize,
    /// Whether reads that wait for the device run on this thread.
    reads_here: bool,
}

/// Location of the log reader, which moves to a blocking thread and back. Keeping the handle of the thread here makes
/// [`BatchReader::next`] safe to cancel.
enum ReaderLocation {
    Here(Box<Reader>),
    Reading(JoinHandle<(Box<Reader>, Result<Chunk, LogError>)>),
    /// The reader ended with an error, or the partition was closed.
    Ended,
}

impl LogReader {
    pub(crate) fn new(reader: Reader, max_bytes: usize) -> Self {
        let location = ReaderLocation::Here(Box::new(reader));
        Self { ready: VecDeque::new(), location, max_bytes, reads_here: false }
    }

    /// Sets whether reads that wait for the device run on the thread of the caller.
    pub(crate) fn reads_here(self, reads_here: bool) -> Self {
        Self { reads_here, ..self }
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return next.map(Some);
            }
            match &mut self.location {
                // The error was returned before.
                ReaderLocation::Ended => return Ok(None),
                ReaderLocation::Reading(thread) => {
                    let outcome = thread.await;
                    let (reader, chunk) = outcome.map_err(|stopped| {
                        self.location = ReaderLocation::Ended;
                        Error::new(ErrorKind::Closed, "the runtime stopped before the log answered")
                            .with_source(stopped)
                    })?;
                    self.location = ReaderLocation::Here(reader);
                    self.keep(chunk)?;
                }
                ReaderLocation::Here(reader) => match reader.try_next_chunk(self.max_bytes) {
                    Ok(TryChunk::Ready(chunk)) if chunk.batches.is_empty() && chunk.gaps.is_empty() => {
                        if let Err(error) = poll_fn(|cx| reader.poll_beyond(cx)).await {
                            return self.end(error);
                        }
                    }
                    Ok(TryChunk::Ready(chunk)) => self.put(chunk),
                    Ok(TryChunk::WouldBlock) if self.reads_here => {
                        let chunk = reader.next_chunk(self.max_bytes);
                        self.keep(chunk)?;
                    }
                    Ok(TryChunk::WouldBlock) => self.read_on_a_thread(),
                    Err(error) => return self.end(error),
                },
            }
        }
    }

    fn keep(&mut self, chunk: Result<Chunk, LogError>) -> Result<()> {
        match chunk {
            Ok(chunk) => {
                self.put(chunk);
                Ok(())
            }
            Err(error) => self.end(error).map(drop),
        }
    }

    /// Queues a chunk: its gaps come before its batches.
    fn put(&mut self, chunk: Chunk) {
        self.ready.extend(chunk.gaps.iter().map(|lost| Err(gap(lost).into_error())));
        self.ready.extend(chunk.batches.into_iter().map(Ok));
    }

    /// Ends the reader. A deleted topic is an error as well: after a silent end the consumer would reopen the reader, possibly
    /// on a new topic of the same name, in the middle of other records.
    fn end(&mut self, error: LogError) -> Result<Option<EncodedBatch>> {
        self.location = ReaderLocation::Ended;
        Err(log_error(error))
    }

    fn read_on_a_thread(&mut self) {
        let max_bytes = self.max_bytes;
        if let ReaderLocation::Here(mut reader) = std::mem::replace(&mut self.location, ReaderLocation::Ended)
        {
            self.location = ReaderLocation::Reading(spawn_blocking(move || {
                let chunk = reader.next_chunk(max_bytes);
                (reader, chunk)
            }));
        }
    }
}

impl BatchReader for LogReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.next_batch())
    }

    fn ready(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            if self.ready.is_empty()
                && let ReaderLocation::Here(reader) = &self.location
            {
                // The next call reports an error.
                let _ = poll_fn(|cx| reader.poll_beyond(cx)).await;
            }
            true
        })
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::EmbeddedEngine;
    use floe_core::{
        ErrorKind,
        engine::{Acks, AppendRequest, Engine as _, ReadRequest, Start},
        topic::{Topic, TopicSpec},
    };
    use floe_wire::batch::{BatchBuilder, FinishOptions};
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn readiness_is_known_before_a_batch_is_read() {
        let engine = EmbeddedEngine::open(&"memory:".parse().unwrap()).await.unwrap();
        engine.create_topic(TopicSpec::new("t")).await.unwrap();
        let at = Topic::from("t").partition(0);
        let request = ReadRequest::new(at.clone(), Start::Earliest).max_bytes(1000);
        let mut reader = engine.open(request).await.unwrap();
        assert_eq!(reader.ready().now_or_never(), None, "the partition is empty");
        let mut builder = BatchBuilder::new(64);
        builder.append(1, None, b"one", &[]).unwrap();
        let batch = builder.finish(FinishOptions::default()).unwrap();
        engine.append(AppendRequest::new(at, batch, Acks::Leader)).await.unwrap();
        assert!(reader.ready().await);
        assert!(reader.ready().await, "nothing was read");
        assert_eq!(reader.next().await.unwrap().unwrap().base_offset(), 0);
        assert_eq!(reader.ready().now_or_never(), None);
        engine.delete_topic(Topic::from("t")).await.unwrap();
        assert!(reader.ready().await, "the next call reports the deletion");
        assert!(reader.next().await.is_err());
    }

    #[tokio::test]
    async fn recreated_topic_is_not_mistaken_for_the_deleted_one() {
        let engine = EmbeddedEngine::open(&"memory:".parse().unwrap()).await.unwrap();
        engine.create_topic(TopicSpec::new("t")).await.unwrap();
        let request = ReadRequest::new(Topic::from("t").partition(0), Start::Earliest).max_bytes(1000);
        let mut reader = engine.open(request).await.unwrap();
        engine.delete_topic(Topic::from("t")).await.unwrap();
        engine.create_topic(TopicSpec::new("t")).await.unwrap();
        // The engine has a topic of this name; only the reader can tell that it is another one.
        assert_eq!(reader.next().await.unwrap_err().kind(), ErrorKind::TopicNotFound);
        assert!(reader.next().await.unwrap().is_none());
    }
}
