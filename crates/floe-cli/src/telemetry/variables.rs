//! The standard variables of OpenTelemetry: the SDK and its exporter read most of them. The others are respected here, refused
//! where they ask for what floe cannot do, or told to have no effect.

use std::env;

use crate::exit::{Failure, Outcome};

/// Beginnings of the names that the SDK and the exporter read.
const READ: &[&str] = &[
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_SPAN_",
    "OTEL_BSP_",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
];

/// Settings of the exporters that the environment has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Environment {
    /// `OTEL_SDK_DISABLED`.
    pub(super) is_disabled: bool,
    /// `OTEL_TRACES_EXPORTER=none`.
    pub(super) without_spans: bool,
    /// `OTEL_METRICS_EXPORTER=none`.
    pub(super) without_metrics: bool,
    /// Variables that are set and have no effect.
    pub(super) unused: Vec<String>,
}

impl Environment {
    /// Reads the variables of this process.
    ///
    /// # Errors
    /// Fails for a variable that asks for what floe cannot do.
    pub(super) fn of_process() -> Outcome<Self> {
        let variables = env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::read(variables)
    }

    fn read(variables: impl Iterator<Item = (String, String)>) -> Outcome<Self> {
        let mut asked = Self::default();
        for (name, value) in variables {
            let value = value.trim();
            // The specification: an empty variable is an unset one.
            if !name.starts_with("OTEL_") || value.is_empty() {
                continue;
            }
            match name.as_str() {
                "OTEL_SDK_DISABLED" => asked.is_disabled = value.eq_ignore_ascii_case("true"),
                "OTEL_TRACES_EXPORTER" => asked.without_spans = is_none(&name, value)?,
                "OTEL_METRICS_EXPORTER" => asked.without_metrics = is_none(&name, value)?,
                "OTEL_PROPAGATORS" => check_propagators(&name, value)?,
                _ if name.starts_with("OTEL_EXPORTER_OTLP") && name.ends_with("_PROTOCOL") => {
                    if value != "http/protobuf" && !name.contains("_LOGS_") {
                        return Err(refusal(&name, value, "floe sends http/protobuf only"));
                    }
                }
                _ if name.starts_with("OTEL_EXPORTER_OTLP")
                    && (name.ends_with("CERTIFICATE") || name.ends_with("_CLIENT_KEY")) =>
                {
                    let hint = "the authorities are those of the system, or of SSL_CERT_FILE; there are no client \
                                certificates";
                    return Err(refusal(&name, value, hint));
                }
                "OTEL_LOGS_EXPORTER" if value == "none" => {}
                _ if READ.iter().any(|known| name.starts_with(known)) => {}
                _ => asked.unused.push(name),
            }
        }
        asked.unused.sort();
        Ok(asked)
    }

    /// Logs the variables without an effect.
    pub(super) fn tell(&self) {
        for variable in &self.unused {
            tracing::warn!(variable, "this variable of OpenTelemetry has no effect on floe");
        }
    }
}

/// Whether an exporter is turned off.
fn is_none(name: &str, value: &str) -> Outcome<bool> {
    match value {
        "none" => Ok(true),
        "otlp" => Ok(false),
        _ => Err(refusal(
            name,
            value,
            "floe knows otlp and none; --telemetry prometheus serves metrics to Prometheus",
        )),
    }
}

fn check_propagators(name: &str, value: &str) -> Outcome {
    let mut asked: Vec<_> = value.split(',').map(str::trim).collect();
    asked.sort_unstable();
    if asked == ["baggage", "tracecontext"] {
        return Ok(());
    }
    Err(refusal(
        name,
        value,
        "records carry tracecontext and baggage; the setting telemetry.propagate turns both off",
    ))
}

fn refusal(name: &str, value: &str, reason: &str) -> Failure {
    Failure::usage(format!("{name}={value:?} cannot be done: {reason}"))
        .with_hint("unset the variable, or leave out --telemetry")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Outcome<Environment> {
        Environment::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn variables_are_respected() {
        let asked = read(&[
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_PROPAGATORS", "tracecontext, baggage"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h:4318"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ("OTEL_LOGS_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ""),
            ("PATH", "/bin"),
        ]);
        let expected = Environment { is_disabled: true, without_spans: true, ..Environment::default() };
        assert_eq!(asked.unwrap(), expected);
    }

    #[test]
    fn variables_without_an_effect_are_listed() {
        let asked = read(&[("OTEL_LOGS_EXPORTER", "otlp"), ("OTEL_BLRP_SCHEDULE_DELAY", "1")]).unwrap();
        assert_eq!(asked.unused, ["OTEL_BLRP_SCHEDULE_DELAY", "OTEL_LOGS_EXPORTER"]);
    }

    #[test]
    fn variables_that_cannot_be_followed_are_refused() {
        for (name, value, expected) in [
            ("OTEL_TRACES_EXPORTER", "jaeger", "otlp and none"),
            ("OTEL_METRICS_EXPORTER", "prometheus", "--telemetry prometheus"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf only"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "http/protobuf only"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "SSL_CERT_FILE"),
            ("OTEL_PROPAGATORS", "b3", "telemetry.propagate"),
        ] {
            let failure = read(&[(name, value)]).unwrap_err();
            assert!(failure.message().contains(expected), "{name}: {}", failure.message());
            assert!(failure.message().contains(name), "{}", failure.message());
        }
    }
}
