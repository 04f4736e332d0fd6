//! Faults of one member of a shared group, while the others go on.

use std::time::Duration;

use floe::simulation::Process;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{power::CoordinationWay, rng::Rng, swarm::MishapKinds, trace::Trace};

/// Longer than a session.
const LONG: Duration = Duration::from_secs(25);

/// Stops the process of a member for a time, or its way to the coordination topic, until the faults have ended.
#[derive(Debug)]
pub(crate) struct Mishaps {
    pub(crate) member: usize,
    pub(crate) process: Process,
    /// Tells when the process has gone on.
    pub(crate) wakes: watch::Sender<Option<Instant>>,
    pub(crate) way: CoordinationWay,
    /// Whether the faults have ended.
    pub(crate) quiet: watch::Receiver<bool>,
    pub(crate) kinds: MishapKinds,
    /// Whether all of them are longer than a session.
    pub(crate) are_long: bool,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
}

impl Mishaps {
    pub(crate) async fn run(mut self) {
        let calm = self.rng.pick(&[3_000, 20_000, 60_000]);
        let calm = if self.are_long { 40_000 } else { calm };
        loop {
            let until = Instant::now() + self.rng.millis(0..=calm);
            if self.ends_before(until).await {
                return;
            }
            // Shorter than a session, about as long, and longer than all of them.
            let longest = self.rng.pick(&[500, 6_000, 30_000]);
            let lasts = self.rng.millis(0..=longest);
            let lasts = if self.are_long { LONG } else { lasts };
            let freezes = self.rng.percent(if self.are_long { 40 } else { 70 });
            let MishapKinds { freezes: may_freeze, loses_coordination } = self.kinds;
            let freezes = may_freeze && (freezes || !loses_coordination);
            let fault = if freezes { "is frozen" } else { "has no coordination" };
            self.trace.note(format_args!("member {} {fault} for {lasts:?}", self.member));
            if freezes {
                self.process.freeze();
            } else {
                self.way.set_open(false);
            }
            let ends = self.ends_before(Instant::now() + lasts).await;
            self.trace.note(format_args!("member {} goes on", self.member));
            if freezes {
                self.wakes.send_replace(Some(Instant::now()));
                self.process.thaw();
            } else {
                self.way.set_open(true);
            }
            if ends {
                return;
            }
        }
    }

    /// Waits until a time. Returns whether the faults end before.
    async fn ends_before(&mut self, until: Instant) -> bool {
        tokio::select! {
            biased;
            _ = self.quiet.wait_for(|quiet| *quiet) => true,
            () = sleep_until(until) => false,
        }
    }
}
