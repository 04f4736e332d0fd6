//! The state machine of one circuit, without a lock or a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::BreakerPolicy;

/// Between calls that may try an open circuit because their callers pace themselves.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long those wait who find all trials taken.
const TRIALS_TAKEN: Duration = Duration::from_millis(100);

/// Whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// Some calls pass to see whether it works again.
    HalfOpen,
}

impl BreakerState {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant, next_probe: Instant },
    HalfOpen { running: u32, succeeded: u32 },
}

/// One circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    state: State,
    /// Failures in a row while closed.
    failures: u32,
    /// Rises with every change of state: what was let through before says nothing about now.
    generation: u64,
}

/// What a call was let through as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    generation: u64,
    trial: bool,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self { state: State::Closed, failures: 0, generation: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long calls are refused.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } => Some(until.saturating_duration_since(now)),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Nothing is wrong with it, so that it need not be remembered.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.state, State::Closed) && self.failures == 0
    }

    fn go_to(&mut self, state: State) {
        self.state = state;
        self.failures = 0;
        self.generation += 1;
    }

    /// Lets a call through, or says how long to wait. `paced`: the caller waits between its attempts, and a refusal would
    /// only lengthen an outage.
    pub(super) fn admit(
        &mut self,
        policy: &BreakerPolicy,
        now: Instant,
        paced: bool,
    ) -> Result<Pass, Duration> {
        if let State::Open { until, next_probe } = &mut self.state {
            if now < *until {
                if !paced {
                    return Err(until.duration_since(now));
                }
                if now < *next_probe {
                    return Err(next_probe.duration_since(now).min(until.duration_since(now)));
                }
                *next_probe = now + PROBE_INTERVAL;
                return Ok(Pass { generation: self.generation, trial: true });
            }
            self.go_to(State::HalfOpen { running: 0, succeeded: 0 });
        }
        match &mut self.state {
            State::HalfOpen { running, succeeded } => {
                if *running + *succeeded >= policy.trials.max(1) {
                    return Err(TRIALS_TAKEN);
                }
                *running += 1;
                Ok(Pass { generation: self.generation, trial: true })
            }
            State::Closed | State::Open { .. } => Ok(Pass { generation: self.generation, trial: false }),
        }
    }

    /// A call that was let through has an answer.
    pub(super) fn succeeded(&mut self, policy: &BreakerPolicy, pass: Pass) {
        if pass.generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Closed => self.failures = 0,
            // A probe: there is life again.
            State::Open { .. } if policy.trials > 1 => {
                self.go_to(State::HalfOpen { running: 0, succeeded: 1 });
            }
            State::Open { .. } => self.go_to(State::Closed),
            State::HalfOpen { running, succeeded } => {
                *running = running.saturating_sub(1);
                *succeeded += 1;
                if *succeeded >= policy.trials {
                    self.go_to(State::Closed);
                }
            }
        }
    }

    /// A call that was let through failed in a way that counts.
    pub(super) fn failed(&mut self, policy: &BreakerPolicy, now: Instant, pass: Option<Pass>) {
        if pass.is_some_and(|pass| pass.generation != self.generation) {
            return;
        }
        match self.state {
            State::Closed => {
                self.failures += 1;
                if self.failures >= policy.failures {
                    self.open(policy, now);
                }
            }
            State::HalfOpen { .. } => self.open(policy, now),
            // A failed probe changes nothing.
            State::Open { .. } => {}
        }
    }

    /// A call that was let through says nothing: it was given up, or refused for another reason.
    pub(super) fn undecided(&mut self, pass: Pass) {
        if pass.generation == self.generation
            && pass.trial
            && let State::HalfOpen { running, .. } = &mut self.state
        {
            *running = running.saturating_sub(1);
        }
    }

    fn open(&mut self, policy: &BreakerPolicy, now: Instant) {
        // A time that the clock cannot hold is as good as a year.
        let until = now.checked_add(policy.open_for).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        self.go_to(State::Open { until, next_probe: now + PROBE_INTERVAL.min(policy.open_for) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> BreakerPolicy {
        BreakerPolicy::default()
    }

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new();
        for _ in 0..5 {
            let pass = circuit.admit(&policy(), now, false).unwrap();
            circuit.failed(&policy(), now, Some(pass));
        }
        assert_eq!(circuit.state(), BreakerState::Open);
        circuit
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut circuit = Circuit::new();
        for _ in 0..4 {
            circuit.failed(&policy(), now, None);
        }
        let pass = circuit.admit(&policy(), now, false).unwrap();
        circuit.succeeded(&policy(), pass);
        assert!(circuit.is_sound());
        for _ in 0..4 {
            circuit.failed(&policy(), now, None);
        }
        assert_eq!(circuit.state(), BreakerState::Closed);
        circuit.failed(&policy(), now, None);
        assert_eq!(circuit.state(), BreakerState::Open);
    }

    #[test]
    fn an_open_circuit_says_how_long_it_stays_so() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert_eq!(circuit.admit(&policy(), now, false), Err(30 * SECOND));
        assert_eq!(circuit.admit(&policy(), now + 12 * SECOND, false), Err(18 * SECOND));
        assert_eq!(circuit.time_left(now + 12 * SECOND), Some(18 * SECOND));
    }

    #[test]
    fn three_trials_close_it_and_no_more_are_let_through_at_once() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + 30 * SECOND;
        let trials: Vec<_> = (0..3).map(|_| circuit.admit(&policy(), later, false).unwrap()).collect();
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        assert!(circuit.admit(&policy(), later, false).is_err());
        for trial in trials {
            assert_eq!(circuit.state(), BreakerState::HalfOpen);
            circuit.succeeded(&policy(), trial);
        }
        assert!(circuit.is_sound());
    }

    #[test]
    fn one_failed_trial_opens_it_for_as_long_again() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + 31 * SECOND;
        let [one, two] = [0, 1].map(|_| circuit.admit(&policy(), later, false).unwrap());
        circuit.succeeded(&policy(), one);
        circuit.failed(&policy(), later, Some(two));
        assert_eq!(circuit.admit(&policy(), later, false), Err(30 * SECOND));
    }

    #[test]
    fn a_trial_that_is_given_up_makes_room_for_another() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + 30 * SECOND;
        for _ in 0..20 {
            let trial = circuit.admit(&policy(), later, false).unwrap();
            circuit.undecided(trial);
        }
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn what_was_let_through_before_says_nothing_about_now() {
        let now = Instant::now();
        let mut circuit = Circuit::new();
        let early = circuit.admit(&policy(), now, false).unwrap();
        for _ in 0..5 {
            circuit.failed(&policy(), now, None);
        }
        circuit.succeeded(&policy(), early);
        assert_eq!(circuit.state(), BreakerState::Open);
        let later = now + 30 * SECOND;
        circuit.admit(&policy(), later, false).unwrap();
        circuit.failed(&policy(), later, Some(early));
        circuit.undecided(early);
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn those_who_pace_themselves_find_out_first() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert_eq!(circuit.admit(&policy(), now, true), Err(SECOND));
        let probe = circuit.admit(&policy(), now + SECOND, true).unwrap();
        assert_eq!(circuit.admit(&policy(), now + SECOND, true), Err(SECOND), "one at a time");
        circuit.failed(&policy(), now + SECOND, Some(probe));
        assert_eq!(circuit.time_left(now + SECOND), Some(29 * SECOND), "a failed probe changes nothing");
        let probe = circuit.admit(&policy(), now + 2 * SECOND, true).unwrap();
        circuit.succeeded(&policy(), probe);
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        for _ in 0..2 {
            let trial = circuit.admit(&policy(), now + 2 * SECOND, false).unwrap();
            circuit.succeeded(&policy(), trial);
        }
        assert!(circuit.is_sound());
    }
}
