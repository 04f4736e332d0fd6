//! Options of every command, and the settings that they select.

use std::{path::Path, time::Duration};

use clap::Args;
use floe::{
    config::{Config, SettingOrigin, Sources},
    units,
    url::{EngineUrl, Scheme, shown},
};

use crate::{
    exit::{self, Outcome},
    format::OutputFormat,
    logging::LogArgs,
    telemetry::{self, Exporter},
};

/// URL of the engine unless a flag, a variable or a profile names another.
const DEFAULT_URL: &str = "embedded:./floe-data";

/// Configuration file of a project, in the working directory of the command.
pub(crate) const PROJECT_FILE: &str = "floe.toml";

/// Options that every command accepts, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Engine that holds the topics: embedded:PATH, memory:, fluvio://HOST:PORT or walrus://HOST:PORT,… [env: FLOE_URL]
    /// [default: the URL of the profile, or embedded:./floe-data]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Profile to use, from floe.toml or the user configuration file [env: FLOE_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// Format of results; json and jsonl also apply to errors
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,

    /// Destinations of metrics and spans, separated by commas: off, otlp, prometheus or prometheus=HOST:PORT
    #[arg(
        long,
        global = true,
        env = "FLOE_TELEMETRY",
        hide_env_values = true,
        default_value = "off",
        value_name = "WHERE",
        value_delimiter = ',',
        value_parser = telemetry::parse_exporter
    )]
    pub(crate) telemetry: Vec<Exporter>,

    /// Allow listeners that other machines can reach: those of serve, and of --telemetry prometheus
    #[arg(long, global = true)]
    pub(crate) listen_public: bool,

    /// Wait this long for a store that another process has open, and, in produce and consume, for a topic that does not exist
    /// yet, such as 10s [default: fail at once]
    #[arg(long, global = true, value_name = "DURATION", value_parser = units::parse_duration)]
    pub(crate) wait: Option<Duration>,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Effective settings of one command, from flags, variables and files.
#[derive(Debug, Clone)]
pub(crate) struct Global {
    /// URL of the engine.
    pub(crate) url: String,
    /// Format of results and errors.
    pub(crate) output: OutputFormat,
    /// Whether listeners may be reachable from other machines.
    pub(crate) listen_public: bool,
    /// How long to wait for a store in use, or a topic.
    pub(crate) wait: Duration,
    /// All settings, with the origin of each.
    pub(crate) config: Config,
}

impl GlobalArgs {
    /// Merges files, variables and flags.
    pub(crate) fn resolve(&self) -> Outcome<Global> {
        let global = self.resolve_silently()?;
        self.announce(&global.config, &global.url);
        Ok(global)
    }

    /// As [`GlobalArgs::resolve`], without naming a server of the project's file on standard error.
    pub(crate) fn resolve_silently(&self) -> Outcome<Global> {
        let mut sources = Sources::discover();
        if let Some(profile) = &self.profile {
            sources = sources.profile(profile);
        }
        if let Some(url) = &self.url {
            sources = sources.flag("--url", "url", url);
        }
        let mut config = sources.load()?;
        let mut url = config.url().unwrap_or(DEFAULT_URL).to_owned();
        // An invalid URL is reported by the command that opens it.
        if let Ok(mut parsed) = url.parse::<EngineUrl>()
            && parsed.options.keys().any(|option| option.contains('.'))
        {
            config.take_options(&mut parsed)?;
            url = parsed.with_options();
        }
        let wait = self.wait.unwrap_or_default();
        Ok(Global { url, output: self.output, listen_public: self.listen_public, wait, config })
    }

    /// Returns the defaults, for commands that open no engine or their own: a faulty file must not stop them.
    pub(crate) fn without_sources(&self) -> Global {
        Global {
            url: DEFAULT_URL.to_owned(),
            output: self.output,
            listen_public: self.listen_public,
            wait: Duration::ZERO,
            config: Config::default(),
        }
    }

    /// Names a server that the project's file selects, on standard error: a folder from elsewhere, such as a checked-out
    /// repository, must not send records to its server without a trace.
    fn announce(&self, config: &Config, url: &str) {
        let origin = config.origin("url");
        let is_project =
            matches!(&origin, SettingOrigin::File { path, .. } if path == Path::new(PROJECT_FILE));
        let is_remote = url
            .parse::<EngineUrl>()
            .is_ok_and(|url| !matches!(url.scheme, Scheme::Embedded | Scheme::Memory));
        if is_project && is_remote {
            exit::notify(self.output, "server", &format!("{}, from {origin}", shown(url)));
        }
    }
}
