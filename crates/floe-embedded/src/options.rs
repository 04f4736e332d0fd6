//! The options of the embedded log.

use floe_core::{
    Durability, section,
    setting::{any, if_some},
    topic::TopicSpec,
    words,
};
use floe_log::{StoreConfig, TopicConfig};

/// How a directory is opened. Matching is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenMode {
    /// For reading and writing; a missing store is created.
    #[default]
    Write,
    /// For reading only. The store must exist; several processes may do so at once.
    Read,
    /// As `Write`, but a missing store is not created: the engine has no topics, and whatever is created is lost.
    Existing,
}

words! {
    OpenMode { "write" = Self::Write, "read" = Self::Read, "existing" = Self::Existing, }
}

section! {
    /// Options of the embedded log.
    embedded: EmbeddedOptions {
        /// Durability of new topics that name none: `os` survives the death of the process, `always` a loss of power,
        /// `interval:DURATION` a loss of power but for the records of that time.
        durability: Durability = Durability::Os, waits;
        /// Name of one of several stores under one directory, each with its own topics and lock.
        namespace: Option<String> = None, if_some(|name: &String| namespace(name));
        /// Size of the segments of new topics that name none; `none` is 256 MiB.
        segment_bytes: Option<u64> = None, if_some(segment);
        /// Whether the store is opened for writing and created where it is missing, for reading only, or only if it exists.
        mode: OpenMode = OpenMode::Write, any;
    }
}

impl EmbeddedOptions {
    pub(crate) fn apply(&self, config: StoreConfig) -> StoreConfig {
        let config = config.namespace(self.namespace.clone());
        match self.segment_bytes {
            Some(bytes) => config.segment_bytes(bytes),
            None => config,
        }
    }

    /// Converts the settings of a topic, with the defaults of the engine.
    pub(crate) fn topic_config(&self, spec: &TopicSpec) -> TopicConfig {
        TopicConfig::new()
            .partitions(spec.partitions)
            .durability(durability_to_log(spec.durability.unwrap_or(self.durability)))
            .retention_age(spec.retention_age)
            .retention_bytes(spec.retention_bytes)
            .segment_bytes(spec.segment_bytes)
    }
}

fn waits(durability: &Durability) -> Option<String> {
    let Durability::Interval(wait) = durability else { return None };
    wait.is_zero().then(|| "an interval must be more than 0".to_owned())
}

fn namespace(name: &str) -> Option<String> {
    problem(&StoreConfig::memory().namespace(Some(name.to_owned())))
}

fn segment(bytes: &u64) -> Option<String> {
    problem(&StoreConfig::memory().segment_bytes(*bytes))
}

fn problem(config: &StoreConfig) -> Option<String> {
    config.check().err().map(|error| error.to_string())
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

    use floe_core::{ErrorKind, Result, setting::Section};

    use super::*;

    fn parse(text: &str) -> Result<EmbeddedOptions> {
        EmbeddedOptions::from_url(&text.parse()?)
    }

    #[test]
    fn a_url_and_a_program_set_the_same_options() {
        let read = parse("embedded:x?durability=interval:100ms&namespace=a&segment-bytes=1MiB&mode=existing")
            .unwrap();
        let typed = EmbeddedOptions::default()
            .durability(Durability::Interval(Duration::from_millis(100)))
            .namespace("a".to_owned())
            .segment_bytes(1 << 20)
            .mode(OpenMode::Existing);
        assert_eq!(read, typed);
    }

    #[test]
    fn values_that_cannot_work_are_refused() {
        for (option, expected) in [
            ("mode=append", "write, read, existing"),
            ("durability=never", "write os, always, or interval:DURATION"),
            ("durability=interval:0", "more than 0"),
            ("segment-bytes=big", "write a size"),
            ("segment-bytes=0", "between 1 and"),
            ("namespace=a/b", "letters, digits"),
            ("namespace=", "letters, digits"),
            ("what=1", "unknown option"),
        ] {
            let error = parse(&format!("embedded:x?{option}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{option}");
            assert!(error.to_string().contains(expected), "{option}: {error}");
        }
        assert!(EmbeddedOptions::default().segment_bytes(0).check().is_err());
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
