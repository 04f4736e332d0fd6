//! Settings of topics: as options, and after the model of another topic.

use std::time::Duration;

use floe::{
    Client, Durability, TopicSpec,
    topic::{Topic, TopicInfo, TopicUpdate},
    units,
};

/// Returns the settings of the model as far as the engine has them.
pub(crate) fn spec_like(model: &TopicInfo, name: &Topic, to: &Client) -> TopicSpec {
    let (engine, capabilities) = (to.info().name, to.info().capabilities);
    let mut spec = TopicSpec::new(name.clone());
    if capabilities.partitions {
        spec = spec.partitions(model.partitions);
    }
    // Only topics that can be deleted have a retention, and only logs of this machine a durability.
    if capabilities.delete_topic {
        (spec.retention_age, spec.retention_bytes) = (model.retention_age, model.retention_bytes);
    }
    if engine == "embedded" || engine == "memory" {
        spec.durability = model.durability;
    }
    spec
}

/// Parses a change of one setting, such as `retention-age=7d`.
pub(crate) fn parse_change(text: &str) -> Result<TopicUpdate, String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| "use KEY=VALUE, such as retention-age=7d".to_owned())?;
    let update = TopicUpdate::new();
    let none = value == "none";
    match key {
        "retention-age" if none => Ok(update.retention_age(None)),
        "retention-age" => Ok(update.retention_age(Some(parse_age(value)?))),
        "retention-bytes" if none => Ok(update.retention_bytes(None)),
        "retention-bytes" => Ok(update.retention_bytes(Some(parse_bytes(value)?))),
        "durability" | "segment-bytes" => Err(format!("{key} is set when a topic is created, and stays")),
        "partitions" => Err("use `floe topic add-partitions`".to_owned()),
        _ => Err(format!("unknown setting {key:?}: use retention-age or retention-bytes")),
    }
}

/// Elsewhere 0 means without limit, here it would remove everything.
const NO_LIMIT: &str = "0 would remove all records; without the setting there is no limit";

/// Parses the age of a retention.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let age = units::parse_duration(text).map_err(|error| error.message().to_owned())?;
    if age.is_zero() { Err(NO_LIMIT.to_owned()) } else { Ok(age) }
}

/// Parses the size of a retention.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bytes = units::parse_size(text).map_err(|error| error.message().to_owned())?;
    if bytes == 0 { Err(NO_LIMIT.to_owned()) } else { Ok(bytes) }
}

/// Parses a durability, of which the interval may lack a unit.
pub(crate) fn parse_durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "os" => Ok(Durability::Os),
        None if text == "always" => Ok(Durability::Always),
        Some(("interval", every)) => match every.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => {
                Ok(Durability::Interval(Duration::from_millis(milliseconds)))
            }
            // The other options take durations with a unit, so this one accepts `interval:1s` as well.
            Err(_) => match units::parse_duration(every) {
                Ok(every) if !every.is_zero() => Ok(Durability::Interval(every)),
                _ => Err(format!("invalid interval {every:?}: use milliseconds, such as interval:100")),
            },
            Ok(_) => Err("an interval of 0 is not allowed: use always".to_owned()),
        },
        _ => Err(format!("invalid durability {text:?}: use os, always or interval:MS")),
    }
}

/// Returns a durability as [`parse_durability`] reads it, or `-`.
pub(crate) fn durability_text(durability: Option<Durability>) -> String {
    match durability {
        None => "-".to_owned(),
        Some(Durability::Os) => "os".to_owned(),
        Some(Durability::Always) => "always".to_owned(),
        Some(Durability::Interval(every)) => format!("interval:{}", every.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_of_nothing_is_refused() {
        assert_eq!(parse_age("1w"), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(parse_bytes("64k"), Ok(64 * 1024));
        for zero in [parse_age("0s").map(drop), parse_age("0ms").map(drop), parse_bytes("0").map(drop)] {
            assert!(zero.unwrap_err().contains("no limit"));
        }
    }

    #[test]
    fn changes_are_parsed() {
        let update = TopicUpdate::new();
        let day = Some(Duration::from_secs(24 * 3600));
        assert_eq!(parse_change("retention-age=1d"), Ok(update.retention_age(day)));
        assert_eq!(parse_change("retention-age=none"), Ok(update.retention_age(None)));
        assert_eq!(parse_change("retention-bytes=64k"), Ok(update.retention_bytes(Some(65_536))));
        assert_eq!(parse_change("retention-bytes=none"), Ok(update.retention_bytes(None)));
        for bad in ["", "retention-age", "retention-age=", "retention-age=0s", "retention-bytes=x", "x=1"] {
            assert!(parse_change(bad).is_err(), "{bad}");
        }
        assert!(parse_change("durability=os").unwrap_err().contains("stays"));
    }

    #[test]
    fn durabilities_are_parsed() {
        assert_eq!(parse_durability("os"), Ok(Durability::Os));
        assert_eq!(parse_durability("always"), Ok(Durability::Always));
        let tenth = Durability::Interval(Duration::from_millis(100));
        assert_eq!(parse_durability("interval:100"), Ok(tenth));
        assert_eq!(parse_durability("interval:100ms"), Ok(tenth));
        for bad in [
            "",
            "Os",
            "interval",
            "interval:",
            "interval:0",
            "interval:0s",
            "interval:x",
            "interval:-1",
            "os:1",
        ] {
            assert!(parse_durability(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durability_text_matches_the_option() {
        for text in ["os", "always", "interval:100"] {
            assert_eq!(durability_text(parse_durability(text).ok()), text);
        }
        assert_eq!(durability_text(None), "-");
    }
}
