//! The options of an `embedded:` or `memory:` URL.

use floe_core::{
    Durability, Error, ErrorKind, Result,
    topic::TopicSpec,
    units::parse_size,
    url::{EngineUrl, Scheme},
};
use floe_log::{StoreConfig, TopicConfig};

/// Names of the options.
const KNOWN: &[&str] = &["durability", "mode", "namespace", "segment-bytes"];

/// The options of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Default durability of new topics.
    durability: Option<Durability>,
    /// Name of one of several stores under one directory.
    namespace: Option<String>,
    /// Default segment size of new topics.
    segment_bytes: Option<u64>,
    /// Whether the store is opened for reading only.
    pub(crate) read_only: bool,
    /// Whether a missing store is not created; an empty one in memory takes its place.
    pub(crate) only_existing: bool,
}

impl Options {
    pub(crate) fn parse(url: &EngineUrl) -> Result<Self> {
        url.check_options(KNOWN)?;
        let mut options = Self { namespace: url.options.get("namespace").cloned(), ..Self::default() };
        if let Some(text) = url.options.get("durability") {
            options.durability = Some(text.parse()?);
        }
        if let Some(text) = url.options.get("segment-bytes") {
            options.segment_bytes = Some(parse_size(text)?);
        }
        match url.options.get("mode").map(String::as_str) {
            None | Some("write") => {}
            Some("read") if url.scheme == Scheme::Embedded => options.read_only = true,
            Some("existing") if url.scheme == Scheme::Embedded => options.only_existing = true,
            Some(other) => {
                let message = format!("mode {other:?} in {url}: embedded: takes read, existing and write");
                return Err(Error::new(ErrorKind::InvalidConfig, message));
            }
        }
        Ok(options)
    }

    pub(crate) fn apply(&self, config: StoreConfig) -> StoreConfig {
        let config = config.namespace(self.namespace.clone());
        match self.segment_bytes {
            Some(bytes) => config.segment_bytes(bytes),
            None => config,
        }
    }

    /// Converts the settings of a topic, with the defaults of the engine.
    pub(crate) fn topic_config(&self, spec: &TopicSpec) -> TopicConfig {
        let durability = spec.durability.or(self.durability).unwrap_or(Durability::Os);
        TopicConfig::new()
            .partitions(spec.partitions)
            .durability(durability_to_log(durability))
            .retention_age(spec.retention_age)
            .retention_bytes(spec.retention_bytes)
            .segment_bytes(spec.segment_bytes)
    }
}

/// Converts a durability to that of the log.
#[must_use]
pub fn durability_to_log(durability: Durability) -> floe_log::Durability {
    match durability {
        Durability::Os => floe_log::Durability::Os,
        Durability::Always => floe_log::Durability::Always,
        Durability::Interval(wait) => {
            floe_log::Durability::Interval(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        }
    }
}

pub(crate) fn durability_from_log(durability: floe_log::Durability) -> Durability {
    match durability {
        floe_log::Durability::Os => Durability::Os,
        floe_log::Durability::Always => Durability::Always,
        floe_log::Durability::Interval(milliseconds) => {
            Durability::Interval(std::time::Duration::from_millis(milliseconds))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str) -> Result<Options> {
        Options::parse(&text.parse()?)
    }

    #[test]
    fn all_options() {
        let options = parse("embedded:x?durability=interval:100ms&namespace=a&segment-bytes=1MiB").unwrap();
        assert_eq!(options.durability, Some(Durability::Interval(Duration::from_millis(100))));
        assert_eq!(options.namespace.as_deref(), Some("a"));
        assert_eq!(options.segment_bytes, Some(1 << 20));
    }

    #[test]
    fn bad_options_are_refused() {
        assert!(parse("embedded:x?mode=read").unwrap().read_only);
        for url in [
            "embedded:x?mode=append",
            "memory:?mode=read",
            "embedded:x?durability=never",
            "embedded:x?segment-bytes=big",
            "embedded:x?what=1",
        ] {
            assert_eq!(parse(url).unwrap_err().kind(), ErrorKind::InvalidConfig, "{url}");
        }
    }

    #[test]
    fn durability_converts_to_the_log_and_back() {
        for text in ["os", "always", "interval:250ms"] {
            let durability: Durability = text.parse().unwrap();
            assert_eq!(durability_from_log(durability_to_log(durability)), durability);
            assert_eq!(durability.to_string(), text);
        }
    }

    #[test]
    fn topic_settings_override_the_defaults() {
        let options = parse("embedded:x?durability=always").unwrap();
        let config = options.topic_config(&TopicSpec::new("a"));
        assert_eq!(config.durability, floe_log::Durability::Always);
        let config = options.topic_config(&TopicSpec::new("a").durability(Durability::Os));
        assert_eq!(config.durability, floe_log::Durability::Os);
    }
}
