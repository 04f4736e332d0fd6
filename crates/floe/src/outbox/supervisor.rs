//! The task that keeps a delivery session running until the outbox is closed.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    delivery::{self, SessionEnd},
    settings::OutboxSettings,
    shared::{OutboxShared, StopRequest, must_stop},
    spool::Spool,
    status::OutboxReport,
};
use crate::{Error, Result, RetryPolicy};

/// Longest wait for the acknowledgements of a session that ends.
const SESSION_CLOSE_LIMIT: Duration = Duration::from_secs(2);

impl OutboxShared {
    pub(super) async fn start(
        settings: OutboxSettings,
        spool: Spool,
        disk_full: Arc<Notify>,
    ) -> Result<Arc<Self>> {
        let shared = Self::load(settings, spool)?;
        let task = tokio::spawn(Arc::clone(&shared).run(disk_full));
        *shared.task.lock().await = Some(task);
        Ok(shared)
    }

    /// Runs one session after the other until the outbox is stopped.
    async fn run(self: Arc<Self>, disk_full: Arc<Notify>) -> Result<()> {
        let policy = RetryPolicy::default();
        let mut failures = 0;
        let mut each_until = 0;
        let mut stop = self.stop.subscribe();
        loop {
            let outcome = tokio::select! {
                biased;
                () = must_stop(&mut stop) => break,
                never = self.drop_when_full(&disk_full) => match never {},
                outcome = delivery::run(&self, each_until) => outcome,
            };
            self.close_session().await;
            match outcome {
                Ok(SessionEnd::Restart) => failures = 0,
                Ok(SessionEnd::SendEach { until }) => each_until = until,
                Ok(SessionEnd::Drained) => break,
                Err(error) => {
                    // An acknowledgement clears the last error.
                    let progressed = self.last_error.lock().is_none();
                    failures = if progressed { 1 } else { failures + 1 };
                    tracing::warn!(topic = %self.topic(), %error, "the outbox cannot deliver; it retries");
                    let delay = policy.delay(failures, Some(&error));
                    *self.last_error.lock() = Some(error);
                    let until = Instant::now().checked_add(delay).unwrap_or_else(Instant::now);
                    tokio::select! {
                        biased;
                        () = must_stop(&mut stop) => break,
                        never = self.drop_when_full(&disk_full) => match never {},
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
        self.close_session().await;
        self.finish().await
    }

    /// Drops the oldest records each time a write finds the disk full. A running session notices by the gap.
    fn drop_when_full<'a>(&'a self, disk_full: &'a Notify) -> BoxFuture<'a, Infallible> {
        Box::pin(async move {
            loop {
                disk_full.notified().await;
                if let Err(error) = self.drop_oldest().await {
                    tracing::error!(topic = %self.topic(), %error, "the outbox could not make room on the full disk");
                }
            }
        })
    }

    /// Closes the producer of a session that ended or was cancelled: no batch of it may be sent after the next session
    /// has read the ends of the partitions.
    async fn close_session(&self) {
        let active = self.active.lock().take();
        if let Some(producer) = active
            && let Err(error) = producer.close_within(SESSION_CLOSE_LIMIT).await
        {
            tracing::debug!(%error, "the producer of the outbox did not close");
        }
    }

    /// Stores the last checkpoint, and closes the spool and the outbox's own client.
    async fn finish(&self) -> Result<()> {
        // Wakes senders that wait for room: they would hold up the flush.
        self.begin_stop(StopRequest::Now);
        let mut checkpoint = self.checkpoint.lock().await;
        let stored = self.store(&mut checkpoint).await;
        if stored.is_ok()
            && let Err(error) = self.trim(&checkpoint).await
        {
            tracing::warn!(%error, "the spool of the outbox was not trimmed");
        }
        self.progress.send_modify(|progress| progress.ended = true);
        let flushed = self.spool.flush().await;
        if let Some(client) = self.settings.own_client.lock().await.take()
            && let Err(error) = client.close().await
        {
            tracing::warn!(%error, "the client of the outbox did not close");
        }
        stored.and(flushed).and(self.spool.close().await)
    }

    /// Delivers until the deadline at most, and waits for the end of the task. Closing again returns the same report.
    pub(super) async fn close(&self, deadline: Instant) -> Result<OutboxReport> {
        let mut report = self.report.lock().await;
        if let Some(report) = *report {
            return Ok(report);
        }
        self.begin_stop(StopRequest::By(deadline));
        let ended = match self.task.lock().await.take() {
            Some(task) => task.await.unwrap_or_else(|_| Err(Error::closed("runtime"))),
            None => Ok(()),
        };
        let stats = self.stats();
        let done = OutboxReport {
            delivered: stats.delivered,
            waiting: stats.waiting,
            dropped: stats.dropped,
            rejected: stats.rejected,
        };
        *report = Some(done);
        ended.map(|()| done)
    }
}
