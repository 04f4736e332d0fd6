//! The state machine of one circuit, without a lock or a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::BreakerPolicy;

/// Interval between the recovery calls that an open circuit lets through.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Wait of a call that finds all trials in flight.
const TRIALS_TAKEN: Duration = Duration::from_millis(100);

/// State of a circuit. Matching is exhaustive: the circuit-breaker pattern has these three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// Trial calls pass.
    HalfOpen,
}

impl BreakerState {
    /// Returns the name in logs and metrics, such as `half_open`.
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
enum CircuitState {
    Closed,
    Open { until: Instant, next_probe: Instant },
    HalfOpen { running: u32, succeeded: u32 },
}

/// One circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    state: CircuitState,
    /// Failures in a row while closed.
    failures: u32,
    /// Rises with every change of state. The outcome of a call that was let through in an earlier one does not count.
    generation: u64,
}

/// Permit of a call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    generation: u64,
    trial: bool,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self { state: CircuitState::Closed, failures: 0, generation: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            CircuitState::Closed => BreakerState::Closed,
            CircuitState::Open { .. } => BreakerState::Open,
            CircuitState::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Time until an open circuit lets trials through.
    pub(super) fn time_left(&self, now: Instant) -> Option<Duration> {
        match self.state {
            CircuitState::Open { until, .. } => Some(until.saturating_duration_since(now)),
            CircuitState::Closed | CircuitState::HalfOpen { .. } => None,
        }
    }

    /// Whether it is closed without counted failures, so that it can be dropped.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.state, CircuitState::Closed) && self.failures == 0
    }

    fn go_to(&mut self, state: CircuitState) {
        self.state = state;
        self.failures = 0;
        self.generation += 1;
    }

    /// Lets a call through, or returns how long to wait. `paced`: the caller waits between its attempts and needs the
    /// answer to recover.
    pub(super) fn admit(
        &mut self,
        policy: &BreakerPolicy,
        now: Instant,
        paced: bool,
    ) -> Result<Pass, Duration> {
        if let CircuitState::Open { until, next_probe } = &mut self.state {
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
            self.go_to(CircuitState::HalfOpen { running: 0, succeeded: 0 });
        }
        match &mut self.state {
            CircuitState::HalfOpen { running, succeeded } => {
                if *running + *succeeded >= policy.trials.max(1) {
                    return Err(TRIALS_TAKEN);
                }
                *running += 1;
                Ok(Pass { generation: self.generation, trial: true })
            }
            CircuitState::Closed | CircuitState::Open { .. } => {
                Ok(Pass { generation: self.generation, trial: false })
            }
        }
    }

    /// Counts the answer to a call that was let through.
    pub(super) fn succeeded(&mut self, policy: &BreakerPolicy, pass: Pass) {
        if pass.generation != self.generation {
            return;
        }
        match &mut self.state {
            CircuitState::Closed => self.failures = 0,
            // A probe succeeded.
            CircuitState::Open { .. } if policy.trials > 1 => {
                self.go_to(CircuitState::HalfOpen { running: 0, succeeded: 1 });
            }
            CircuitState::Open { .. } => self.go_to(CircuitState::Closed),
            CircuitState::HalfOpen { running, succeeded } => {
                *running = running.saturating_sub(1);
                *succeeded += 1;
                if *succeeded >= policy.trials {
                    self.go_to(CircuitState::Closed);
                }
            }
        }
    }

    /// Counts the failure of a call that was let through.
    pub(super) fn failed(&mut self, policy: &BreakerPolicy, now: Instant, pass: Option<Pass>) {
        if pass.is_some_and(|pass| pass.generation != self.generation) {
            return;
        }
        match self.state {
            CircuitState::Closed => {
                self.failures += 1;
                if self.failures >= policy.failures {
                    self.open(policy, now);
                }
            }
            CircuitState::HalfOpen { .. } => self.open(policy, now),
            // A failed probe changes nothing.
            CircuitState::Open { .. } => {}
        }
    }

    /// Ends a call that was let through and says nothing about the server: it was cancelled, or failed otherwise.
    pub(super) fn undecided(&mut self, pass: Pass) {
        if pass.generation == self.generation
            && pass.trial
            && let CircuitState::HalfOpen { running, .. } = &mut self.state
        {
            *running = running.saturating_sub(1);
        }
    }

    fn open(&mut self, policy: &BreakerPolicy, now: Instant) {
        // The clock cannot hold longer times, so they become a year.
        let until = now.checked_add(policy.open_for).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        self.go_to(CircuitState::Open { until, next_probe: now + PROBE_INTERVAL.min(policy.open_for) });
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
    fn failures_in_a_row_open_the_circuit() {
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
    fn open_circuit_reports_the_time_left() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert_eq!(circuit.admit(&policy(), now, false), Err(30 * SECOND));
        assert_eq!(circuit.admit(&policy(), now + 12 * SECOND, false), Err(18 * SECOND));
        assert_eq!(circuit.time_left(now + 12 * SECOND), Some(18 * SECOND));
    }

    #[test]
    fn half_open_circuit_admits_three_trials_and_closes_when_they_succeed() {
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
    fn failed_trial_reopens_the_circuit() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + 31 * SECOND;
        let [one, two] = [0, 1].map(|_| circuit.admit(&policy(), later, false).unwrap());
        circuit.succeeded(&policy(), one);
        circuit.failed(&policy(), later, Some(two));
        assert_eq!(circuit.admit(&policy(), later, false), Err(30 * SECOND));
    }

    #[test]
    fn cancelled_trial_frees_its_slot() {
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
    fn outcome_of_an_earlier_generation_is_ignored() {
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
    fn paced_calls_probe_an_open_circuit() {
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
