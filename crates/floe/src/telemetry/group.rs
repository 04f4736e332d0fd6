//! Metrics of members of shared groups.

use std::{sync::Arc, time::Duration};

use opentelemetry::KeyValue;

use super::{Telemetry, instruments::destination, names::attribute};
use crate::Topic;

/// Metrics of one member.
#[derive(Debug)]
pub(crate) struct GroupTelemetry {
    telemetry: Telemetry,
    /// Platform and group.
    attributes: Vec<KeyValue>,
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
    pub(crate) fn moves(&self, change: &'static str, partitions: usize) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes =
                self.with([destination(&self.topic), KeyValue::new(attribute::GROUP_CHANGE, change)]);
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

    /// Measures a handover, from the end of handing out to the next owner.
    pub(crate) fn hands_over(&self, took: Duration) {
        if let Some(instruments) = &self.telemetry.inner.instruments {
            let attributes = self.with([destination(&self.topic)]);
            instruments.group_handover.record(took.as_secs_f64(), &attributes);
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
