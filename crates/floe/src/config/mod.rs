//! Settings that do not come from the program: files with profiles, environment variables, options of the URL.
//!
//! From strongest to weakest:
//!
//! 1. the program: setters of builders, [`Config::set`];
//! 2. flags of the command line;
//! 3. options of the URL: `embedded:./data?producer.linger=5ms`. An option without a dot is one of the engine: `window=4` of a
//!    `fluvio:` URL is the setting `fluvio.window`;
//! 4. environment variables: `FLOE_URL`, `FLOE_PRODUCER__LINGER=5ms`;
//! 5. the profile in use, in the project's `floe.toml`, then in the user's file;
//! 6. the project's `floe.toml`, then the user's file, outside of profiles;
//! 7. defaults.
//!
//! A profile that is chosen on the command line takes precedence over environment variables.
//!
//! [`Client::connect`](crate::Client::connect) reads no files and no variables: the behaviour of a library must not depend
//! on the working directory. A program opts in:
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> floe::Result<()> {
//! use floe::{Client, config::Config};
//!
//! let client = Client::builder("embedded:./data").config(Config::load()?).connect().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An unknown setting or an invalid value is an error at the start. It names the setting, the value, the source and the
//! closest valid name. [The page on configuration](https://github.com/floe-rs/floe/blob/main/docs/configuration.md)
//! lists all settings.

mod apply;
mod engine_options;
mod file;
mod load;
mod origin;
mod policies;
mod raw;
mod reference;
mod secret;
mod sections;
mod trust;
mod value;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

pub use engine_options::EngineOptions;
pub use file::ConfigFile;
pub use floe_core::setting::SettingInfo;
pub use load::{Sources, user_file};
pub use origin::SettingOrigin;
pub use policies::{AckMode, CommitPolicy, DeliveryMode, GapPolicy, WhenFull};
pub use reference::reference;
pub use secret::Secret;
pub use sections::{
    BreakerSettings, ClientSettings, CompressionSettings, ConsumerSettings, HealthSettings, LimitSettings,
    ProducerSettings, RetrySettings, Settings, TelemetrySettings,
};
pub use value::Switch;

use self::{load::invalid, raw::Raw, sections::NAMES};
use crate::Result;

/// Settings with their origins.
#[derive(Clone, Default)]
pub struct Config {
    settings: Settings,
    url: Option<String>,
    profile: Option<String>,
    origins: BTreeMap<String, SettingOrigin>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("settings", &self.settings)
            .field("url", &self.url.as_deref().map(crate::url::shown))
            .field("profile", &self.profile)
            .field("origins", &self.origins)
            .finish()
    }
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Full name, such as `producer.linger`, or `url`.
    pub key: String,
    /// The value in the notation of a file; secrets are masked.
    pub value: String,
    /// The source of the value.
    pub origin: SettingOrigin,
}

impl Config {
    /// Reads the sources that [`Sources::discover`] finds.
    ///
    /// # Errors
    /// As [`Sources::load`].
    pub fn load() -> Result<Self> {
        Sources::discover().load()
    }

    /// Returns the typed settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn into_settings(self) -> Settings {
        self.settings
    }

    /// Returns the URL, if a source names one.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Returns the profile in use.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Returns the source of a setting.
    #[must_use]
    pub fn origin(&self, key: &str) -> SettingOrigin {
        self.origins.get(key).cloned().unwrap_or(SettingOrigin::Default)
    }

    /// Returns the URL and all settings, with values and origins.
    #[must_use]
    pub fn entries(&self) -> Vec<ConfigEntry> {
        let url = self.url.as_ref().map(|url| ("url", crate::url::shown(url)));
        let settings = NAMES.iter().filter_map(|name| Some((*name, self.settings.show(name)?)));
        url.into_iter()
            .chain(settings)
            .map(|(key, value)| ConfigEntry { key: key.to_owned(), value, origin: self.origin(key) })
            .collect()
    }

    /// Sets one setting, or `url`, from text. It takes precedence over all sources.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) for an unknown setting or an invalid value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.apply(&Raw { key: key.to_owned(), text: value.to_owned(), origin: SettingOrigin::Code })?;
        self.check()
    }

    fn apply(&mut self, raw: &Raw) -> Result<()> {
        let Raw { key, text, origin } = raw;
        let key = key.replace('-', "_");
        if key == "url" {
            self.url = Some(text.clone());
        } else if NAMES.contains(&key.as_str()) {
            if let Err(problem) = self.settings.set(&key, text) {
                let secret = Settings::reference()
                    .iter()
                    .any(|info| info.is_secret && key == format!("{}.{}", info.section, info.name));
                let shown = if secret { "***".to_owned() } else { format!("{text:?}") };
                return Err(invalid(format!("{origin}: {key} = {shown}: {problem}")));
            }
        } else {
            return Err(load::unknown(&key, origin));
        }
        self.origins.insert(key, origin.clone());
        Ok(())
    }

    /// Checks the rules that span several settings.
    fn check(&self) -> Result<()> {
        let Some((section, found)) = self.settings.contradiction() else { return Ok(()) };
        let [one, other] = found.names.map(|name| {
            let key = format!("{section}.{name}");
            format!("{key} ({})", self.origin(&key))
        });
        Err(invalid(format!("{one} and {other} contradict each other: {}", found.why)))
    }
}
