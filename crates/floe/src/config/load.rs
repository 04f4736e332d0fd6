//! Merges the sources of a configuration.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Config,
    file::{ConfigFile, no_such_profile},
    origin::SettingOrigin,
    raw::Raw,
    sections::{NAMES, SECTIONS},
    trust,
};
use crate::{Error, ErrorKind, Result, url::nearest};

/// Variables of floe that are not settings.
const VARIABLES: &[&str] = &["FLOE_URL", "FLOE_PROFILE", "FLOE_CONFIG", "FLOE_LOG", "FLOE_TELEMETRY"];

/// The sources of a configuration.
///
/// ```
/// use floe::config::Sources;
///
/// let config = Sources::none()
///     .variables([("FLOE_PRODUCER__LINGER", "5ms")])
///     .flag("--compression", "compression.codec", "zstd")
///     .load()?;
/// assert_eq!(config.settings().producer.linger.as_millis(), 5);
/// assert_eq!(config.origin("compression.codec").to_string(), "flag --compression");
/// # Ok::<(), floe::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Sources {
    variables: Vec<(String, String)>,
    project: Option<PathBuf>,
    /// Whether the project's file was found rather than named.
    is_found: bool,
    user: Option<PathBuf>,
    /// Whether `FLOE_CONFIG` names the file of the user.
    user_is_named: bool,
    profile: Option<String>,
    flags: Vec<Raw>,
}

/// Omits the values, which may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("Sources")
            .field("variables", &names)
            .field("project", &self.project)
            .field("user", &self.user)
            .field("is_found", &self.is_found)
            .field("profile", &self.profile)
            .field("flags", &self.flags)
            .finish()
    }
}

impl Sources {
    /// Returns no sources: every setting has its default.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the sources of this process: the `FLOE_…` variables, `floe.toml` in the working directory, and the user's
    /// file, which is the one that `FLOE_CONFIG` names, else [`user_file`].
    ///
    /// The project's file is used if the user of this process controls it: on Unix, if file and folder belong to that
    /// user or to root, and not every user may write the file or replace it. Otherwise [`Sources::load`] fails.
    pub fn discover() -> Self {
        // A variable that is not UTF-8 cannot be a setting of floe.
        let variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut found = Self { user: user_file(), user_is_named: named_file().is_some(), ..Self::none() }
            .project_file("floe.toml")
            .variables(variables);
        found.is_found = true;
        found
    }

    /// Adds environment variables. Only names with the prefix `FLOE_` count.
    pub fn variables<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let ours = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.variables.extend(ours.filter(|(name, _): &(String, String)| name.starts_with("FLOE_")));
        self
    }

    /// Sets the file of the project.
    pub fn project_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.project = Some(path.into());
        self.is_found = false;
        self
    }

    /// Sets the file of the user.
    pub fn user_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.user = Some(path.into());
        self
    }

    /// Sets the profile, chosen on the command line or by the program. Its settings take precedence over variables.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Adds a setting of the command line: the flag, the full name of the setting (or `url`) and its value.
    pub fn flag(mut self, flag: &str, key: &str, value: impl Into<String>) -> Self {
        let origin = SettingOrigin::Flag(flag.to_owned());
        self.flags.push(Raw { key: key.to_owned(), text: value.into(), origin });
        self
    }

    /// Reads and merges all sources.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an unknown setting, an invalid value, an unknown profile, an unreadable file, or a
    /// discovered file that another user controls. It names the setting, the value and the source.
    pub fn load(self) -> Result<Config> {
        if let Some(path) = self.user.as_deref().filter(|path| self.user_is_named && !path.exists()) {
            return Err(invalid(format!("FLOE_CONFIG names {}, which does not exist", path.display())));
        }
        let user = self.user.as_deref().map(ConfigFile::read).transpose()?;
        let project = match &self.project {
            // The same file twice would shadow itself.
            Some(path) if self.user.as_deref().is_some_and(|user| same_file(user, path)) => None,
            Some(path) => {
                if self.is_found {
                    trust::check(path).map_err(invalid)?;
                }
                Some(ConfigFile::read(path)?)
            }
            None => None,
        };
        let files: Vec<&ConfigFile> = user.iter().chain(&project).collect();
        let variable = |wanted: &str| {
            self.variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let variables = self.read_variables()?;
        let by_file = || files.iter().rev().find_map(|file| file.current_profile());
        let named = self.profile.as_deref().or(variable("FLOE_PROFILE").filter(|name| !name.is_empty()));
        let profile = named.or_else(by_file);
        let mut of_profile = Vec::new();
        if let Some(name) = profile {
            let found: Vec<_> = files.iter().filter_map(|file| file.profiles.get(name)).collect();
            if found.is_empty() {
                return Err(no_such_profile(name, files.iter().flat_map(|file| file.profiles.keys())));
            }
            of_profile.extend(found.into_iter().flatten().cloned());
        }

        let mut config = Config { profile: profile.map(ToOwned::to_owned), ..Config::default() };
        let mut apply = |raws: &[Raw]| raws.iter().try_for_each(|raw| config.apply(raw));
        for file in &files {
            apply(&file.plain)?;
        }
        apply(&of_profile)?;
        // Unused profiles are validated too, so that a mistake surfaces when it is made.
        for file in &files {
            for raws in file.profiles.values() {
                raws.iter().try_for_each(|raw| Config::default().apply(raw))?;
            }
        }
        apply(&variables)?;
        if self.profile.is_some() {
            apply(&of_profile)?;
        }
        apply(&self.flags)?;
        config.check()?;
        Ok(config)
    }

    fn read_variables(&self) -> Result<Vec<Raw>> {
        let mut found = Vec::new();
        for (name, value) in &self.variables {
            // Shells unset a variable for one command by making it empty.
            if value.is_empty() {
                continue;
            }
            let origin = SettingOrigin::Environment(name.clone());
            if name == "FLOE_URL" {
                found.push(Raw { key: "url".to_owned(), text: value.clone(), origin });
                continue;
            }
            if VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let Some((section, key)) = name.trim_start_matches("FLOE_").split_once("__") else {
                match slip(name) {
                    Some(meant) => {
                        return Err(invalid(format!("unknown variable {name}: did you mean {meant}?")));
                    }
                    None => continue,
                }
            };
            let key = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
            found.push(Raw { key, text: value.clone(), origin });
        }
        Ok(found)
    }
}

/// The variable that a name without `__` was meant to be, if it is one slip away from it. Orchestrators and other programs
/// set variables that begin with `FLOE_` too, such as `FLOE_PORT` and `FLOE_SERVICE_HOST` for a service named `floe`; these
/// are not slips.
fn slip(name: &str) -> Option<String> {
    let settings = NAMES.iter().map(|key| as_written(key, &SettingOrigin::Environment(String::new())));
    let plain = VARIABLES.iter().map(|variable| (*variable).to_owned());
    settings.chain(plain).find(|meant| is_slip(name, &meant.replace("__", "_")))
}

/// Whether a word differs from another one by a letter, or by two neighbours that changed places.
fn is_slip(word: &str, meant: &str) -> bool {
    let (word, meant) = (word.as_bytes(), meant.as_bytes());
    let same = word.iter().zip(meant).take_while(|(one, other)| one == other).count();
    let (word, meant) = (word.get(same..).unwrap_or_default(), meant.get(same..).unwrap_or_default());
    match (word, meant) {
        ([], []) => true,
        ([_, rest @ ..], _) if rest == meant => true,
        (_, [_, rest @ ..]) if rest == word => true,
        ([_, word @ ..], [_, meant @ ..]) if word == meant => true,
        ([a, b, word @ ..], [c, d, meant @ ..]) => (a, b) == (d, c) && word == meant,
        _ => false,
    }
}

fn set_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The file that `FLOE_CONFIG` names.
fn named_file() -> Option<PathBuf> {
    set_path("FLOE_CONFIG")
}

/// Returns the path of the user's file: the one that `FLOE_CONFIG` names, else `floe/config.toml` in `$XDG_CONFIG_HOME`,
/// else in `~/.config`. `None` without a home directory.
#[must_use]
pub fn user_file() -> Option<PathBuf> {
    if let Some(named) = named_file() {
        return Some(named);
    }
    let folder = set_path("XDG_CONFIG_HOME").or_else(|| Some(set_path("HOME")?.join(".config")))?;
    Some(folder.join("floe").join("config.toml"))
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The error of an unknown setting, with its source and the closest valid name.
pub(super) fn unknown(key: &str, origin: &SettingOrigin) -> Error {
    let sections: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
    let hint = match key.split_once('.') {
        None if sections.contains(&key) => Some(format!("{key} is a section: write {key}.NAME or [{key}]")),
        None => nearest(key, &[&["url", "profile", "profiles"], sections.as_slice()].concat())
            .map(|near| format!("did you mean {near:?}?")),
        Some((section, _)) => {
            let inside: Vec<_> =
                NAMES.iter().copied().filter(|name| name.split('.').next() == Some(section)).collect();
            let known = if inside.is_empty() { &*NAMES } else { &inside };
            match nearest(key, known) {
                Some(near) => Some(format!("did you mean {:?}?", as_written(near, origin))),
                None if inside.is_empty() => Some(nearest(section, &sections).map_or_else(
                    || format!("the sections are {}", sections.join(", ")),
                    |near| format!("did you mean the section {near:?}?"),
                )),
                None => {
                    let names: Vec<_> = inside.iter().filter_map(|name| name.split('.').nth(1)).collect();
                    Some(format!("{section} has {}", names.join(", ")))
                }
            }
        }
    };
    let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
    invalid(format!("{origin}: unknown setting {:?}{hint}", as_written(key, origin)))
}

/// A key in the notation of its source.
fn as_written(key: &str, origin: &SettingOrigin) -> String {
    match origin {
        SettingOrigin::Environment(_) => format!("FLOE_{}", key.to_ascii_uppercase().replace('.', "__")),
        _ => key.to_owned(),
    }
}

pub(super) fn invalid(problem: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}
