//! Filter of log messages by level and origin, as `-v` and `FLOE_LOG` give it.

use tracing::{Level, Metadata, level_filters::LevelFilter};

use crate::server_watch;

/// Origins whose warnings the commands report themselves, in their own words: the failed records of a producer, the gaps of
/// a consumer, and servers that are away, where each attempt writes a line.
const REPORTED_BY_COMMANDS: [&str; 7] = [
    "floe::producer::undelivered",
    "floe::producer::retry",
    "floe::consumer::poll",
    "floe::consumer::ended",
    "floe::consumer::retry",
    "floe::layer::breaker",
    "floe_fluvio::metadata",
];

/// Dependencies whose messages below warnings are about themselves.
const TALKATIVE: [&str; 4] =
    ["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "opentelemetry_prometheus"];

/// Decides which messages are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// Level of all origins without one of their own.
    default: LevelFilter,
    /// Origins with a level, the longest names first.
    origins: Vec<(String, LevelFilter)>,
}

impl Filter {
    /// Returns the filter of a command that is not told otherwise: warnings, without those that it reports itself.
    pub(super) fn of_command() -> Self {
        let reported = REPORTED_BY_COMMANDS.iter().map(|origin| (*origin, LevelFilter::OFF));
        let origins = reported.chain([(server_watch::TARGET, LevelFilter::INFO)]);
        Self::new(LevelFilter::WARN, origins.map(|(origin, level)| (origin.to_owned(), level)).collect())
    }

    /// Lets one level of all origins pass, but only warnings of dependencies that would drown it.
    pub(super) fn all(level: LevelFilter) -> Self {
        let origins = TALKATIVE.map(|origin| (origin.to_owned(), level.min(LevelFilter::WARN)));
        Self::new(level, origins.into())
    }

    fn new(default: LevelFilter, mut origins: Vec<(String, LevelFilter)>) -> Self {
        origins.sort_by_key(|(origin, _)| std::cmp::Reverse(origin.len()));
        Self { default, origins }
    }

    /// Parses `LEVEL` and `ORIGIN=LEVEL`, separated by commas; an origin is a crate or a module. Without a `LEVEL` of its
    /// own, the rest is on at warnings.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut default, mut origins) = (LevelFilter::WARN, Vec::new());
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => default = level(part)?,
                Some((origin, word)) if is_module(origin) => origins.push((origin.to_owned(), level(word)?)),
                Some((origin, _)) => return Err(format!("{origin:?} names no crate or module")),
            }
        }
        Ok(Self::new(default, origins))
    }

    /// The most detailed level that any origin has.
    pub(super) fn most(&self) -> LevelFilter {
        self.origins.iter().map(|(_, level)| *level).fold(self.default, LevelFilter::max)
    }

    pub(super) fn allows(&self, metadata: &Metadata<'_>) -> bool {
        self.allows_level(metadata.target(), *metadata.level())
    }

    fn allows_level(&self, target: &str, level: Level) -> bool {
        let own = self.origins.iter().find(|(origin, _)| {
            target.strip_prefix(origin.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        level <= own.map_or(self.default, |(_, level)| *level)
    }
}

fn is_module(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

fn level(word: &str) -> Result<LevelFilter, String> {
    match word.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!("{word:?} is no level: use off, error, warn, info, debug or trace")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_origin_decides() {
        let filter = Filter::parse("info, floe_fluvio=off,floe_fluvio::mux=trace").unwrap();
        assert_eq!(filter.most(), LevelFilter::TRACE);
        for (target, level, expected) in [
            ("floe::producer", Level::INFO, true),
            ("floe::producer", Level::DEBUG, false),
            ("floe_fluvio", Level::ERROR, false),
            ("floe_fluvio::reader", Level::ERROR, false),
            ("floe_fluvio::mux::task", Level::TRACE, true),
            ("floe_fluviot", Level::INFO, true),
        ] {
            assert_eq!(filter.allows_level(target, level), expected, "{target} {level}");
        }
    }

    #[test]
    fn dependencies_do_not_drown_the_log() {
        let filter = Filter::all(LevelFilter::DEBUG);
        assert!(filter.allows_level("floe_log", Level::DEBUG));
        assert!(filter.allows_level("opentelemetry_sdk::metrics", Level::WARN));
        assert!(!filter.allows_level("opentelemetry_sdk::metrics", Level::INFO));
    }

    #[test]
    fn an_origin_alone_leaves_the_warnings_of_others_on() {
        let filter = Filter::parse("floe_log=debug").unwrap();
        assert!(filter.allows_level("floe::consumer", Level::WARN));
        assert!(!filter.allows_level("floe::consumer", Level::INFO));
    }

    #[test]
    fn bad_filters_say_what_is_wrong() {
        for (text, expected) in [("loud", "no level"), ("floe=loud", "no level"), ("a b=info", "no crate")] {
            let problem = Filter::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn commands_do_not_say_twice_what_they_report() {
        let filter = Filter::of_command();
        assert!(filter.allows_level("floe_embedded::damage", Level::WARN));
        assert!(!filter.allows_level("floe_embedded::damage", Level::INFO));
        assert!(!filter.allows_level("floe::consumer::poll", Level::WARN));
    }
}
