//! Parts of a plan that a run leaves out.

use crate::{plan::Plan, swarm::MishapKinds};

/// Bits of a set that stand for one line of planned faults.
const LINE: usize = 32;

/// Parts of a plan that a run leaves out. The plan is drawn first, so that the rest of it stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    /// Producers, as a set of bits.
    producers: u64,
    /// Planned faults, as a set of bits: 32 for each line.
    faults: u64,
    /// Maximum number of records of a producer.
    records: u32,
    /// Maximum number of members of the shared group.
    members: u64,
    /// Whether connections break, stall and are refused at random.
    network: bool,
    /// Whether members of groups crash.
    crashes: bool,
    /// Whether single members of the shared group have faults.
    mishaps: bool,
    /// Whether servers and the network take their time.
    delays: bool,
}

impl Reduction {
    /// Leaves nothing out.
    pub const NONE: Self = Self {
        producers: u64::MAX,
        faults: u64::MAX,
        records: u32::MAX,
        members: u64::MAX,
        network: true,
        crashes: true,
        mishaps: true,
        delays: true,
    };

    /// Takes the parts out of a plan. A producer that is left out stays in it, without records.
    pub(crate) fn apply(&self, plan: &mut Plan) {
        for (number, producer) in plan.producers.iter_mut().enumerate() {
            let stays = is_in(self.producers, number);
            producer.records = if stays { producer.records.min(self.records) } else { 0 };
        }
        for (line, faults) in plan.planned_faults.iter_mut().enumerate() {
            let mut at = line * LINE..;
            faults.retain(|_| at.next().is_some_and(|at| is_in(self.faults, at)));
        }
        plan.members = plan.members.min(self.members);
        if !self.network {
            (plan.conditions.breaks, plan.conditions.refusals) = (0, 0);
        }
        if !self.crashes {
            plan.group.crashes = 0;
        }
        if !self.mishaps {
            plan.mishaps = MishapKinds::NONE;
        }
        if !self.delays {
            plan.slowness = 0;
            plan.conditions.latency = 0..=0;
        }
    }

    /// Returns further reductions to try, those that leave out most first.
    pub(crate) fn further(&self, plan: &Plan) -> Vec<Self> {
        let mut all = vec![
            Self { faults: 0, ..*self },
            Self { mishaps: false, ..*self },
            Self { network: false, ..*self },
            Self { crashes: false, ..*self },
            Self { delays: false, ..*self },
        ];
        all.extend(
            (0..plan.producers.len())
                .map(|number| Self { producers: without(self.producers, number), ..*self }),
        );
        all.extend([1, 2, 3].map(|members| Self { members: self.members.min(members), ..*self }));
        let most =
            plan.producers.iter().map(|producer| producer.records).max().unwrap_or(0).min(self.records);
        all.extend([most / 4, most / 2, most - most / 4].map(|records| Self { records, ..*self }));
        for (line, faults) in plan.planned_faults.iter().enumerate() {
            let bits = (0..faults.len()).map(|at| line * LINE + at);
            all.extend(bits.map(|bit| Self { faults: without(self.faults, bit), ..*self }));
        }
        all
    }
}

impl Default for Reduction {
    fn default() -> Self {
        Self::NONE
    }
}

fn is_in(set: u64, number: usize) -> bool {
    number >= 64 || set & (1 << number) != 0
}

fn without(set: u64, number: usize) -> u64 {
    if number < 64 { set & !(1 << number) } else { set }
}
