//! A reader with an injected fault.

use std::future::pending;

use floe::{
    Result,
    engine::{BatchReader, Start},
};
use floe_wire::batch::EncodedBatch;
use futures_util::future::BoxFuture;

use super::{Lie, rewrite};

#[derive(Debug)]
pub(crate) struct LyingReader {
    lie: Lie,
    inner: Box<dyn BatchReader>,
    from: Start,
    max_bytes: usize,
    batches: usize,
    looked: bool,
}

impl LyingReader {
    pub(crate) fn new(lie: Lie, inner: Box<dyn BatchReader>, from: Start, max_bytes: usize) -> Self {
        Self { lie, inner, from, max_bytes, batches: 0, looked: false }
    }

    async fn lying_next(&mut self) -> Result<Option<EncodedBatch>> {
        if self.lie == Lie::HangAfterFive && self.batches == 5 {
            return pending().await;
        }
        let next = match self.lie {
            // Checks the log once, then sleeps without registering for a wake-up.
            Lie::HangAfterFirstLook => match self.look().await {
                Some(next) => next?,
                None => return pending().await,
            },
            Lie::EndInsteadOfWaiting => match self.look().await {
                Some(next) => next?,
                None => return Ok(None),
            },
            Lie::HangWhenDeleted => match self.inner.next().await? {
                None => return pending().await,
                batch => batch,
            },
            _ => self.inner.next().await?,
        };
        let Some(batch) = next else { return Ok(None) };
        self.batches += 1;
        match self.lie {
            Lie::LoseBatchWhenDropped => tokio::task::yield_now().await,
            Lie::NeverLargerThanAsked if batch.len() > self.max_bytes => return pending().await,
            Lie::SkipBatchAtStart if !self.looked && self.from != Start::Offset(0) => {
                self.looked = true;
                return self.inner.next().await;
            }
            Lie::SkipToNextBatch if !self.looked => {
                self.looked = true;
                if matches!(self.from, Start::Offset(offset) if offset > batch.base_offset()) {
                    return self.inner.next().await;
                }
            }
            _ => {}
        }
        Ok(Some(rewrite::lied_about(self.lie, &batch)?))
    }

    /// Returns the next batch if there is one now.
    async fn look(&mut self) -> Option<Result<Option<EncodedBatch>>> {
        let next = self.inner.next();
        tokio::select! {
            biased;
            next = next => Some(next),
            () = std::future::ready(()) => None,
        }
    }
}

impl BatchReader for LyingReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<EncodedBatch>>> {
        Box::pin(self.lying_next())
    }
}
