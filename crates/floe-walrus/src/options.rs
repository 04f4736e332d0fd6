//! The options of a `walrus:` URL.

use std::{str::FromStr, time::Duration};

use floe_core::{Error, ErrorKind, Result, units::parse_duration, url::EngineUrl};

use crate::{balance::Balance, pool::PoolSettings};

/// Names of the options.
const KNOWN: &[&str] = &[
    "balance",
    "connect-timeout",
    "framing",
    "health-interval",
    "idle-timeout",
    "journal",
    "leader-wait",
    "poll-max",
    "poll-min",
    "pool-max",
    "pool-min",
    "prefetch",
    "timeout",
    "window",
];

/// Encoding of records as entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One entry carries one compressed batch, as text.
    Packed,
    /// One entry is the value of one record.
    Plain,
}

/// Target node of appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteTo {
    /// The node that leads the topic, which saves a hop inside the cluster; each node in turn while the leader is unknown.
    /// Reads prefer it as well.
    Leader,
    /// By a policy. Reads prefer the node that the topic hashes to.
    Balanced(Balance),
}

/// The options of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) framing: Framing,
    pub(super) write_to: WriteTo,
    pub(super) connect_timeout: Duration,
    /// Deadline of a request.
    pub(super) timeout: Duration,
    /// How long a read waits for its node to know a leader before it tries another node.
    pub(super) leader_wait: Duration,
    /// Maximum entries of one topic in flight.
    pub(super) window: usize,
    /// Maximum entries to request ahead.
    pub(super) prefetch: usize,
    /// Minimum and maximum pause between polls of an empty topic.
    pub(super) poll: (Duration, Duration),
    pub(super) pool: PoolSettings,
    pub(super) health_interval: Duration,
    /// Directory of the journal.
    pub(super) journal: Option<String>,
}

impl Options {
    pub(super) fn parse(url: &EngineUrl) -> Result<Self> {
        url.check_options(KNOWN)?;
        let duration = |name: &str, default: Duration| match url.options.get(name) {
            None => Ok(default),
            Some(text) => match parse_duration(text)? {
                Duration::ZERO => Err(invalid(format!("{name} is 0: it must be at least 1ms"))),
                time => Ok(time),
            },
        };
        let framing = match url.options.get("framing").map(String::as_str) {
            None | Some("packed") => Framing::Packed,
            Some("plain") => Framing::Plain,
            Some(other) => return Err(invalid(format!("framing {other:?}: write packed or plain"))),
        };
        let write_to = match url.options.get("balance").map(String::as_str) {
            None | Some("leader") => WriteTo::Leader,
            Some("round-robin") => WriteTo::Balanced(Balance::RoundRobin),
            Some("least-in-flight") => WriteTo::Balanced(Balance::LeastInFlight),
            Some("topic") => WriteTo::Balanced(Balance::TopicHash),
            Some(other) => {
                let message =
                    format!("balance {other:?}: write leader, round-robin, least-in-flight or topic");
                return Err(invalid(message));
            }
        };
        let connect_timeout = duration("connect-timeout", Duration::from_secs(5))?;
        let timeout = duration("timeout", Duration::from_secs(20))?;
        let default_window = match framing {
            Framing::Packed => 1,
            Framing::Plain => 64,
        };
        let pool = PoolSettings {
            min: number(url, "pool-min", 2, 0..=1000)?,
            max: number(url, "pool-max", 10, 1..=1000)?,
            idle_timeout: duration("idle-timeout", Duration::from_secs(300))?,
            wait: timeout,
        };
        if pool.min > pool.max {
            return Err(invalid(format!("pool-min is {}, more than pool-max, {}", pool.min, pool.max)));
        }
        let poll = (
            duration("poll-min", Duration::from_millis(5))?,
            duration("poll-max", Duration::from_millis(500))?,
        );
        if poll.0 > poll.1 {
            return Err(invalid(format!("poll-min is {:?}, more than poll-max, {:?}", poll.0, poll.1)));
        }
        Ok(Self {
            framing,
            write_to,
            connect_timeout,
            timeout,
            leader_wait: duration("leader-wait", Duration::from_secs(5))?,
            window: number(url, "window", default_window, 1..=4096)?,
            prefetch: number(url, "prefetch", 1, 1..=1024)?,
            poll,
            pool,
            health_interval: duration("health-interval", Duration::from_secs(30))?,
            journal: url.options.get("journal").filter(|path| !path.is_empty()).cloned(),
        })
    }
}

fn number(
    url: &EngineUrl,
    name: &str,
    default: usize,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<usize> {
    let Some(text) = url.options.get(name) else { return Ok(default) };
    usize::from_str(text).ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
        invalid(format!("{name} {text:?}: write a number from {} to {}", allowed.start(), allowed.end()))
    })
}

fn invalid(problem: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem).with_engine(super::NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Options> {
        Options::parse(&format!("walrus://h:1?{query}").parse()?)
    }

    #[test]
    fn defaults() {
        let options = parse("").unwrap();
        assert_eq!((options.framing, options.write_to), (Framing::Packed, WriteTo::Leader));
        assert_eq!((options.pool.min, options.pool.max), (2, 10));
        assert_eq!(options.pool.idle_timeout, Duration::from_secs(300));
        assert_eq!(options.health_interval, Duration::from_secs(30));
        assert_eq!(options.window, 1, "a window of one keeps the order after any failure");
        assert_eq!(parse("framing=plain").unwrap().window, 64);
        assert_eq!(options.journal, None);
    }

    #[test]
    fn all_options_are_read() {
        let options = parse(
            "framing=plain&balance=least-in-flight&connect-timeout=1s&timeout=2s&leader-wait=3s&window=7&prefetch=9\
             &poll-min=1ms&poll-max=2ms&pool-min=0&pool-max=3&idle-timeout=4s&health-interval=5s&journal=a%2Fb",
        )
        .unwrap();
        let expected = Options {
            framing: Framing::Plain,
            write_to: WriteTo::Balanced(Balance::LeastInFlight),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            leader_wait: Duration::from_secs(3),
            window: 7,
            prefetch: 9,
            poll: (Duration::from_millis(1), Duration::from_millis(2)),
            pool: PoolSettings {
                min: 0,
                max: 3,
                idle_timeout: Duration::from_secs(4),
                wait: Duration::from_secs(2),
            },
            health_interval: Duration::from_secs(5),
            journal: Some("a/b".to_owned()),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        let table = [
            ("framing=json", "packed or plain"),
            ("balance=random", "round-robin"),
            ("window=0", "window"),
            ("pool-max=0", "pool-max"),
            ("pool-min=11", "more than pool-max"),
            ("poll-min=1s", "more than poll-max"),
            ("timeout=0s", "timeout is 0"),
            ("windw=1", "did you mean \"window\"?"),
        ];
        for (query, expected) in table {
            let error = parse(query).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{query}");
            assert!(error.to_string().contains(expected), "{query}: {error}");
        }
    }
}
