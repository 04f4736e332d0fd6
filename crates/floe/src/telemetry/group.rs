//! Metrics and spans of members of shared groups.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanKind},
};

use super::{
    Telemetry,
    instruments::{destination, partition_id},
    names::{self, SpanType, attribute},
    produce::with,
};
use crate::Topic;

/// Metrics and spans of one member.
///
/// The spans are made when they end, with a start in the past: a member has many things under way at a time, and its task has no
/// span of a caller that could be their parent.
#[derive(Debug)]
pub(crate) struct GroupTelemetry {
    telemetry: Telemetry,
    /// Platform and group.
    attributes: Vec<KeyValue>,
    /// The topic with which the member began.
    topic: Topic,
    is_member: bool,
}

impl GroupTelemetry {
    pub(crate) fn new(telemetry: &Telemetry, topic: Topic, group: Arc<str>) -> Self {
        let system = KeyValue::new(attribute::SYSTEM, telemetry.inner.system);
        let attributes = vec![system, KeyValue::new(attribute::GROUP, group)];
        Self { telemetry: telemetry.clone(), attributes, topic, is_member: false }
    }

    /// Notes whether the member is in the group.
    pub(crate) fn is_member(&mut self, is_member: bool) {
        if self.is_member == is_member {
            return;
        }
        self.is_member = is_member;
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.group_members.add(if is_member { 1 } else { -1 }, &self.attributes);
        }
    }

    /// Counts a change of members, topics or numbers of partitions.
    pub(crate) fn rebalances(&self) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.group_rebalances.add(1, &self.attributes);
        }
    }

    /// Counts partitions that were `assigned`, `revoked` or `lost`.
    pub(crate) fn moves(&self, topic: &Topic, change: &'static str, partitions: usize) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.with([destination(topic), KeyValue::new(attribute::GROUP_CHANGE, change)]);
            instruments.group_moves.add(partitions as u64, &attributes);
        }
    }

    /// Counts an eviction by this member (`silent`), or of it (`removed`, `replaced`).
    pub(crate) fn evicts(&self, reason: &'static str) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.with([KeyValue::new(attribute::EVICTION_REASON, reason)]);
            instruments.group_evictions.add(1, &attributes);
        }
    }

    /// Counts commits that came too late.
    pub(crate) fn fences(&self, commits: usize) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            instruments.group_fenced_commits.add(commits as u64, &self.attributes);
        }
    }

    /// Traces a join, from the record that asks for it to its return.
    pub(crate) fn joins(&self, took: Duration) {
        self.trace(names::JOIN, (&self.topic, None), took);
    }

    /// Traces the look-up of the start of a partition that the member got.
    pub(crate) fn assigns(&self, topic: &Topic, partition: u32, took: Duration) {
        self.trace(names::ASSIGN, (topic, Some(partition)), took);
    }

    /// Traces the silence of another member, which this one ends.
    pub(crate) fn takes_over(&self, took: Duration) {
        self.trace(names::TAKE_OVER, (&self.topic, None), took);
    }

    /// Measures and traces a handover, from the end of handing out to the next owner.
    pub(crate) fn hands_over(&self, topic: &Topic, (partition, took): (u32, Duration)) {
        self.trace(names::DRAIN, (topic, Some(partition)), took);
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.with([destination(topic)]);
            instruments.group_handover.record(took.as_secs_f64(), &attributes);
        }
    }

    /// Makes a span that ends now.
    fn trace(&self, span: SpanType, (topic, partition): (&Topic, Option<u32>), took: Duration) {
        let builder = || {
            let mut builder = self.telemetry.span(span, SpanKind::Client, topic);
            builder.start_time = SystemTime::now().checked_sub(took);
            let group = self.attributes.iter().filter(|one| one.key.as_str() == attribute::GROUP).cloned();
            with(builder, partition.map(partition_id).into_iter().chain(group))
        };
        if let Some(mut span) = self.telemetry.start_span(builder, &Context::new()) {
            span.end();
        }
    }

    fn with<const N: usize>(&self, more: [KeyValue; N]) -> Vec<KeyValue> {
        self.attributes.iter().cloned().chain(more).collect()
    }
}

impl Drop for GroupTelemetry {
    fn drop(&mut self) {
        self.is_member(false);
    }
}
