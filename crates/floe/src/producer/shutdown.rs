//! Flushes and closes a producer, and reports records that were not delivered.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{
    accumulator::UnfinishedBatch,
    shared::{CloseReport, ProducerShared},
    unreported_failures::Undelivered,
};
use crate::{
    Error, ErrorKind, Result, client_core::ClientComponent, health::ComponentHealth, telemetry::Queue as _,
    topic::Topic,
};

impl CloseReport {
    /// Turns records that were not delivered into an error.
    ///
    /// # Errors
    /// The number of records and their partitions, with the first cause as source.
    pub fn into_result(self, topic: &Topic) -> Result<()> {
        undelivered_error(topic, &self.undelivered).map_or(Ok(()), Err)
    }
}

impl ProducerShared {
    /// Sends all records that were buffered before, and waits for the outcomes, at most `limit`.
    pub(super) async fn flush(&self, limit: Option<Duration>) -> Result<()> {
        let unfinished = self.close_batches();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let all_done = wait_until(&unfinished, deadline).await;
        let undelivered = self.report_failures(&unfinished);
        if let Some(error) = undelivered_error(&self.topic, &undelivered) {
            return Err(error.with_engine(self.engine_name));
        }
        if all_done {
            return Ok(());
        }
        let pending: Vec<_> = unfinished.iter().filter(|(state, _)| !state.is_done()).collect();
        let records: u64 = pending.iter().map(|(_, records)| u64::from(*records)).sum();
        let message = format!(
            "{} not acknowledged within {:?}",
            describe(records, pending.iter().map(|(state, _)| state.partition)),
            limit.unwrap_or_default()
        );
        Err(Error::new(ErrorKind::RequestTimeout, message)
            .with_engine(self.engine_name)
            .with_operation("flush")
            .with_topic(&self.topic))
    }

    fn close_batches(&self) -> Vec<UnfinishedBatch> {
        self.partitions.iter().flat_map(|partition| partition.close_batch(&self.config)).collect()
    }

    fn report_failures(&self, waited_for: &[UnfinishedBatch]) -> Vec<Undelivered> {
        self.unreported.report(waited_for.iter().filter_map(|(state, records)| state.failure(*records)))
    }

    /// Sends buffered records until the deadline, then abandons the rest.
    pub(super) async fn close(&self, deadline: Instant) -> Result<CloseReport> {
        let Ok(mut report) = tokio::time::timeout_at(deadline, self.report.lock()).await else {
            let message = "a concurrent close of this producer still waits for deliveries";
            return Err(Error::new(ErrorKind::RequestTimeout, message)
                .with_operation("close")
                .with_topic(&self.topic));
        };
        if let Some(report) = &*report {
            return Ok(report.clone());
        }
        self.begin_close();
        let unfinished = self.close_batches();
        if !wait_until(&unfinished, Some(deadline)).await {
            for sender in &*self.senders.lock() {
                sender.abort();
            }
            // An aborted sender fails the batches it holds; see `Batch` and `sender::run`.
            wait_until(&unfinished, None).await;
        }
        let done = CloseReport {
            delivered: self.counters.records.load(Ordering::Relaxed),
            undelivered: self.report_failures(&unfinished),
        };
        *report = Some(done.clone());
        Ok(done)
    }
}

impl ClientComponent for ProducerShared {
    fn close_by(&self, deadline: Instant) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let report = self.close(deadline).await?;
            report.into_result(&self.topic).map_err(|error| error.with_engine(self.engine_name))
        })
    }

    fn health(&self) -> ComponentHealth {
        ComponentHealth::new("producer", &self.topic).queue(self.used(), self.limit())
    }
}

/// Waits for the outcome of all batches; false if the deadline passed first.
async fn wait_until(batches: &[UnfinishedBatch], deadline: Option<Instant>) -> bool {
    let all = async {
        for (state, _) in batches {
            state.done().await;
        }
    };
    match deadline {
        None => {
            all.await;
            true
        }
        Some(deadline) => tokio::time::timeout_at(deadline, all).await.is_ok(),
    }
}

fn undelivered_error(topic: &Topic, undelivered: &[Undelivered]) -> Option<Error> {
    let first = undelivered.first()?;
    let records = undelivered.iter().map(|one| one.records).sum();
    let subject = describe(records, undelivered.iter().map(|one| one.partition));
    let cause = &first.error;
    let error = Error::new(cause.kind(), format!("{subject} not delivered: {}", cause.message()))
        .with_retriable(cause.is_retriable())
        .with_effect(cause.effect())
        .with_operation("flush")
        .with_topic(topic)
        .with_source(cause.clone());
    Some(error)
}

/// `3 records of partitions 0, 2 are`.
fn describe(records: u64, partitions: impl Iterator<Item = u32>) -> String {
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_unstable();
    partitions.dedup();
    let mut names: Vec<_> = partitions.iter().take(8).map(u32::to_string).collect();
    if partitions.len() > names.len() {
        names.push("…".to_owned());
    }
    let (subject, verb) = if records == 1 { ("record", "is") } else { ("records", "are") };
    let place = if partitions.len() == 1 { "partition" } else { "partitions" };
    format!("{records} {subject} of {place} {} {verb}", names.join(", "))
}
