//! Anomalies, and what a check found.

use std::fmt;

/// Examples that are kept of each anomaly.
const EXAMPLES: usize = 10;

macro_rules! anomalies {
    ($($(#[$doc:meta])* $anomaly:ident = $name:literal,)+) => {
        /// A way in which a log breaks its promise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Anomaly {
            $($(#[$doc])* $anomaly,)+
        }

        impl Anomaly {
            /// All anomalies.
            pub const ALL: &'static [Self] = &[$(Self::$anomaly,)+];

            /// Returns the name in messages and documents.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$anomaly => $name,)+
                }
            }
        }
    };
}

anomalies! {
    /// An acknowledged record was passed over by all readers of its offset.
    LostWrite = "lost-write",
    /// An acknowledged record was read by no reader, although the readers had read everything.
    Unseen = "unseen",
    /// A record is stored although its sending failed without effect.
    AbortedRead = "aborted-read",
    /// A record is stored more often than it was sent.
    Duplicate = "duplicate",
    /// A record is stored and was never sent.
    Unsent = "unsent",
    /// Two records have one offset.
    InconsistentOffsets = "inconsistent-offsets",
    /// A reader passed over a record.
    PollSkip = "poll-skip",
    /// A reader went backwards.
    NonmonotonicPoll = "nonmonotonic-poll",
    /// A process sent a record later than another and got a lower offset for it.
    NonmonotonicSend = "nonmonotonic-send",
    /// A group committed, or resumed, beyond a record that it had not handled.
    CommitAhead = "commit-ahead",
    /// No order of the appends explains their outcomes: a later append has the lower offset, or a condition was judged by
    /// an end that the partition did not have.
    Nonlinearizable = "nonlinearizable",
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One place at which an anomaly was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The anomaly.
    pub anomaly: Anomaly,
    /// Topic.
    pub topic: String,
    /// Partition, where it is known.
    pub partition: Option<u32>,
    /// Offset, where there is one.
    pub offset: Option<i64>,
    /// Line of the history that shows it.
    pub line: u64,
    /// The facts in words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.anomaly, self.topic)?;
        for number in self.partition.map(i64::from).iter().chain(&self.offset) {
            write!(f, "/{number}")?;
        }
        write!(f, ": {} (line {})", self.detail, self.line)
    }
}

/// Result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryVerdict {
    /// Events.
    pub events: u64,
    /// Records sent.
    pub sent: u64,
    /// Sends that were acknowledged.
    pub acknowledged: u64,
    /// Sends that failed without effect.
    pub failed: u64,
    /// Sends whose effect is unknown, and those without an outcome.
    pub unknown: u64,
    /// Records that readers got.
    pub polled: u64,
    /// Records that groups handled.
    pub handled: u64,
    /// Commits.
    pub commits: u64,
    /// Partitions.
    pub partitions: u64,
    /// Offsets at which a record was acknowledged or read.
    pub stored: u64,
    /// Acknowledged records beyond what was read.
    pub unseen: u64,
    /// Offsets that the system reported as missing, which are no anomaly.
    pub reported_missing: u64,
    /// Whether the last line was cut and left out.
    pub cut: bool,
    counts: Vec<(Anomaly, u64)>,
    findings: Vec<Finding>,
}

impl HistoryVerdict {
    /// Returns whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns how often an anomaly was found.
    #[must_use]
    pub fn count(&self, anomaly: Anomaly) -> u64 {
        self.counts.iter().find(|(found, _)| *found == anomaly).map_or(0, |(_, count)| *count)
    }

    /// Returns the first findings of each anomaly, at most 10 each.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Adds a finding; `describe` runs for those that are kept.
    pub(crate) fn add(&mut self, anomaly: Anomaly, describe: impl FnOnce() -> Finding) {
        let at = self.counts.iter().position(|(found, _)| *found == anomaly).unwrap_or_else(|| {
            self.counts.push((anomaly, 0));
            self.counts.len() - 1
        });
        self.counts[at].1 += 1;
        if self.counts[at].1 <= EXAMPLES as u64 {
            self.findings.push(describe());
        }
    }

    /// Orders counts and findings by anomaly.
    pub(crate) fn order(&mut self) {
        self.counts.sort_unstable();
        self.findings.sort_by_key(|one| (one.anomaly, one.line));
    }
}
