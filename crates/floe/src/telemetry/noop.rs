//! Telemetry of a build without the feature `telemetry`: the same names, and nothing recorded.

use std::{
    borrow::Cow,
    fmt::Display,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use floe_wire::batch::{BorrowedHeaders, EncodedBatch};

use super::{ReceivedBatch, RecordPosition, TelemetryOptions};
use crate::{Error, Result, Topic, engine::SharedEngine, net::Dial, topic::TopicPartition};

/// Telemetry of a client; records nothing without the feature `telemetry`.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {}

#[derive(Debug, Default)]
pub(crate) struct Origin {}

impl Origin {
    pub(crate) fn added(&self) -> &[(&'static str, Bytes)] {
        &[]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Origins {}

impl Origins {
    pub(crate) fn add(&mut self, _: &Origin) {}
}

#[derive(Debug)]
pub(crate) struct BatchSpan {}

impl BatchSpan {
    pub(crate) fn attempts(self, _: u32) -> Self {
        self
    }
}

pub(crate) trait Queue: Send + Sync {
    fn used(&self) -> u64;
    fn limit(&self) -> u64;
}

#[derive(Debug)]
pub(crate) struct Lag {}

impl Lag {
    pub(crate) fn new(
        _: &SharedEngine,
        _: Option<Arc<str>>,
        _: impl Iterator<Item = (TopicPartition, i64)>,
    ) -> Arc<Self> {
        Arc::new(Self {})
    }

    pub(crate) async fn run(self: Arc<Self>) {}
}

#[derive(Debug)]
pub(crate) struct ConsumerTelemetry {}

impl ConsumerTelemetry {
    pub(crate) fn new(_: &Telemetry, _: Topic, _: Option<Arc<str>>, _: Arc<Lag>) -> Self {
        Self {}
    }

    pub(crate) fn waits(&mut self) {}

    pub(crate) fn joins(&mut self, _: usize, _: TopicPartition, _: i64) {}

    pub(crate) fn leaves(&self, _: usize) {}

    pub(crate) fn stands_at(&self, _: usize, _: i64) {}

    pub(crate) fn received<'h>(
        &mut self,
        _: ReceivedBatch,
        _: Option<impl Iterator<Item = BorrowedHeaders<'h>>>,
    ) {
    }

    pub(crate) fn hands_out(&mut self, _: usize, _: usize) {}

    pub(crate) fn flush(&mut self) {}

    pub(crate) fn misses(&self, _: u32, _: &'static str, _: u64) {}
}

#[derive(Debug)]
pub(crate) struct GroupTelemetry {}

impl GroupTelemetry {
    pub(crate) fn new(_: &Telemetry, _: Topic, _: Arc<str>) -> Self {
        Self {}
    }

    pub(crate) fn is_member(&mut self, _: bool) {}

    pub(crate) fn rebalances(&self) {}

    pub(crate) fn moves(&self, _: &Topic, _: &'static str, _: usize) {}

    pub(crate) fn evicts(&self, _: &'static str) {}

    pub(crate) fn fences(&self, _: usize) {}

    pub(crate) fn joins(&self, _: Duration) {}

    pub(crate) fn assigns(&self, _: &Topic, _: u32, _: Duration) {}

    pub(crate) fn takes_over(&self, _: Duration) {}

    pub(crate) fn hands_over(&self, _: &Topic, _: (u32, Duration)) {}
}

#[derive(Debug)]
pub(crate) struct FetchTelemetry {}

impl FetchTelemetry {
    pub(crate) fn new(_: &Telemetry, _: &TopicPartition) -> Self {
        Self {}
    }

    pub(crate) fn fetched(&mut self, _: &EncodedBatch) {}

    pub(crate) fn flush(&mut self) {}

    pub(crate) fn dropped_repeats(&self, _: u64) {}
}

impl Telemetry {
    pub(crate) fn new(_: TelemetryOptions, _: &str) -> Self {
        Self {}
    }

    pub(crate) fn dial(&self, inner: impl Dial) -> Arc<dyn Dial> {
        Arc::new(inner)
    }

    pub(crate) fn carries(&self) -> bool {
        false
    }

    pub(crate) fn watch_queue(&self, _: &'static str, _: &Topic, _: Weak<dyn Queue>) {}

    pub(crate) fn retried(&self, _: &'static str, _: Option<&Topic>, _: &Error) {}

    pub(crate) fn buried(&self, _: &Topic, _: &str) {}

    pub(crate) fn breaker_changed(&self, _: &str, _: &'static str, _: &'static str) {}

    pub(crate) fn originate(&self, _: &Topic, _: &[(String, Bytes)], _: usize, _: bool) -> Origin {
        Origin {}
    }

    pub(crate) fn originate_all(&self, _: bool) -> Option<Origin> {
        Some(Origin {})
    }

    pub(crate) fn set_offsets(&self, _: bool) {}

    pub(crate) fn traces_sending(&self) -> bool {
        false
    }

    pub(crate) async fn send_one<T>(
        &self,
        _: &Topic,
        _: usize,
        sending: impl Future<Output = Result<T>>,
        _: impl Fn(&T) -> (u32, Option<i64>),
    ) -> Result<T> {
        sending.await
    }

    pub(crate) fn start_batch(&self, _: &TopicPartition, _: u32, _: &mut Origins) -> BatchSpan {
        BatchSpan {}
    }

    pub(crate) fn batch_made(&self, _: &Topic, _: u32, _: usize) {}

    pub(crate) fn batch_done(&self, _: &Topic, _: u32, _: Option<BatchSpan>, _: &Result<Option<i64>>) {}

    pub(crate) async fn process_linked<T, E: Display>(
        &self,
        _: RecordPosition<'_>,
        _: BorrowedHeaders<'_>,
        work: impl Future<Output = Result<T, E>>,
        _: impl Fn(&E) -> Cow<'static, str>,
    ) -> Result<T, E> {
        work.await
    }

    pub(crate) async fn process_child<T, E: Display>(
        &self,
        _: RecordPosition<'_>,
        _: BorrowedHeaders<'_>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        work.await
    }
}

/// Stands in for the code of an application's error, which nothing records.
pub(crate) fn error_type<E>(_: &E) -> Cow<'static, str> {
    Cow::Borrowed("")
}

pub(crate) fn carrying<F: Future>(work: F) -> F {
    work
}
