//! The state machine of one circuit, without a lock or a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::BreakerPolicy;

/// Interval between the recovery calls that an open circuit lets through.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Wait of a call that finds all trials in flight.
const TRIALS_TAKEN: Duration = Duration::from_millis(100);

/// How long a circuit that closed again stays known. Longer than any call: a call from before the change finds it.
const KNOWN_AFTER_CHANGE: Duration = Duration::from_secs(600);

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
    /// The last change of state. The outcome of a call that began before it does not count.
    changed: Option<Change>,
}

/// A change of state.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// Number of the change among those of all circuits of a client.
    number: u64,
    at: Instant,
}

/// Permit of a call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Number of the last change of any circuit when the call began.
    pub(super) began: u64,
    /// Whether the call is a trial of its circuit.
    pub(super) trial: bool,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self { state: CircuitState::Closed, failures: 0, changed: None }
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

    /// Whether it is closed without counted failures.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.state, CircuitState::Closed) && self.failures == 0
    }

    /// Whether it can be dropped: it is sound, and no call that runs now began before its last change.
    pub(super) fn is_forgettable(&self, now: Instant) -> bool {
        self.is_sound()
            && self.changed.is_none_or(|change| now.duration_since(change.at) >= KNOWN_AFTER_CHANGE)
    }

    /// Remembers that its state changed, as the change of this number.
    pub(super) fn note_change(&mut self, number: u64, at: Instant) {
        self.changed = Some(Change { number, at });
    }

    /// Whether the outcome of a call counts: the state has not changed since the call began.
    fn concerns(&self, pass: Pass) -> bool {
        self.changed.is_none_or(|change| change.number <= pass.began)
    }

    fn go_to(&mut self, state: CircuitState) {
        self.state = state;
        self.failures = 0;
    }

    /// Lets a call through, or returns how long to wait. Returns whether the call is a trial. `paced`: the caller waits
    /// between its attempts and needs the answer to recover.
    pub(super) fn admit(
        &mut self,
        policy: &BreakerPolicy,
        now: Instant,
        paced: bool,
    ) -> Result<bool, Duration> {
        if let CircuitState::Open { until, next_probe } = &mut self.state {
            if now < *until {
                if !paced {
                    return Err(until.duration_since(now));
                }
                if now < *next_probe {
                    return Err(next_probe.duration_since(now).min(until.duration_since(now)));
                }
                *next_probe = now + PROBE_INTERVAL;
                return Ok(true);
            }
            self.go_to(CircuitState::HalfOpen { running: 0, succeeded: 0 });
        }
        match &mut self.state {
            CircuitState::HalfOpen { running, succeeded } => {
                if *running + *succeeded >= policy.trials.max(1) {
                    return Err(TRIALS_TAKEN);
                }
                *running += 1;
                Ok(true)
            }
            CircuitState::Closed | CircuitState::Open { .. } => Ok(false),
        }
    }

    /// Counts the answer to a call that was let through.
    pub(super) fn succeeded(&mut self, policy: &BreakerPolicy, pass: Pass) {
        if !self.concerns(pass) {
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
    pub(super) fn failed(&mut self, policy: &BreakerPolicy, now: Instant, pass: Pass) {
        if !self.concerns(pass) {
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
        if self.concerns(pass)
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

    /// A circuit with the clock of its client.
    struct Clocked {
        circuit: Circuit,
        changes: u64,
    }

    impl Clocked {
        fn new() -> Self {
            Self { circuit: Circuit::new(), changes: 0 }
        }

        fn opened(now: Instant) -> Self {
            let mut clocked = Self::new();
            for _ in 0..5 {
                let pass = clocked.admit(now, false).unwrap();
                clocked.failed(now, pass);
            }
            assert_eq!(clocked.state(), BreakerState::Open);
            clocked
        }

        fn state(&self) -> BreakerState {
            self.circuit.state()
        }

        fn act<T>(&mut self, now: Instant, act: impl FnOnce(&mut Circuit) -> T) -> T {
            let before = self.state();
            let outcome = act(&mut self.circuit);
            if self.state() != before {
                self.changes += 1;
                self.circuit.note_change(self.changes, now);
            }
            outcome
        }

        fn admit(&mut self, now: Instant, paced: bool) -> Result<Pass, Duration> {
            let trial = self.act(now, |circuit| circuit.admit(&policy(), now, paced))?;
            Ok(Pass { began: self.changes, trial })
        }

        fn failed(&mut self, now: Instant, pass: Pass) {
            self.act(now, |circuit| circuit.failed(&policy(), now, pass));
        }

        fn succeeded(&mut self, now: Instant, pass: Pass) {
            self.act(now, |circuit| circuit.succeeded(&policy(), pass));
        }
    }

    #[test]
    fn failures_in_a_row_open_the_circuit() {
        let now = Instant::now();
        let mut circuit = Clocked::new();
        let pass = circuit.admit(now, false).unwrap();
        for _ in 0..4 {
            circuit.failed(now, pass);
        }
        circuit.succeeded(now, pass);
        assert!(circuit.circuit.is_sound());
        for _ in 0..4 {
            circuit.failed(now, pass);
        }
        assert_eq!(circuit.state(), BreakerState::Closed);
        circuit.failed(now, pass);
        assert_eq!(circuit.state(), BreakerState::Open);
    }

    #[test]
    fn open_circuit_reports_the_time_left() {
        let now = Instant::now();
        let mut circuit = Clocked::opened(now);
        assert_eq!(circuit.admit(now, false), Err(30 * SECOND));
        assert_eq!(circuit.admit(now + 12 * SECOND, false), Err(18 * SECOND));
        assert_eq!(circuit.circuit.time_left(now + 12 * SECOND), Some(18 * SECOND));
    }

    #[test]
    fn half_open_circuit_admits_three_trials_and_closes_when_they_succeed() {
        let now = Instant::now();
        let mut circuit = Clocked::opened(now);
        let later = now + 30 * SECOND;
        let trials: Vec<_> = (0..3).map(|_| circuit.admit(later, false).unwrap()).collect();
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        assert!(circuit.admit(later, false).is_err());
        for trial in trials {
            assert_eq!(circuit.state(), BreakerState::HalfOpen);
            circuit.succeeded(later, trial);
        }
        assert!(circuit.circuit.is_sound());
    }

    #[test]
    fn failed_trial_reopens_the_circuit() {
        let now = Instant::now();
        let mut circuit = Clocked::opened(now);
        let later = now + 31 * SECOND;
        let [one, two] = [0, 1].map(|_| circuit.admit(later, false).unwrap());
        circuit.succeeded(later, one);
        circuit.failed(later, two);
        assert_eq!(circuit.admit(later, false), Err(30 * SECOND));
    }

    #[test]
    fn cancelled_trial_frees_its_slot() {
        let now = Instant::now();
        let mut circuit = Clocked::opened(now);
        let later = now + 30 * SECOND;
        for _ in 0..20 {
            let trial = circuit.admit(later, false).unwrap();
            circuit.circuit.undecided(trial);
        }
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn outcome_of_a_call_from_before_a_change_is_ignored() {
        let now = Instant::now();
        let mut circuit = Clocked::new();
        let early = circuit.admit(now, false).unwrap();
        for _ in 0..5 {
            circuit.failed(now, early);
        }
        circuit.succeeded(now, early);
        assert_eq!(circuit.state(), BreakerState::Open);
        let later = now + 30 * SECOND;
        let trials: Vec<_> = (0..3).map(|_| circuit.admit(later, false).unwrap()).collect();
        circuit.failed(later, early);
        circuit.circuit.undecided(early);
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        for trial in trials {
            circuit.succeeded(later, trial);
        }
        for _ in 0..5 {
            circuit.failed(later, early);
        }
        assert!(circuit.circuit.is_sound(), "the server was found well after these calls began");
        assert!(!circuit.circuit.is_forgettable(later), "or the next of them would count");
        assert!(circuit.circuit.is_forgettable(later + KNOWN_AFTER_CHANGE));
    }

    #[test]
    fn paced_calls_probe_an_open_circuit() {
        let now = Instant::now();
        let mut circuit = Clocked::opened(now);
        assert_eq!(circuit.admit(now, true), Err(SECOND));
        let probe = circuit.admit(now + SECOND, true).unwrap();
        assert_eq!(circuit.admit(now + SECOND, true), Err(SECOND), "one at a time");
        circuit.failed(now + SECOND, probe);
        assert_eq!(
            circuit.circuit.time_left(now + SECOND),
            Some(29 * SECOND),
            "a failed probe changes nothing"
        );
        let probe = circuit.admit(now + 2 * SECOND, true).unwrap();
        circuit.succeeded(now + 2 * SECOND, probe);
        assert_eq!(circuit.state(), BreakerState::HalfOpen);
        for _ in 0..2 {
            let trial = circuit.admit(now + 2 * SECOND, false).unwrap();
            circuit.succeeded(now + 2 * SECOND, trial);
        }
        assert!(circuit.circuit.is_sound());
    }
}
