//! Configuration files with profiles: `floe.toml` of a project, and the user's own.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{origin::SettingOrigin, raw::Raw};
use crate::{Error, ErrorKind, Result};

/// A configuration file. Edits keep comments and formatting.
///
/// ```toml
/// profile = "staging"          # the default profile
/// url = "embedded:./data"
///
/// [producer]
/// linger = "2ms"
///
/// [profiles.staging]
/// url = "fluvio://sc.staging:9003"
/// producer.linger = "5ms"
/// ```
#[derive(Clone)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
    /// Settings outside of profiles.
    pub(super) plain: Vec<Raw>,
    pub(super) profiles: BTreeMap<String, Vec<Raw>>,
    current: Option<String>,
}

/// Omits the text, which may hold secrets.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ConfigFile {
    /// Reads a file. A missing file counts as empty.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] with the file, the line and the problem, or why the file cannot be read.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = match fs::read_to_string(&path) {
            // Editors on Windows put a byte order mark in front.
            Ok(text) => text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unusable("read", &path, error)),
        };
        Self::parse(path, text)
    }

    /// As [`ConfigFile::read`], from text.
    ///
    /// # Errors
    /// As [`ConfigFile::read`].
    pub fn parse(path: impl Into<PathBuf>, text: impl Into<String>) -> Result<Self> {
        let mut file = Self {
            path: path.into(),
            text: text.into(),
            plain: Vec::new(),
            profiles: BTreeMap::new(),
            current: None,
        };
        let text = file.text.clone();
        let root = DeTable::parse(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            file.invalid(line, error.message())
        })?;
        for (key, value) in root.get_ref() {
            let line = line_of(&text, key.span().start);
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("profile", DeValue::String(name)) => file.current = Some(name.to_string()),
                ("profile", _) => return Err(file.invalid(line, "profile is the name of a profile, as text")),
                ("profiles", DeValue::Table(profiles)) => {
                    for (name, settings) in profiles {
                        let line = line_of(&text, name.span().start);
                        let DeValue::Table(settings) = settings.get_ref() else {
                            return Err(file.invalid(line, "a profile is a table: write [profiles.NAME]"));
                        };
                        let name = name.get_ref().to_string();
                        let found = file.collect(settings, Some(&name))?;
                        file.profiles.insert(name, found);
                    }
                }
                ("profiles", _) => return Err(file.invalid(line, "write [profiles.NAME]")),
                (_, _) => {}
            }
        }
        let plain: DeTable<'_> = root
            .get_ref()
            .iter()
            .filter(|(key, _)| !matches!(key.get_ref().as_ref(), "profile" | "profiles"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        file.plain = file.collect(&plain, None)?;
        Ok(file)
    }

    /// Collects the settings of a table: `url`, and one table per section.
    fn collect(&self, table: &DeTable<'_>, profile: Option<&str>) -> Result<Vec<Raw>> {
        let mut found = Vec::new();
        let mut add = |key: String, at: usize, value: &Spanned<DeValue<'_>>| {
            let line = line_of(&self.text, at);
            let text = plain_text(value.get_ref())
                .ok_or_else(|| self.invalid(line, &format!("{key} must be text, a number, true or false")))?;
            let origin = SettingOrigin::File {
                path: self.path.clone(),
                line,
                profile: profile.map(ToOwned::to_owned),
            };
            found.push(Raw { key, text, origin });
            Ok::<(), Error>(())
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match value.get_ref() {
                DeValue::Table(section) => {
                    for (key, value) in section {
                        add(format!("{name}.{}", key.get_ref()), key.span().start, value)?;
                    }
                }
                _ => add(name.to_owned(), key.span().start, value)?,
            }
        }
        Ok(found)
    }

    fn invalid(&self, line: usize, problem: &str) -> Error {
        Error::new(ErrorKind::InvalidConfig, format!("{}:{line}: {problem}", self.path.display()))
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the names of the profiles, with their URLs where they have one.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.profiles.iter().map(|(name, settings)| (name.as_str(), url_of(settings)))
    }

    /// Returns the settings of a profile as keys and values; `None` without such a profile.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<Vec<(&str, &str)>> {
        let settings = self.profiles.get(name)?;
        Some(settings.iter().map(|raw| (raw.key.as_str(), raw.text.as_str())).collect())
    }

    /// Returns the default profile of this file.
    #[must_use]
    pub fn current_profile(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Adds a profile, or changes the URL of one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for an empty name or `-`, and for a file whose profiles are not written as
    /// `[profiles.NAME]` and cannot be edited in place.
    pub fn set_profile(&mut self, name: &str, url: &str) -> Result<()> {
        if name.is_empty() || name == "-" {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{name:?} is not a valid profile name"),
            ));
        }
        let mut text = self.text.clone();
        let place = {
            let root = parse(&text);
            let settings = root
                .as_ref()
                .and_then(|root| root.get("profiles"))
                .and_then(|profiles| profiles.get_ref().as_table())
                .and_then(|profiles| profiles.get(name));
            settings.map(|settings| {
                settings.get_ref().as_table().and_then(|table| table.get("url")).map(Spanned::span)
            })
        };
        match place {
            Some(Some(span)) => text.replace_range(span, &quoted(url)),
            Some(None) => match header_of(&text, name) {
                Some((_, end)) => text.insert_str(end, &format!("url = {}\n", quoted(url))),
                None => return Err(self.not_in_place(name)),
            },
            None => {
                if !text.is_empty() {
                    text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
                }
                text.push_str(&format!("[profiles.{}]\nurl = {}\n", key(name), quoted(url)));
            }
        }
        self.change(text, |file| file.profiles.get(name).and_then(|settings| url_of(settings)) == Some(url))
    }

    /// Removes a profile, also as the default profile. Returns false if there is none of that name.
    ///
    /// # Errors
    /// As [`ConfigFile::set_profile`].
    pub fn remove_profile(&mut self, name: &str) -> Result<bool> {
        if !self.profiles.contains_key(name) {
            return Ok(false);
        }
        // Removes its table and all subtables, such as [profiles.NAME.producer], wherever they are.
        let mut inside = false;
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.split_inclusive('\n') {
            if let Some(header) = table_header(line) {
                inside = header.first().is_some_and(|first| first == "profiles")
                    && header.get(1).is_some_and(|second| second == name);
            }
            if !inside {
                text.push_str(line);
            }
        }
        if self.current.as_deref() == Some(name) {
            text = without_current(&text);
        }
        self.change(text, |file| !file.profiles.contains_key(name) && file.current.as_deref() != Some(name))?;
        Ok(true)
    }

    /// Sets the default profile; `None` for none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] without such a profile.
    pub fn use_profile(&mut self, name: Option<&str>) -> Result<()> {
        let text = match name {
            None => without_current(&self.text),
            Some(name) => {
                if !self.profiles.contains_key(name) {
                    return Err(no_such_profile(name, self.profiles.keys()));
                }
                let place = parse(&self.text).and_then(|root| root.get("profile").map(Spanned::span));
                let mut text = self.text.clone();
                match place {
                    Some(span) => text.replace_range(span, &quoted(name)),
                    None => text.insert_str(0, &format!("profile = {}\n", quoted(name))),
                }
                text
            }
        };
        self.change(text, |file| file.current.as_deref() == name)
    }

    /// Adopts `text` if it parses and has the intended effect. The edits above work on text, so the result is verified.
    fn change(&mut self, text: String, meant: impl Fn(&Self) -> bool) -> Result<()> {
        let changed = Self::parse(self.path.clone(), text)?;
        if !meant(&changed) {
            return Err(self.not_in_place("…"));
        }
        *self = changed;
        Ok(())
    }

    fn not_in_place(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::InvalidConfig,
            format!(
                "{} cannot be edited in place: write its profiles as [profiles.{name}], or edit it by hand",
                self.path.display()
            ),
        )
    }

    /// Writes the file atomically. On Unix only the user may read it (mode 0600), since it may hold secrets.
    ///
    /// # Errors
    /// [`ErrorKind::StorageError`] with the path of the file.
    pub fn save(&self) -> Result<()> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::StorageError, format!("cannot write {}", self.path.display()))
                .with_source(error)
        };
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = folder.join(name);
        let write = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&beside)?;
            file.write_all(self.text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| {
            // The write error is reported; a leftover temporary file is harmless.
            let _ = fs::remove_file(&beside);
            failed(error)
        })
    }
}

/// The error of an unknown profile, with the closest name among `known`.
pub(super) fn no_such_profile<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<_> = known.map(String::as_str).collect();
    let hint = match crate::url::nearest(name, &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "no file has a profile".to_owned(),
        None => format!("the profiles are {}", known.join(", ")),
    };
    Error::new(ErrorKind::InvalidConfig, format!("no profile {name:?}: {hint}"))
}

fn unusable(verb: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("cannot {verb} {}: {error}", path.display()))
        .with_source(error)
}

fn url_of(settings: &[Raw]) -> Option<&str> {
    settings.iter().find(|raw| raw.key == "url").map(|raw| raw.text.as_str())
}

/// Parses text that was parsed before, so that an error cannot occur.
fn parse(text: &str) -> Option<DeTable<'_>> {
    DeTable::parse(text).ok().map(Spanned::into_inner)
}

/// Converts a scalar to the text that a variable would hold; `None` for other values.
fn plain_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The parts of the header of a table, if `line` is one.
fn table_header(line: &str) -> Option<Vec<String>> {
    let rest = line.trim_start();
    if !rest.starts_with('[') || rest.starts_with("[[") {
        return None;
    }
    // Parsed alone, the header is a chain of tables with one key each.
    let alone = parse(rest)?;
    let mut path = Vec::new();
    let mut table = &alone;
    while let Some((key, value)) = table.iter().next() {
        path.push(key.get_ref().to_string());
        table = value.get_ref().as_table()?;
    }
    Some(path)
}

/// Start and end of the line `[profiles.NAME]`.
fn header_of(text: &str, name: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if table_header(line).is_some_and(|header| header == ["profiles", name]) {
            return line.ends_with('\n').then_some((at, at + line.len()));
        }
        at += line.len();
    }
    None
}

/// Removes the line that sets the default profile.
fn without_current(text: &str) -> String {
    let Some(span) = parse(text).and_then(|root| root.get("profile").map(Spanned::span)) else {
        return text.to_owned();
    };
    let mut at = 0;
    text.split_inclusive('\n')
        .filter(|line| {
            let range = at..at + line.len();
            at = range.end;
            !range.contains(&span.start)
        })
        .collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests;
