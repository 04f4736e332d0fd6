//! `floe profile`: named engine URLs with settings, in the configuration files.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use clap::{Subcommand, ValueEnum};
use floe::{
    config::{ConfigFile, Settings, user_file},
    url::{EngineUrl, nearest, shown},
};
use serde_json::{Value, json};

use super::{confirm, fluvio::profiles};
use crate::{
    exit::{Failure, Outcome},
    global::{GlobalArgs, PROJECT_FILE},
    output::{List, print_document, print_list, table},
};

/// Name that stands for the profile used before.
const PREVIOUS: &str = "-";

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List the profiles of floe.toml and of the user file; a star marks the current one
    List,
    /// Select a profile; `-` selects the previous one
    Use {
        /// Name of the profile
        #[arg(allow_hyphen_values = true)]
        name: String,
    },
    /// Show the settings of a profile
    Show {
        /// Name of the profile [default: the current one]
        name: Option<String>,
    },
    /// Add a profile to the user file
    Add {
        /// Name of the profile
        name: String,
        /// URL of its engine
        url: String,
        /// Replace the URL of an existing profile
        #[arg(long)]
        overwrite: bool,
    },
    /// Remove a profile from the user file, with the certificates and keys that an import wrote for it
    Rm {
        /// Name of the profile
        name: String,
        /// Skip the confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Add the profiles of another tool to the user file
    Import {
        /// Tool to import from
        #[arg(value_enum)]
        from: Tool,
        /// Profile file of the tool [default: $FLV_PROFILE_PATH, or ~/.fluvio/config]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Import only this profile; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Replace the URLs of existing profiles
        #[arg(long)]
        overwrite: bool,
    },
}

/// Tools whose profiles can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// Official Fluvio command line
    Fluvio,
}

pub(crate) fn run(global: &GlobalArgs, command: ProfileCommand) -> Outcome {
    match command {
        ProfileCommand::List => list(global),
        ProfileCommand::Use { name } => select(global, &name),
        ProfileCommand::Show { name } => show(global, name),
        ProfileCommand::Add { name, url, overwrite } => add(global, &name, &url, overwrite),
        ProfileCommand::Rm { name, yes } => remove(global, &name, yes),
        ProfileCommand::Import { from: Tool::Fluvio, file, only, overwrite } => {
            profiles::import(global.output, user_config()?, file.as_deref(), (&only, overwrite))
        }
    }
}

/// Returns the path of the user configuration file.
fn user_path() -> Outcome<PathBuf> {
    user_file().ok_or_else(|| {
        Failure::usage("no home directory for a configuration file")
            .with_hint("set FLOE_CONFIG to the path of the file")
    })
}

fn user_config() -> Outcome<ConfigFile> {
    Ok(ConfigFile::read(user_path()?)?)
}

/// Returns the files with profiles, highest precedence first.
fn files() -> Outcome<Vec<ConfigFile>> {
    let (project, user) = (ConfigFile::read(PROJECT_FILE)?, user_config()?);
    // In the directory of the user file, both are the same file.
    let same =
        matches!((fs::canonicalize(project.path()), fs::canonicalize(user.path())), (Ok(a), Ok(b)) if a == b);
    Ok(if same { vec![user] } else { vec![project, user] })
}

/// Returns the names of all profiles.
pub(super) fn names() -> Outcome<BTreeSet<String>> {
    let files = files()?;
    Ok(files.iter().flat_map(ConfigFile::profiles).map(|(name, _)| name.to_owned()).collect())
}

/// Returns the name of the current profile.
fn current(global: &GlobalArgs, files: &[ConfigFile]) -> Option<String> {
    let named = || std::env::var("FLOE_PROFILE").ok().filter(|name| !name.is_empty());
    let by_file = || files.iter().find_map(ConfigFile::current_profile).map(ToOwned::to_owned);
    global.profile.clone().or_else(named).or_else(by_file)
}

/// Reports an unknown profile, with the nearest known name.
fn unknown(name: &str, files: &[ConfigFile]) -> Failure {
    let known: Vec<_> = files.iter().flat_map(ConfigFile::profiles).map(|(name, _)| name).collect();
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`floe profile list` lists the profiles; `floe profile add NAME URL` adds one".to_owned(),
    };
    Failure::usage(format!("unknown profile {name:?}")).with_hint(hint)
}

/// Returns the value of a setting with secrets masked.
fn shown_setting(key: &str, value: &str) -> String {
    let secret = Settings::reference()
        .iter()
        .any(|info| key == format!("{}.{}", info.section, info.name) && info.form.contains("secret"));
    match key {
        "url" => shown(value),
        // The location of a secret is not secret.
        _ if secret && !value.starts_with("env:") && !value.starts_with("file:") => "***".to_owned(),
        _ => value.to_owned(),
    }
}

fn list(global: &GlobalArgs) -> Outcome {
    let files = files()?;
    let used = current(global, &files);
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    for file in &files {
        for (name, url) in file.profiles() {
            let (is_used, url) = (used.as_deref() == Some(name), url.map(shown));
            documents.push(json!({
                "name": name, "in_use": is_used, "url": url, "file": file.path().display().to_string(),
            }));
            rows.push(vec![
                if is_used { "*" } else { "" }.to_owned(),
                name.to_owned(),
                url.unwrap_or_else(|| "-".to_owned()),
                file.path().display().to_string(),
            ]);
        }
    }
    let headings = vec!["current", "name", "url", "file"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

fn show(global: &GlobalArgs, name: Option<String>) -> Outcome {
    let files = files()?;
    let used = current(global, &files);
    let Some(name) = name.or_else(|| used.clone()) else {
        return Err(Failure::usage("no profile is selected").with_hint("name one: `floe profile show NAME`"));
    };
    let found: Vec<_> = files.iter().filter_map(|file| Some((file, file.profile(&name)?))).collect();
    if found.is_empty() {
        return Err(unknown(&name, &files));
    }
    let mut text = format!("# {name}{}\n", if used.as_ref() == Some(&name) { ", current" } else { "" });
    let mut settings = serde_json::Map::new();
    for (file, entries) in &found {
        text.push_str(&format!("# {}\n", file.path().display()));
        for (key, value) in entries {
            let value = shown_setting(key, value);
            text.push_str(&format!("{key} = {}\n", Value::from(value.as_str())));
            // The first file has precedence.
            settings.entry((*key).to_owned()).or_insert_with(|| value.into());
        }
    }
    let paths: Vec<_> = found.iter().map(|(file, _)| file.path().display().to_string()).collect();
    let document =
        json!({ "name": name, "in_use": used.as_ref() == Some(&name), "files": paths, "settings": settings });
    print_document(global.output, &document, &text)
}

fn select(global: &GlobalArgs, name: &str) -> Outcome {
    let path = user_path()?;
    let mut user = ConfigFile::read(&path)?;
    let previous = path.with_file_name("previous-profile");
    let name = if name == PREVIOUS {
        match fs::read_to_string(&previous) {
            Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
            Ok(_) => return Err(Failure::usage("no previous profile")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::usage("no previous profile"));
            }
            Err(error) => return Err(Failure::io(format!("cannot read {}", previous.display()), &error)),
        }
    } else {
        name.to_owned()
    };
    if user.profile(&name).is_none() {
        let files = files()?;
        // The command does not edit a project file, which takes precedence over the user file.
        return Err(match files.iter().find(|file| file.profile(&name).is_some()) {
            Some(file) => Failure::usage(format!(
                "profile {name:?} is in {}, not in the user file",
                file.path().display()
            ))
            .with_hint(format!("set profile = {name:?} there, or select it once with --profile {name}")),
            None => unknown(&name, &files),
        });
    }
    let before = user.current_profile().map(ToOwned::to_owned);
    user.use_profile(Some(&name))?;
    user.save()?;
    if let Some(before) = before.filter(|before| *before != name) {
        fs::write(&previous, before)
            .map_err(|error| Failure::io(format!("cannot write {}", previous.display()), &error))?;
    }
    let url = user.profiles().find(|(known, _)| *known == name).and_then(|(_, url)| url).map(shown);
    let text = match &url {
        Some(url) => format!("using profile {name}: {url}\n"),
        None => format!("using profile {name}\n"),
    };
    print_document(global.output, &json!({ "profile": name, "url": url }), &text)
}

fn add(global: &GlobalArgs, name: &str, url: &str, overwrite: bool) -> Outcome {
    // An invalid URL fails now and not at the first use of the profile.
    url.parse::<EngineUrl>()?;
    let mut user = user_config()?;
    if user.profile(name).is_some() && !overwrite {
        return Err(Failure::usage(format!("profile {name:?} exists"))
            .with_hint("add --overwrite to replace its URL"));
    }
    user.set_profile(name, url)?;
    user.save()?;
    let text = format!("added profile {name} to {}\n", user.path().display());
    print_document(global.output, &json!({ "added": name, "file": user.path().display().to_string() }), &text)
}

fn remove(global: &GlobalArgs, name: &str, yes: bool) -> Outcome {
    let mut user = user_config()?;
    if user.profile(name).is_none() {
        return Err(unknown(name, &files()?));
    }
    confirm(yes, &format!("removing profile {name} from {}", user.path().display()))?;
    let url =
        user.profiles().find(|(known, _)| *known == name).and_then(|(_, url)| url).map(ToOwned::to_owned);
    user.remove_profile(name)?;
    user.save()?;
    // Last: a profile without its key would be of no use.
    url.map_or(Ok(()), |url| profiles::remove_pem(&user, &url))?;
    print_document(global.output, &json!({ "removed": name }), &format!("removed profile {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(shown("fluvio+tls://h?key=/a.pem"), "fluvio+tls://h?key=/a.pem");
        let inline = shown("fluvio+tls://h?key=-----BEGIN%20KEY-----abc&window=3");
        assert_eq!(inline, "fluvio+tls://h:9003?key=HIDDEN&window=3");
        assert_eq!(shown("nonsense"), "nonsense");
        let secrets: Vec<_> =
            Settings::reference().into_iter().filter(|info| info.form.contains("secret")).collect();
        assert!(!secrets.is_empty());
        for info in secrets {
            let key = format!("{}.{}", info.section, info.name);
            assert_eq!(shown_setting(&key, "abc"), "***");
            assert_eq!(shown_setting(&key, "env:TOKEN"), "env:TOKEN");
        }
        assert_eq!(shown_setting("producer.linger", "5ms"), "5ms");
    }
}
