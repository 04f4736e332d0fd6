//! The options of a Walrus cluster.

use std::{path::PathBuf, time::Duration};

use floe_core::{
    section,
    setting::{Contradiction, any, between, if_some, positive},
    words,
};

use crate::balance::Balancing;

/// Encoding of records as entries. There are two, so matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One entry carries one compressed batch, as text.
    Packed,
    /// One entry is the value of one record.
    Plain,
}

words! {
    Framing { "packed" = Self::Packed, "plain" = Self::Plain, }
}

section! {
    /// Options of a Walrus cluster.
    walrus: WalrusOptions {
        /// Encoding of records: `packed` is one batch an entry, `plain` one value.
        framing: Framing = Framing::Packed, any;
        /// Node of a write, and of the first read of a topic. `leader` is the node that leads the topic; the others choose
        /// among the nodes that are up: each in turn, the one with the fewest requests in flight, or the same one for a topic.
        balance: Balancing = Balancing::Leader, any;
        /// Entries of one topic in flight; `none` is 1 with `packed`, 64 with `plain`.
        window: Option<u32> = None, if_some(between(1, 4096));
        /// Most entries to take at a time.
        prefetch: u32 = 1, between(1, 1024);
        /// Shortest wait while there is nothing to read.
        poll_min: Duration = Duration::from_millis(5), positive;
        /// Longest wait while there is nothing to read.
        poll_max: Duration = Duration::from_millis(500), positive;
        /// Time to connect and get a first answer.
        connect_timeout: Duration = Duration::from_secs(5), positive;
        /// Time for one request; the server itself times out after 15 s.
        request_timeout: Duration = Duration::from_secs(20), positive;
        /// Time that a read waits for its node to see a leader, before failover.
        leader_wait: Duration = Duration::from_secs(5), positive;
        /// Connections to each node that stay open.
        pool_min: u32 = 2, between(0, 1000);
        /// Most connections to each node.
        pool_max: u32 = 10, between(1, 1000);
        /// Idle time after which a connection beyond the minimum is closed.
        idle_timeout: Duration = Duration::from_secs(300), positive;
        /// Interval of checks on idle connections; a node that does not answer is down.
        health_interval: Duration = Duration::from_secs(30), positive;
        /// Folder of the journal, which keeps what was read; `none` is no journal.
        journal: Option<PathBuf> = None, any;
    }
    where limits_fit
}

impl WalrusOptions {
    /// Entries of one topic in flight. One keeps the order after any failure.
    pub(super) fn entries_in_flight(&self) -> usize {
        let default = match self.framing {
            Framing::Packed => 1,
            Framing::Plain => 64,
        };
        floe_core::units::count(self.window.unwrap_or(default))
    }
}

fn limits_fit(options: &WalrusOptions) -> Option<Contradiction> {
    if options.pool_min > options.pool_max {
        let why = format!("{} is more than {}", options.pool_min, options.pool_max);
        return Some(Contradiction::new("pool_min", "pool_max", why));
    }
    let (least, most) = (options.poll_min, options.poll_max);
    let why = || format!("{least:?} is more than {most:?}");
    (least > most).then(|| Contradiction::new("poll_min", "poll_max", why()))
}

#[cfg(test)]
mod tests {
    use floe_core::{ErrorKind, Result, setting::Section};

    use super::*;

    fn parse(query: &str) -> Result<WalrusOptions> {
        WalrusOptions::from_url(&format!("walrus://h:1?{query}").parse()?)
    }

    #[test]
    fn defaults() {
        let options = parse("").unwrap();
        assert_eq!(options, WalrusOptions::default());
        assert_eq!(options.entries_in_flight(), 1, "a window of one keeps the order after any failure");
        assert_eq!(parse("framing=plain").unwrap().entries_in_flight(), 64);
    }

    #[test]
    fn a_url_and_a_program_set_the_same_options() {
        let read = parse(
            "framing=plain&balance=least-connections&connect-timeout=1s&request-timeout=2s&leader-wait=3s&window=7\
             &prefetch=9&poll-min=1ms&poll-max=2ms&pool-min=0&pool-max=3&idle-timeout=4s&health-interval=5s\
             &journal=a%2Fb",
        )
        .unwrap();
        let typed = WalrusOptions::default()
            .framing(Framing::Plain)
            .balance(Balancing::LeastConnections)
            .connect_timeout(Duration::from_secs(1))
            .request_timeout(Duration::from_secs(2))
            .leader_wait(Duration::from_secs(3))
            .window(7_u32)
            .prefetch(9_u32)
            .poll_min(Duration::from_millis(1))
            .poll_max(Duration::from_millis(2))
            .pool_min(0_u32)
            .pool_max(3_u32)
            .idle_timeout(Duration::from_secs(4))
            .health_interval(Duration::from_secs(5))
            .journal(PathBuf::from("a/b"));
        assert_eq!(read, typed);
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        let table = [
            ("framing=json", "packed, plain"),
            ("balance=random", "round-robin, least-connections, consistent-hash"),
            ("window=0", "window"),
            ("pool-max=0", "pool_max"),
            ("pool-min=11", "pool_min and pool_max contradict each other"),
            ("poll-min=1s", "poll_min and poll_max contradict each other"),
            ("request-timeout=0s", "request_timeout=\"0s\": it must be more than 0"),
            ("windw=1", "did you mean \"window\"?"),
        ];
        for (query, expected) in table {
            let error = parse(query).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{query}");
            assert!(error.to_string().contains(expected), "{query}: {error}");
        }
        assert!(WalrusOptions::default().prefetch(0_u32).check().is_err());
    }
}
