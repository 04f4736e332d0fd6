//! Readers. A topic has a single read position, so readers share its fetcher.

use std::{fmt, sync::Arc};

use floe_core::{
    Result,
    engine::{BatchReader, ReadRequest},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{journal::Journal, topic_fetcher::TopicFetcher};

pub(super) struct WalrusReader {
    fetcher: Arc<TopicFetcher>,
    max_bytes: usize,
    stop_when_empty: bool,
}

impl WalrusReader {
    pub(super) fn new(fetcher: Arc<TopicFetcher>, request: &ReadRequest) -> Self {
        Self { fetcher, max_bytes: request.max_bytes, stop_when_empty: request.stop_when_empty }
    }
}

impl BatchReader for WalrusReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(async move { self.fetcher.next(self.max_bytes, self.stop_when_empty).await })
    }
}

impl fmt::Debug for WalrusReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalrusReader").finish_non_exhaustive()
    }
}

/// A read position in the journal. At its end, the reader moves further batches from the cluster into the journal.
pub(super) struct JournaledReader {
    log: Box<dyn BatchReader>,
    journal: Arc<Journal>,
    fetcher: Arc<TopicFetcher>,
    max_bytes: usize,
}

impl JournaledReader {
    pub(super) fn new(
        log: Box<dyn BatchReader>,
        journal: Arc<Journal>,
        fetcher: Arc<TopicFetcher>,
        max_bytes: usize,
    ) -> Self {
        Self { log, journal, fetcher, max_bytes }
    }

    async fn next_batch(&mut self) -> Result<Option<EncodedBatch>> {
        loop {
            tokio::select! {
                // Batches in the journal come first.
                biased;
                batch = self.log.next() => return batch,
                moved = self.fetcher.next_to_journal(&self.journal, self.max_bytes) => moved?,
            }
        }
    }
}

impl BatchReader for JournaledReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.next_batch())
    }
}

impl fmt::Debug for JournaledReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournaledReader").finish_non_exhaustive()
    }
}
