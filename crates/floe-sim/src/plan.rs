//! The plan of a run: workload and faults, drawn from the seed.

use std::time::Duration;

use floe::{
    Codec,
    consumer::{AckMode, CommitPolicy},
    engine::Acks,
    producer::DeliveryMode,
};

pub use crate::fault::Fault;
use crate::{
    network::NetworkConditions,
    rng::Rng,
    swarm::{MishapKinds, Swarm},
};

/// Plan of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Partitions of the topic.
    pub partitions: u32,
    /// Producers.
    pub producers: Vec<ProducerPlan>,
    /// The consumer group.
    pub group: GroupPlan,
    /// Random faults of the network.
    pub conditions: NetworkConditions,
    /// Planned faults: two concurrent lines, each in sequence.
    pub planned_faults: Vec<Vec<PlannedFault>>,
    /// Maximum time until a server acknowledges a batch, in milliseconds.
    pub slowness: u64,
    /// Members of the shared group, in the kind that has one.
    pub members: u64,
    /// Faults of single members.
    pub(crate) mishaps: MishapKinds,
}

/// Plan of one producer.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// Number of records.
    pub records: u32,
    /// Maximum pause between two records, in milliseconds.
    pub pause: u64,
    /// Maximum padding of a value, in bytes.
    pub filling: u64,
    /// Linger time.
    pub linger: Duration,
    /// Batch size in bytes.
    pub batch_size: usize,
    /// Maximum number of batches in flight.
    pub max_in_flight: usize,
    /// Delivery timeout.
    pub timeout: Duration,
    /// Compression.
    pub codec: Codec,
    /// Whether a batch that failed is sent again.
    pub delivery: DeliveryMode,
    /// What an acknowledgement means.
    pub acks: Acks,
    /// Percentage of records whose outcome is awaited before the next send.
    pub waited_for: u64,
}

/// Plan of the consumer group.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// Commit policy.
    pub commit: CommitPolicy,
    /// Acknowledgement mode.
    pub ack_mode: AckMode,
    /// Maximum time to handle a record, in milliseconds.
    pub pause: u64,
    /// Crashes per thousand records.
    pub crashes: u64,
}

/// A planned fault and its time.
#[derive(Debug, Clone)]
pub struct PlannedFault {
    /// Delay after the previous fault.
    pub after: Duration,
    /// Duration.
    pub lasts: Duration,
    /// The fault.
    pub fault: Fault,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub(crate) fn draw(rng: &mut Rng, swarm: &Swarm, partitions: u32) -> Self {
        let partitions = u32::try_from(rng.within(1..=u64::from(partitions))).unwrap_or(1);
        let producers = (0..rng.within(1..=2)).map(|_| ProducerPlan::draw(rng)).collect();
        let mut group = GroupPlan::draw(rng);
        let mut conditions = NetworkConditions::draw(rng);
        for (has, percent) in [
            (swarm.breaks, &mut conditions.breaks),
            (swarm.stalls, &mut conditions.stalls),
            (swarm.refusals, &mut conditions.refusals),
            (swarm.crashes, &mut group.crashes),
        ] {
            if !has {
                *percent = 0;
            }
        }
        let most = if swarm.faults.is_empty() { 0 } else { swarm.most };
        let planned_faults = (0..2)
            .map(|_| (0..rng.within(0..=most)).map(|_| PlannedFault::draw(rng, &swarm.faults)).collect())
            .collect();
        let slowness = rng.pick(&[0, 0, 5, 50]);
        let (members, mishaps) = (rng.within(1..=5), swarm.mishaps);
        Self { partitions, producers, group, conditions, planned_faults, slowness, members, mishaps }
    }

    /// Lets the producers of half of the seeds, or always, send for half a minute and longer, so that records come while members are
    /// evicted and join anew.
    pub fn prolong(&mut self, rng: &mut Rng, always: bool) {
        if rng.percent(50) && !always {
            return;
        }
        for producer in &mut self.producers {
            producer.records = producer.records.max(30);
            producer.pause = 2_000;
        }
    }

    /// Removes all faults. Latencies stay, and timeouts become long enough for them.
    pub fn remove_faults(&mut self) {
        self.planned_faults.clear();
        (self.conditions.breaks, self.conditions.refusals) = (0, 0);
        self.group.crashes = 0;
        self.mishaps = MishapKinds::NONE;
        for producer in &mut self.producers {
            producer.timeout = Duration::from_secs(60);
        }
    }
}

impl ProducerPlan {
    fn draw(rng: &mut Rng) -> Self {
        let most = rng.pick(&[8, 30, 60]);
        Self {
            records: u32::try_from(rng.within(1..=most)).unwrap_or(1),
            pause: rng.pick(&[0, 10, 200, 1_500]),
            filling: rng.pick(&[0, 40, 3_000]),
            linger: Duration::from_millis(rng.pick(&[0, 0, 5, 100])),
            batch_size: rng.pick(&[64, 1_000, 64 * 1024]),
            max_in_flight: rng.pick(&[1, 3, 5, 8]),
            timeout: Duration::from_secs(rng.pick(&[2, 8, 30, 60])),
            codec: rng.pick(&[Codec::None, Codec::None, Codec::Lz4]),
            delivery: if rng.percent(20) { DeliveryMode::AtMostOnce } else { DeliveryMode::AtLeastOnce },
            acks: rng.pick(&[Acks::Leader, Acks::Leader, Acks::Committed]),
            waited_for: rng.pick(&[0, 10, 100]),
        }
    }
}

impl GroupPlan {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            commit: rng.pick(&[
                CommitPolicy::PerRecord,
                CommitPolicy::Interval(Duration::from_millis(100)),
                CommitPolicy::Interval(Duration::from_secs(5)),
            ]),
            ack_mode: rng.pick(&[AckMode::Auto, AckMode::Explicit]),
            pause: rng.pick(&[0, 20, 300]),
            crashes: rng.pick(&[0, 20, 100]),
        }
    }
}

impl NetworkConditions {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            latency: rng.pick(&[(0, 0), (100, 2_000), (500, 60_000), (20_000, 400_000)]).into_range(),
            breaks: rng.pick(&[0, 20, 60]),
            stalls: rng.pick(&[0, 20, 50]),
            refusals: rng.pick(&[0, 0, 30]),
            endurance: rng.within(6..=17),
        }
    }
}

trait IntoRange {
    fn into_range(self) -> std::ops::RangeInclusive<u64>;
}

impl IntoRange for (u64, u64) {
    fn into_range(self) -> std::ops::RangeInclusive<u64> {
        self.0..=self.1
    }
}

impl PlannedFault {
    fn draw(rng: &mut Rng, faults: &[Fault]) -> Self {
        let (after, lasts) = (rng.pick(&[20, 500, 5_000]), rng.pick(&[10, 1_000, 12_000]));
        Self { after: rng.millis(0..=after), lasts: rng.millis(0..=lasts), fault: rng.pick(faults) }
    }
}
