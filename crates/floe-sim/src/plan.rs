//! What a seed stands for: who sends and reads how, and what goes wrong when.

use std::time::Duration;

use floe::{
    Codec,
    consumer::{AckMode, CommitPolicy},
};

use crate::{network::Weather, rng::Rng};

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Partitions of the topic.
    pub partitions: u32,
    /// Who sends.
    pub producers: Vec<ProducerPlan>,
    /// How the group reads.
    pub group: GroupPlan,
    /// What goes wrong by itself.
    pub weather: Weather,
    /// What goes wrong on purpose, in two lines of events, each one after the other.
    pub troubles: Vec<Vec<Trouble>>,
    /// Most milliseconds that a server takes to acknowledge a batch.
    pub slowness: u64,
}

/// One producer.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// How many records.
    pub records: u32,
    /// Most milliseconds between two of them.
    pub pause: u64,
    /// Most bytes that a value is filled up with.
    pub filling: u64,
    /// See [`floe::producer::ProducerBuilder`].
    pub linger: Duration,
    /// Bytes.
    pub batch_size: usize,
    /// Batches.
    pub max_in_flight: usize,
    /// Until a record counts as failed.
    pub timeout: Duration,
    /// How batches are compressed.
    pub codec: Codec,
    /// Of a hundred records, how many are waited for one by one.
    pub waited_for: u64,
}

/// The group.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// When it stores its offsets.
    pub commit: CommitPolicy,
    /// When a record counts as finished.
    pub ack_mode: AckMode,
    /// Most milliseconds that it takes for a record.
    pub pause: u64,
    /// Of a thousand records, after how many it crashes.
    pub crashes: u64,
}

/// Something that goes wrong on purpose.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// How long after the one before it.
    pub after: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub what: What,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// All connections to one host are cut.
    CutAll,
    /// One connection is cut.
    CutOne,
    /// One host cannot be reached.
    Partition,
    /// One host refuses connections.
    Refuse,
    /// The server is killed, and comes back with its log.
    Crash,
    /// The server is stopped and started again.
    Restart,
    /// Partitions change their leaders, where there is more than one server.
    MoveLeaders,
}

impl Plan {
    /// The plan that these draws make.
    #[must_use]
    pub fn draw(rng: &mut Rng, what: &[What], partitions: u32) -> Self {
        let partitions = u32::try_from(rng.within(1..=u64::from(partitions))).unwrap_or(1);
        let producers = (0..rng.within(1..=2)).map(|_| ProducerPlan::draw(rng)).collect();
        let group = GroupPlan::draw(rng);
        let weather = Weather::draw(rng);
        let troubles =
            (0..2).map(|_| (0..rng.within(0..=3)).map(|_| Trouble::draw(rng, what)).collect()).collect();
        let slowness = rng.pick(&[0, 0, 5, 50]);
        Self { partitions, producers, group, weather, troubles, slowness }
    }

    /// Nothing goes wrong; what is slow stays slow, and nobody runs out of time.
    pub fn calm_down(&mut self) {
        self.troubles.clear();
        (self.weather.breaks, self.weather.refusals) = (0, 0);
        self.group.crashes = 0;
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

impl Weather {
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

impl Trouble {
    fn draw(rng: &mut Rng, what: &[What]) -> Self {
        let (after, lasts) = (rng.pick(&[20, 500, 5_000]), rng.pick(&[10, 1_000, 12_000]));
        Self { after: rng.millis(0..=after), lasts: rng.millis(0..=lasts), what: rng.pick(what) }
    }
}
