//! The options of a `fluvio:` URL.

use std::{sync::Arc, time::Duration};

use floe_core::{
    Error, ErrorKind, Result,
    units::{parse_duration, parse_size},
    url::{EngineUrl, Scheme},
};

use crate::{mux::MuxSettings, tls::TlsOptions};

const KNOWN: &[&str] = &[
    "client-id",
    "connect-timeout",
    "request-timeout",
    "metadata-timeout",
    "commit-timeout",
    "idle",
    "window",
    "request-bytes",
    "spu-local",
];

/// Further options of `fluvio+tls:`.
const KNOWN_TLS: &[&str] = &["ca", "cert", "key", "domain", "verify"];

/// Settings of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Name of the client in the servers' logs.
    pub(super) client_id: Arc<str>,
    /// Deadline to open a connection, handshakes included.
    pub(super) connect_timeout: Duration,
    /// Deadline of any reply. Well below the delivery timeout of a producer (30 s), so that there is time left to look up a
    /// batch and to resend it.
    pub(super) request_timeout: Duration,
    /// Deadline for a partition or topic to appear in the metadata.
    pub(super) metadata_timeout: Duration,
    /// How long the leader waits for replicas before it fails a committed append.
    pub(super) commit_timeout: Duration,
    /// Silence after which a heartbeat is sent.
    pub(super) idle: Duration,
    /// Maximum appends to one partition in flight.
    pub(super) window: usize,
    /// Maximum size of a produce request with more than one batch.
    pub(super) request_bytes: usize,
    /// Whether to use the addresses of data servers for the cluster's internal network.
    pub(super) spu_local: bool,
    /// TLS settings of `fluvio+tls:`.
    pub(super) tls: Option<TlsOptions>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_id: Arc::from("floe"),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            metadata_timeout: Duration::from_secs(15),
            commit_timeout: Duration::from_secs(5),
            idle: Duration::from_secs(20),
            window: 8,
            request_bytes: 1024 * 1024,
            spu_local: false,
            tls: None,
        }
    }
}

impl Settings {
    pub(super) fn parse(url: &EngineUrl) -> Result<Self> {
        let with_tls = url.scheme == Scheme::FluvioTls;
        let more = if with_tls { KNOWN_TLS } else { &[] };
        let known: Vec<_> = KNOWN.iter().chain(more).copied().collect();
        url.check_options(&known)?;
        let mut settings = Self::default();
        let mut tls = TlsOptions::default();
        for (key, value) in &url.options {
            let bad = |error: Error| {
                Error::new(ErrorKind::InvalidConfig, format!("option {key}: {}", error.message()))
            };
            let duration = || match parse_duration(value).map_err(bad)? {
                Duration::ZERO => Err(invalid(key, value, "a duration above 0")),
                duration => Ok(duration),
            };
            match key.as_str() {
                "client-id" if value.len() <= 1000 => settings.client_id = Arc::from(value.as_str()),
                "client-id" => return Err(invalid(key, value, "at most 1000 bytes")),
                "connect-timeout" => settings.connect_timeout = duration()?,
                "request-timeout" => settings.request_timeout = duration()?,
                "metadata-timeout" => settings.metadata_timeout = duration()?,
                "commit-timeout" => settings.commit_timeout = duration()?,
                "idle" => settings.idle = duration()?,
                "window" => {
                    let window = value.parse().ok().filter(|window| (1..=1024).contains(window));
                    settings.window = window.ok_or_else(|| invalid(key, value, "a number from 1 to 1024"))?;
                }
                "request-bytes" => {
                    let bytes = parse_size(value).map_err(bad)?;
                    let bytes = usize::try_from(bytes).ok().filter(|bytes| (1024..=64 << 20).contains(bytes));
                    settings.request_bytes = bytes.ok_or_else(|| invalid(key, value, "1 KiB to 64 MiB"))?;
                }
                "spu-local" => settings.spu_local = yes_or_no(key, value)?,
                "ca" => tls.ca = Some(value.as_str().into()),
                "cert" => tls.cert = Some(value.as_str().into()),
                "key" => tls.key = Some(value.as_str().into()),
                "domain" => tls.domain = Some(value.clone()),
                "verify" => tls.verify = yes_or_no(key, value)?,
                _ => {}
            }
        }
        settings.tls = with_tls.then_some(tls);
        Ok(settings)
    }

    pub(super) fn mux(&self) -> MuxSettings {
        MuxSettings { client_id: Arc::clone(&self.client_id), idle: self.idle, ..MuxSettings::default() }
    }
}

fn yes_or_no(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(invalid(key, value, "true or false")),
    }
}

fn invalid(key: &str, value: &str, accepted: &str) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("option {key}={value:?}: expected {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Settings> {
        Settings::parse(&url.parse().unwrap())
    }

    #[test]
    fn options_are_read() {
        let settings = parse("fluvio://h:9003?window=3&request-bytes=64KiB&idle=5s&spu-local=true").unwrap();
        assert_eq!((settings.window, settings.request_bytes), (3, 65_536));
        assert_eq!((settings.idle, settings.spu_local), (Duration::from_secs(5), true));
    }

    #[test]
    fn tls_options_are_read() {
        let tls = parse("fluvio+tls://h?ca=ca.pem&domain=fluvio.local").unwrap().tls.unwrap();
        assert_eq!((tls.domain.as_deref(), tls.verify), (Some("fluvio.local"), true));
        assert_eq!(tls.ca, Some(crate::tls::Pem::File("ca.pem".into())));
        assert!(parse("fluvio://h").unwrap().tls.is_none());
    }

    #[test]
    fn invalid_options_are_refused_with_the_accepted_values() {
        for (options, expected) in [
            ("window=0", "1 to 1024"),
            ("window=x", "1 to 1024"),
            ("request-bytes=1", "1 KiB"),
            ("idle=0", "above 0"),
            ("idle=5", "not a duration"),
            ("spu-local=perhaps", "true or false"),
            ("windw=3", "did you mean \"window\""),
            ("ca=x", "unknown option"),
        ] {
            let error = parse(&format!("fluvio://h?{options}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{options}: {error}");
        }
    }
}
