//! The kinds of faults of a seed, and how many come: faults that always come together hide what each of them finds alone.

use crate::{fault::Fault, rng::Rng};

/// Kinds of faults that a run may have.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    /// Planned faults to choose from; may be none.
    pub(crate) faults: Vec<Fault>,
    /// Maximum number of planned faults in a line.
    pub(crate) most: u64,
    /// Whether connections break after some bytes.
    pub(crate) breaks: bool,
    /// Whether some of these stall silently.
    pub(crate) stalls: bool,
    /// Whether connections are refused at random.
    pub(crate) refusals: bool,
    /// Whether members of groups crash.
    pub(crate) crashes: bool,
    pub(crate) mishaps: MishapKinds,
}

/// Kinds of faults that single members of a shared group have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MishapKinds {
    /// Their processes stop for a time.
    pub(crate) freezes: bool,
    /// They lose the coordination topic for a time.
    pub(crate) loses_coordination: bool,
}

impl MishapKinds {
    pub(crate) const ALL: Self = Self { freezes: true, loses_coordination: true };
    pub(crate) const NONE: Self = Self { freezes: false, loses_coordination: false };
}

impl Swarm {
    /// Draws the kinds of a seed: all of them in a third of the seeds, else each kind or not.
    pub(crate) fn draw(rng: &mut Rng, faults: &[Fault]) -> Self {
        if rng.percent(33) {
            return Self {
                faults: faults.to_vec(),
                most: 3,
                breaks: true,
                stalls: true,
                refusals: true,
                crashes: true,
                mishaps: MishapKinds::ALL,
            };
        }
        let faults = faults.iter().copied().filter(|_| rng.percent(40)).collect();
        // Few faults leave time between them; many come while the traces of others are still there.
        let most = rng.pick(&[1, 3, 8]);
        let mut drawn = || rng.percent(50);
        Self {
            faults,
            most,
            breaks: drawn(),
            stalls: drawn(),
            refusals: drawn(),
            crashes: drawn(),
            mishaps: MishapKinds { freezes: drawn(), loses_coordination: drawn() },
        }
    }
}
