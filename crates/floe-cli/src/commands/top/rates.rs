//! Numbers of topics and groups at two moments, and the rates between them.

use std::collections::BTreeMap;

use floe::{TopicPartition, engine::Watermarks};
use tokio::time::Instant;

/// Numbers of one topic.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TopicCounts {
    partitions: u32,
    /// Partitions whose offsets are known.
    known: u32,
    records: u64,
    /// Sum of the high watermarks.
    end: i64,
    /// Bytes, where the engine knows.
    bytes: Option<u64>,
}

impl TopicCounts {
    pub(super) fn of(partitions: u32) -> Self {
        Self { partitions, ..Self::default() }
    }

    pub(super) fn add(&mut self, marks: &Watermarks) {
        self.known += 1;
        self.records += marks.records();
        self.end = self.end.saturating_add(marks.high);
        if let Some(bytes) = marks.size_bytes {
            self.bytes = Some(self.bytes.unwrap_or(0) + bytes);
        }
    }
}

/// Position of a group in a topic.
#[derive(Debug, Clone, Copy, Default)]
struct GroupCounts {
    partitions: u32,
    /// Sum of the offsets of the next records.
    next: i64,
    /// Records behind the positions; None where an end is unknown.
    lag: Option<u64>,
}

/// Numbers at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    at: Instant,
    pub(super) topics: BTreeMap<String, TopicCounts>,
    /// By group and topic.
    groups: BTreeMap<(String, String), GroupCounts>,
}

impl Snapshot {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, topics: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Adds the position of a group in a partition with these offsets. A group without a position has not begun.
    pub(super) fn add_position(
        &mut self,
        group: &str,
        at: &TopicPartition,
        next: Option<i64>,
        marks: Option<&Watermarks>,
    ) {
        let key = (group.to_owned(), at.topic.to_string());
        let counts = self.groups.entry(key).or_insert(GroupCounts { lag: Some(0), ..GroupCounts::default() });
        counts.partitions += 1;
        counts.next = counts.next.saturating_add(next.unwrap_or(0));
        let behind = marks.map(|marks| {
            let next = next.unwrap_or(marks.start).max(marks.start);
            marks.lag(next).unwrap_or(0)
        });
        counts.lag = counts.lag.zip(behind).map(|(lag, behind)| lag + behind);
    }
}

/// Line of a topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TopicRow {
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) records: u64,
    pub(super) bytes: Option<u64>,
    /// Records written per second.
    pub(super) rate: Option<f64>,
    /// Largest lag of a group.
    pub(super) lag: Option<u64>,
}

/// Line of a group in a topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupRow {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partitions: u32,
    /// Records read per second.
    pub(super) rate: Option<f64>,
    pub(super) lag: Option<u64>,
}

/// The last two moments.
#[derive(Debug, Default)]
pub(super) struct Rates {
    before: Option<Snapshot>,
    now: Option<Snapshot>,
}

impl Rates {
    pub(super) fn add(&mut self, snapshot: Snapshot) {
        self.before = self.now.replace(snapshot);
    }

    /// Returns the topics by name.
    pub(super) fn topics(&self) -> Vec<TopicRow> {
        let Some(now) = &self.now else { return Vec::new() };
        let rows = now.topics.iter().map(|(name, counts)| TopicRow {
            name: name.clone(),
            partitions: counts.partitions,
            records: counts.records,
            bytes: counts.bytes,
            rate: self.rate(|snapshot| snapshot.topics.get(name).map(|one| (one.known, one.end))),
            lag: now
                .groups
                .iter()
                .filter(|((_, topic), _)| topic == name)
                .filter_map(|(_, one)| one.lag)
                .max(),
        });
        rows.collect()
    }

    /// Returns the groups by name and topic.
    pub(super) fn groups(&self) -> Vec<GroupRow> {
        let Some(now) = &self.now else { return Vec::new() };
        let rows = now.groups.iter().map(|(key, counts)| GroupRow {
            group: key.0.clone(),
            topic: key.1.clone(),
            partitions: counts.partitions,
            rate: self.rate(|snapshot| snapshot.groups.get(key).map(|one| (one.partitions, one.next))),
            lag: counts.lag,
        });
        rows.collect()
    }

    /// Returns the growth per second of a sum over partitions; None unless both moments have it, of equally many.
    fn rate(&self, sum: impl Fn(&Snapshot) -> Option<(u32, i64)>) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.now.as_ref()?);
        let ((parts_before, sum_before), (parts, sum)) = (sum(before)?, sum(now)?);
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is approximate")]
        let grown = sum.saturating_sub(sum_before).max(0) as f64;
        (parts_before == parts && seconds > 0.0).then(|| grown / seconds)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use floe::Topic;

    use super::*;

    fn snapshot(at: Instant, marks: [(i64, i64); 2], next: i64) -> Snapshot {
        let mut snapshot = Snapshot::new(at);
        let mut counts = TopicCounts::of(2);
        for (partition, (start, high)) in (0..).zip(marks) {
            let marks = Watermarks::new(start, high, Some(1000));
            counts.add(&marks);
            let at = Topic::from("orders").partition(partition);
            snapshot.add_position("billing", &at, Some(next), Some(&marks));
        }
        snapshot.topics.insert("orders".to_owned(), counts);
        snapshot.topics.insert("audit".to_owned(), TopicCounts::of(1));
        snapshot
    }

    /// Returns rates of two topics and a group.
    pub(in super::super) fn rates() -> Rates {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.add(snapshot(start, [(0, 100), (50, 100)], 60));
        rates.add(snapshot(start + Duration::from_secs(2), [(0, 300), (50, 120)], 80));
        rates
    }

    #[test]
    fn rates_are_differences_over_time() {
        let mut rates = rates();
        let topics = rates.topics();
        assert_eq!((topics[0].name.as_str(), topics[0].rate, topics[0].lag), ("audit", Some(0.0), None));
        let orders = &topics[1];
        assert_eq!((orders.records, orders.bytes, orders.partitions), (370, Some(2000), 2));
        assert_eq!((orders.rate, orders.lag), (Some(110.0), Some(260)));
        let groups = rates.groups();
        assert_eq!(
            (groups[0].group.as_str(), groups[0].rate, groups[0].lag),
            ("billing", Some(20.0), Some(260))
        );

        // Another number of partitions, a new topic: no rate.
        let mut later = Snapshot::new(Instant::now() + Duration::from_secs(4));
        later.topics.insert("new".to_owned(), TopicCounts::of(1));
        rates.add(later);
        assert_eq!((rates.topics()[0].rate, rates.groups()), (None, Vec::new()));
    }

    #[test]
    fn group_that_has_not_begun_lags_by_all_records() {
        let mut snapshot = Snapshot::new(Instant::now());
        let at = Topic::from("orders").partition(0);
        snapshot.add_position("new", &at, None, Some(&Watermarks::new(5, 25, None)));
        snapshot.add_position("lost", &at, Some(7), None);
        let mut rates = Rates::default();
        rates.add(snapshot);
        let lags: Vec<_> = rates.groups().into_iter().map(|row| (row.group, row.lag)).collect();
        assert_eq!(lags, [("lost".to_owned(), None), ("new".to_owned(), Some(20))]);
    }
}
