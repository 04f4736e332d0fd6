//! Rates of topics and lags of groups over the last 15 minutes.
//!
//! A task looks at the watermarks of all partitions every [`STEP`], or as often as [`LOOKUPS_PER_SECOND`] allows, and keeps
//! the differences. Its memory depends on the number of topics that take records, not on the records.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use floe::{Client, Result, Topic, TopicPartition, engine::Watermarks, groups::GroupDescription};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Time between two samples.
pub(super) const STEP: Duration = Duration::from_secs(5);

/// Samples kept: 15 minutes.
const SAMPLES: usize = 180;

/// Watermarks looked up in a second at most, so that a store with many partitions is not kept busy by its console.
const LOOKUPS_PER_SECOND: usize = 1_000;

/// Lookups at once.
const LOOKUPS_AT_ONCE: usize = 16;

/// Passes between two looks at the coordination topic of shared groups, which is read from its beginning.
const PASSES_PER_GROUP_LOOK: u64 = 3;

/// Longest time that a request waits for the first pass.
const FIRST_PASS: Duration = Duration::from_secs(2);

/// The sampled history; the sampling ends when it is dropped.
#[derive(Debug)]
pub(super) struct History {
    shared: Arc<HistoryShared>,
    task: JoinHandle<()>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct HistoryShared {
    state: Mutex<Samples>,
    /// Number of passes that ended.
    passes: watch::Sender<u64>,
}

/// Everything that is known about topics and groups.
#[derive(Debug, Default)]
pub(super) struct Samples {
    topics: HashMap<Topic, TopicSamples>,
    groups: BTreeMap<Arc<str>, GroupSamples>,
    records: Series,
    bytes: Series,
    /// Whether the engine tells sizes.
    pub(super) has_sizes: bool,
    passed_at: Option<Instant>,
}

/// Samples of one topic.
#[derive(Debug, Default)]
pub(super) struct TopicSamples {
    /// Watermarks by partition, where the last lookup succeeded.
    pub(super) marks: Vec<Option<Watermarks>>,
    sampled_at: Option<Instant>,
    records: Series,
    bytes: Series,
}

/// Samples of one group.
#[derive(Debug, Default)]
pub(super) struct GroupSamples {
    /// By partition: offset of the next record, time of the commit, lag.
    pub(super) partitions: BTreeMap<TopicPartition, PartitionLag>,
    /// The group as its coordination topic describes it, if its members share partitions.
    pub(super) shared: Option<GroupDescription>,
    lag: Series,
}

/// Position of a group in a partition.
#[derive(Debug, Default)]
pub(super) struct PartitionLag {
    pub(super) next: Option<i64>,
    pub(super) committed_at: Option<i64>,
    pub(super) lag: Option<u64>,
    series: Series,
}

/// One value for each step; the newest is last.
#[derive(Debug, Default)]
pub(super) struct Series {
    values: VecDeque<f32>,
    /// Step of the newest value.
    end: i64,
}

impl Series {
    /// Sets the steps after the last one, up to this step. Steps further back than the last but one are unknown.
    fn extend(&mut self, step: i64, covered: i64, value: f64) {
        let first = self.end + 1;
        if self.values.is_empty() {
            self.values.push_back(value as f32);
        } else {
            for at in first.max(step - SAMPLES as i64)..=step {
                self.values.push_back(if at + covered > step { value as f32 } else { f32::NAN });
            }
        }
        self.end = self.end.max(step);
        let excess = self.values.len().saturating_sub(SAMPLES);
        self.values.drain(..excess);
    }

    /// Returns the values that end at `step`, `null` where nothing is known.
    pub(super) fn to_json(&self, step: i64) -> Value {
        // The sample of the present step may be still to come.
        let behind = usize::try_from(step.saturating_sub(self.end + 1)).unwrap_or(0).min(SAMPLES);
        let known = self.values.iter().map(|value| if value.is_nan() { Value::Null } else { json!(value) });
        let all: Vec<_> = known.chain(std::iter::repeat_n(Value::Null, behind)).collect();
        let excess = all.len().saturating_sub(SAMPLES);
        Value::Array(all.into_iter().skip(excess).collect())
    }

    fn last(&self) -> Option<f64> {
        self.values.back().map(|value| f64::from(*value)).filter(|value| !value.is_nan())
    }
}

impl History {
    pub(super) fn start(client: Client) -> Arc<Self> {
        let shared = Arc::new(HistoryShared { state: Mutex::default(), passes: watch::Sender::new(0) });
        let task = tokio::spawn(sample(client, Arc::clone(&shared)));
        Arc::new(Self { shared, task })
    }

    /// Waits for the first look at the topics, for a bounded time.
    pub(super) async fn ready(&self) {
        let mut passes = self.shared.passes.subscribe();
        let _ = timeout(FIRST_PASS, passes.wait_for(|passes| *passes > 0)).await;
    }

    /// Lets `look` read the samples.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Samples) -> T) -> T {
        look(&self.shared.state.lock())
    }
}

impl Samples {
    pub(super) fn topic(&self, topic: &Topic) -> Option<&TopicSamples> {
        self.topics.get(topic)
    }

    pub(super) fn groups(&self) -> &BTreeMap<Arc<str>, GroupSamples> {
        &self.groups
    }

    /// Time since the last look, in seconds.
    pub(super) fn age(&self) -> Option<f64> {
        self.passed_at.map(|at| at.elapsed().as_secs_f64())
    }

    /// Returns the rates of the whole engine.
    pub(super) fn rates(&self, now: i64) -> Value {
        rates_json(now, &self.records, self.has_sizes.then_some(&self.bytes))
    }

    /// Returns the rates of a topic.
    pub(super) fn rates_of(&self, topic: &Topic, now: i64) -> Value {
        let none = TopicSamples::default();
        let of = self.topics.get(topic).unwrap_or(&none);
        rates_json(now, &of.records, self.has_sizes.then_some(&of.bytes))
    }
}

impl TopicSamples {
    /// Returns the present rates of records and bytes.
    pub(super) fn rate(&self) -> (Option<f64>, Option<f64>) {
        (self.records.last(), self.bytes.last())
    }

    /// Returns the number of records, and of bytes where all partitions tell them.
    pub(super) fn totals(&self) -> (Option<u64>, Option<u64>) {
        let records = |marks: &Option<Watermarks>| marks.as_ref().map(Watermarks::records);
        let bytes = |marks: &Option<Watermarks>| marks.as_ref().and_then(|marks| marks.size_bytes);
        (self.marks.iter().map(records).sum(), self.marks.iter().map(bytes).sum())
    }

    /// Whether records came within the samples.
    pub(super) fn has_grown(&self) -> bool {
        self.records.values.iter().any(|rate| *rate > 0.0)
    }

    fn end_sum(&self) -> Option<i64> {
        self.marks.iter().map(|marks| marks.as_ref().map(|marks| marks.high)).sum()
    }

    /// Takes the watermarks of one look.
    fn take(&mut self, marks: Vec<Option<Watermarks>>, (step, now): (i64, Instant)) {
        let (before, then) = (self.end_sum(), self.sampled_at);
        self.marks = marks;
        self.sampled_at = Some(now);
        let (Some(before), Some(after), Some(then)) = (before, self.end_sum(), then) else { return };
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        let rate = (after - before).max(0) as f64 / seconds;
        let covered = (seconds / STEP.as_secs_f64()).ceil() as i64;
        self.records.extend(step, covered, rate);
        // The mean size of a record: the size alone falls when retention removes a segment.
        if let (Some(records), Some(bytes)) = self.totals() {
            let mean = if records == 0 { 0.0 } else { bytes as f64 / records as f64 };
            self.bytes.extend(step, covered, rate * mean);
        }
    }
}

impl GroupSamples {
    /// Sum of the lags; none while no partition tells it.
    pub(super) fn lag(&self) -> Option<u64> {
        let known: Vec<_> = self.partitions.values().filter_map(|partition| partition.lag).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }

    /// Time of the last commit.
    pub(super) fn committed_at(&self) -> Option<i64> {
        self.partitions.values().filter_map(|partition| partition.committed_at).max()
    }

    pub(super) fn lag_json(&self, now: i64) -> Value {
        self.lag.to_json(step_of(now))
    }
}

impl PartitionLag {
    pub(super) fn lag_json(&self, now: i64) -> Value {
        self.series.to_json(step_of(now))
    }
}

fn rates_json(now: i64, records: &Series, bytes: Option<&Series>) -> Value {
    let step = step_of(now);
    json!({
        "step_seconds": STEP.as_secs(),
        "end": (step + 1) * step_millis(),
        "records": records.to_json(step),
        "bytes": bytes.map(|bytes| bytes.to_json(step)),
    })
}

fn step_millis() -> i64 {
    i64::try_from(STEP.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the number of the step at a time in milliseconds.
fn step_of(now: i64) -> i64 {
    now.div_euclid(step_millis())
}

async fn sample(client: Client, shared: Arc<HistoryShared>) {
    let mut number = 0;
    loop {
        let next = Instant::now() + STEP;
        if let Err(error) = pass(&client, &shared, number).await {
            tracing::debug!(%error, "the console cannot look at the topics");
        }
        number += 1;
        shared.passes.send_replace(number);
        sleep_until(next).await;
    }
}

/// Looks at all topics and groups once.
async fn pass(client: &Client, shared: &HistoryShared, number: u64) -> Result<()> {
    let capabilities = client.info().capabilities;
    if !capabilities.offsets {
        return Ok(());
    }
    let topics = client.admin().topics().await?;
    let mut seen = HashSet::with_capacity(topics.len());
    let mut looked_up = 0;
    for info in topics {
        let marks = look_up(client, &info.name, info.partitions).await;
        looked_up += marks.len();
        shared.state.lock().note(&info.name, marks, step_of(super::now()));
        seen.insert(info.name);
        if looked_up >= LOOKUPS_PER_SECOND / 4 {
            looked_up = 0;
            sleep(Duration::from_millis(250)).await;
        }
    }
    shared.state.lock().topics.retain(|topic, _| seen.contains(topic));
    if capabilities.commit_offsets {
        let stored = client.admin().committed_offsets(None).await?;
        let shares = if number.is_multiple_of(PASSES_PER_GROUP_LOOK) {
            Some(client.groups().list().await?)
        } else {
            None
        };
        let stored: Vec<_> =
            stored.into_iter().map(|one| (one.group, one.at, one.next, one.modified_at)).collect();
        shared.state.lock().note_groups(stored, shares, step_of(super::now()));
    }
    let mut state = shared.state.lock();
    state.passed_at = Some(Instant::now());
    state.sum(step_of(super::now()));
    Ok(())
}

async fn look_up(client: &Client, topic: &Topic, partitions: u32) -> Vec<Option<Watermarks>> {
    let lookup = |number| {
        let at = topic.partition(number);
        async move { client.admin().watermarks(at).await.ok() }
    };
    stream::iter(0..partitions).map(lookup).buffered(LOOKUPS_AT_ONCE).collect().await
}

impl Samples {
    pub(super) fn note(&mut self, topic: &Topic, marks: Vec<Option<Watermarks>>, step: i64) {
        self.has_sizes |= marks.iter().flatten().any(|marks| marks.size_bytes.is_some());
        self.topics.entry(topic.clone()).or_default().take(marks, (step, Instant::now()));
    }

    /// Sums the rates of all topics.
    fn sum(&mut self, step: i64) {
        let rates = self.topics.values().map(TopicSamples::rate);
        let (records, bytes) = rates.fold((0.0, 0.0), |(records, bytes), (more, more_bytes)| {
            (records + more.unwrap_or(0.0), bytes + more_bytes.unwrap_or(0.0))
        });
        self.records.extend(step, 2, records);
        self.bytes.extend(step, 2, bytes);
    }

    pub(super) fn note_groups(
        &mut self,
        stored: Vec<(Arc<str>, TopicPartition, i64, Option<i64>)>,
        shares: Option<Vec<GroupDescription>>,
        step: i64,
    ) {
        let mut groups: BTreeMap<Arc<str>, GroupSamples> = BTreeMap::new();
        let mut before = std::mem::take(&mut self.groups);
        let shares: BTreeMap<_, _> = match shares {
            Some(shares) => shares.into_iter().map(|group| (Arc::clone(&group.name), group)).collect(),
            None => {
                let kept = before.iter_mut();
                kept.filter_map(|(name, group)| Some((Arc::clone(name), group.shared.take()?))).collect()
            }
        };
        for (group, at, next, committed_at) in stored {
            let partition = PartitionLag { next: Some(next), committed_at, ..PartitionLag::default() };
            groups.entry(group).or_default().partitions.insert(at, partition);
        }
        for (name, share) in shares {
            let group = groups.entry(name).or_default();
            for assigned in &share.partitions {
                // The position in the group is newer than the copy in the stored offsets.
                let partition = group.partitions.entry(assigned.at.clone()).or_default();
                partition.next = assigned.next.max(partition.next);
                partition.committed_at = assigned.committed_at.max(partition.committed_at);
            }
            group.shared = Some(share);
        }
        for (name, group) in &mut groups {
            let old = before.remove(name).unwrap_or_default();
            group.take_over(old, &self.topics, step);
        }
        self.groups = groups;
    }
}

impl GroupSamples {
    /// Continues the series of an earlier look.
    fn take_over(&mut self, mut old: Self, topics: &HashMap<Topic, TopicSamples>, step: i64) {
        for (at, partition) in &mut self.partitions {
            partition.series = old.partitions.remove(at).unwrap_or_default().series;
            let marks = topics.get(&at.topic).and_then(|topic| {
                topic.marks.get(usize::try_from(at.partition).ok()?).and_then(Option::as_ref)
            });
            partition.lag = marks.and_then(|marks| {
                let next = partition.next.unwrap_or(marks.start).max(marks.start);
                marks.lag(next)
            });
            if let Some(lag) = partition.lag {
                partition.series.extend(step, 2, lag as f64);
            }
        }
        self.lag = old.lag;
        if let Some(lag) = self.lag() {
            self.lag.extend(step, 2, lag as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_its_last_samples_and_shows_holes() {
        let mut series = Series::default();
        series.extend(10, 1, 1.0);
        series.extend(11, 1, 2.0);
        series.extend(14, 2, 3.0);
        assert_eq!(series.to_json(15), json!([1.0, 2.0, null, 3.0, 3.0]));
        assert_eq!(series.to_json(16), json!([1.0, 2.0, null, 3.0, 3.0, null]));
        assert_eq!(series.last(), Some(3.0));
        for step in 15..1_000 {
            series.extend(step, 1, 4.0);
        }
        let json = series.to_json(999);
        assert_eq!(json.as_array().unwrap().len(), SAMPLES);
        series.extend(1_000_000_000, 1, 5.0);
        assert_eq!(series.values.len(), SAMPLES);
        assert!(Series::default().to_json(5).as_array().unwrap().iter().all(Value::is_null));
    }

    #[test]
    fn rates_come_from_the_difference_of_ends() {
        let mut topic = TopicSamples::default();
        let start = Instant::now();
        topic.take(vec![Some(Watermarks::new(0, 100, Some(1_000)))], (1, start));
        assert_eq!(topic.rate(), (None, None));
        topic.take(vec![Some(Watermarks::new(50, 200, Some(1_500)))], (2, start + STEP));
        assert!(topic.has_grown() && !TopicSamples::default().has_grown());
        assert_eq!(topic.rate(), (Some(20.0), Some(200.0)));
        assert_eq!(topic.totals(), (Some(150), Some(1_500)));
        topic.take(vec![None], (3, start + STEP * 2));
        assert_eq!(topic.totals(), (None, None));
    }

    #[test]
    fn the_lag_of_a_group_follows_the_topic() {
        let mut samples = Samples::default();
        let topic = Topic::from("orders");
        samples.note(&topic, vec![Some(Watermarks::new(10, 100, None)), None], 1);
        let group: Arc<str> = "billing".into();
        let stored = |next| {
            vec![
                (Arc::clone(&group), topic.partition(0), next, Some(7)),
                (Arc::clone(&group), topic.partition(1), 5, None),
            ]
        };
        samples.note_groups(stored(40), None, 1);
        samples.note_groups(stored(2), None, 2);
        let billing = &samples.groups()[&group];
        assert_eq!((billing.lag(), billing.committed_at()), (Some(90), Some(7)));
        assert_eq!(billing.partitions[&topic.partition(0)].series.values, [60.0, 90.0]);
        assert_eq!(billing.partitions[&topic.partition(1)].lag, None);
    }
}
