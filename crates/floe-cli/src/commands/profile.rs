//! `floe profile`: named engines with their settings, in the configuration files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use floe::{
    config::{ConfigFile, Settings, user_file},
    engine::fluvio::profile::ProfileFile,
    url::{EngineUrl, nearest, shown},
};
use serde_json::{Value, json};

use super::confirm;
use crate::{
    global::{GlobalArgs, PROJECT_FILE},
    exit::{Failure, Outcome},
    output::{List, amount, print_document, print_list, table},
};

/// The name that means the profile that was in use before.
const PREVIOUS: &str = "-";

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// List the profiles of floe.toml and of your own file; a star marks the one in use
    List,
    /// Use a profile from now on; `-` is the one before
    Use {
        /// Name of the profile
        #[arg(allow_hyphen_values = true)]
        name: String,
    },
    /// Show what a profile sets
    Show {
        /// Name of the profile [default: the one in use]
        name: Option<String>,
    },
    /// Add a profile to your own file
    Add {
        /// Name of the profile
        name: String,
        /// Where its topics live
        url: String,
        /// Replace the URL of a profile that is there
        #[arg(long)]
        overwrite: bool,
    },
    /// Remove a profile from your own file
    Rm {
        /// Name of the profile
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Add the profiles of another tool to your own file
    Import {
        /// The tool
        #[arg(value_enum)]
        from: Tool,
        /// Its profile file [default: $FLV_PROFILE_PATH, or ~/.fluvio/config]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Replace the URLs of profiles that are there
        #[arg(long)]
        overwrite: bool,
    },
}

/// Tools that have profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// The official command line of Fluvio
    Fluvio,
}

pub(crate) fn run(global: &GlobalArgs, command: ProfileCommand) -> Outcome {
    match command {
        ProfileCommand::List => list(global),
        ProfileCommand::Use { name } => choose(global, &name),
        ProfileCommand::Show { name } => show(global, name),
        ProfileCommand::Add { name, url, overwrite } => add(global, &name, &url, overwrite),
        ProfileCommand::Rm { name, yes } => remove(global, &name, yes),
        ProfileCommand::Import { from: Tool::Fluvio, file, overwrite } => {
            import_fluvio(global, file.as_deref(), overwrite)
        }
    }
}

/// Where the user's own file is.
fn own_path() -> Outcome<PathBuf> {
    let named = std::env::var_os("FLOE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(user_file).ok_or_else(|| {
        Failure::usage("there is no home folder for a configuration file")
            .with_hint("name the file with FLOE_CONFIG")
    })
}

/// The files with profiles, the strongest first.
fn files() -> Outcome<Vec<ConfigFile>> {
    let (project, own) = (ConfigFile::read(PROJECT_FILE)?, ConfigFile::read(own_path()?)?);
    // From the folder of the user's file both are one.
    let same =
        matches!((fs::canonicalize(project.path()), fs::canonicalize(own.path())), (Ok(a), Ok(b)) if a == b);
    Ok(if same { vec![own] } else { vec![project, own] })
}

/// Name of the profile in use.
fn in_use(global: &GlobalArgs, files: &[ConfigFile]) -> Option<String> {
    let named = || std::env::var("FLOE_PROFILE").ok().filter(|name| !name.is_empty());
    let by_file = || files.iter().find_map(ConfigFile::current_profile).map(ToOwned::to_owned);
    global.profile.clone().or_else(named).or_else(by_file)
}

/// There is no profile of this name.
fn unknown(name: &str, files: &[ConfigFile]) -> Failure {
    let known: Vec<_> = files.iter().flat_map(ConfigFile::profiles).map(|(name, _)| name).collect();
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`floe profile list` shows them; `floe profile add NAME URL` adds one".to_owned(),
    };
    Failure::usage(format!("there is no profile {name:?}")).with_hint(hint)
}

/// A setting as it may be seen.
fn shown_setting(key: &str, value: &str) -> String {
    let secret = Settings::reference()
        .iter()
        .any(|info| key == format!("{}.{}", info.section, info.name) && info.form.contains("secret"));
    match key {
        "url" => shown(value),
        // Where a secret is kept is none.
        _ if secret && !value.starts_with("env:") && !value.starts_with("file:") => "***".to_owned(),
        _ => value.to_owned(),
    }
}

fn list(global: &GlobalArgs) -> Outcome {
    let files = files()?;
    let used = in_use(global, &files);
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
    let headings = vec!["used", "name", "url", "file"];
    let text = if rows.is_empty() { String::new() } else { table(&headings, &rows) };
    print_list(global.output, &List { headings, rows, documents, text })
}

fn show(global: &GlobalArgs, name: Option<String>) -> Outcome {
    let files = files()?;
    let used = in_use(global, &files);
    let Some(name) = name.or_else(|| used.clone()) else {
        return Err(Failure::usage("no profile is in use").with_hint("name one: `floe profile show NAME`"));
    };
    let found: Vec<_> = files.iter().filter_map(|file| Some((file, file.profile(&name)?))).collect();
    if found.is_empty() {
        return Err(unknown(&name, &files));
    }
    let mut text = format!("# {name}{}\n", if used.as_ref() == Some(&name) { ", in use" } else { "" });
    let mut settings = serde_json::Map::new();
    for (file, entries) in &found {
        text.push_str(&format!("# {}\n", file.path().display()));
        for (key, value) in entries {
            let value = shown_setting(key, value);
            text.push_str(&format!("{key} = {}\n", Value::from(value.as_str())));
            // The first file is the strongest.
            settings.entry((*key).to_owned()).or_insert_with(|| value.into());
        }
    }
    let paths: Vec<_> = found.iter().map(|(file, _)| file.path().display().to_string()).collect();
    let document =
        json!({ "name": name, "in_use": used.as_ref() == Some(&name), "files": paths, "settings": settings });
    print_document(global.output, &document, &text)
}

fn choose(global: &GlobalArgs, name: &str) -> Outcome {
    let path = own_path()?;
    let mut own = ConfigFile::read(&path)?;
    let memory = path.with_file_name("previous-profile");
    let name = if name == PREVIOUS {
        match fs::read_to_string(&memory) {
            Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
            Ok(_) => return Err(Failure::usage("no profile was in use before")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::usage("no profile was in use before"));
            }
            Err(error) => return Err(Failure::io(format!("cannot read {}", memory.display()), &error)),
        }
    } else {
        name.to_owned()
    };
    if own.profile(&name).is_none() {
        let files = files()?;
        // The file of a project belongs to the project; what it says goes before ours anyway.
        return Err(match files.iter().find(|file| file.profile(&name).is_some()) {
            Some(file) => Failure::usage(format!(
                "profile {name:?} is in {}, not in your own file",
                file.path().display()
            ))
            .with_hint(format!("write profile = {name:?} there, or use it once with --profile {name}")),
            None => unknown(&name, &files),
        });
    }
    let before = own.current_profile().map(ToOwned::to_owned);
    own.use_profile(Some(&name))?;
    own.save()?;
    if let Some(before) = before.filter(|before| *before != name) {
        fs::write(&memory, before)
            .map_err(|error| Failure::io(format!("cannot write {}", memory.display()), &error))?;
    }
    let url = own.profiles().find(|(known, _)| *known == name).and_then(|(_, url)| url).map(shown);
    let text = match &url {
        Some(url) => format!("using profile {name}: {url}\n"),
        None => format!("using profile {name}\n"),
    };
    print_document(global.output, &json!({ "profile": name, "url": url }), &text)
}

fn add(global: &GlobalArgs, name: &str, url: &str, overwrite: bool) -> Outcome {
    // A mistake is found now and not when the profile is used.
    url.parse::<EngineUrl>()?;
    let mut own = ConfigFile::read(own_path()?)?;
    if own.profile(name).is_some() && !overwrite {
        return Err(Failure::usage(format!("there is a profile {name:?}"))
            .with_hint("add --overwrite to replace its URL"));
    }
    own.set_profile(name, url)?;
    own.save()?;
    let text = format!("added profile {name} to {}\n", own.path().display());
    print_document(global.output, &json!({ "added": name, "file": own.path().display().to_string() }), &text)
}

fn remove(global: &GlobalArgs, name: &str, yes: bool) -> Outcome {
    let mut own = ConfigFile::read(own_path()?)?;
    if own.profile(name).is_none() {
        return Err(unknown(name, &files()?));
    }
    confirm(yes, &format!("removing profile {name} from {}", own.path().display()))?;
    own.remove_profile(name)?;
    own.save()?;
    print_document(global.output, &json!({ "removed": name }), &format!("removed profile {name}\n"))
}

fn import_fluvio(global: &GlobalArgs, file: Option<&Path>, overwrite: bool) -> Outcome {
    let theirs = match file {
        Some(path) => ProfileFile::load(path)?,
        None => ProfileFile::load_default()?,
    };
    let mut own = ConfigFile::read(own_path()?)?;
    let taken: Vec<_> = theirs.names().filter(|name| own.profile(name).is_some()).collect();
    if !taken.is_empty() && !overwrite {
        return Err(Failure::usage(format!("there are profiles of these names: {}", taken.join(", ")))
            .with_hint("add --overwrite to replace their URLs"));
    }
    let folder = own.path().with_file_name("tls");
    let mut imported = Vec::new();
    for name in theirs.names() {
        let mut url = theirs.url(Some(name))?;
        for (option, value) in &mut url.options {
            if value.trim_start().starts_with("-----BEGIN") {
                *value = keep_apart(&folder, name, option, value)?;
            }
        }
        own.set_profile(name, &url.with_options())?;
        imported.push((name.to_owned(), shown(&url.with_options())));
    }
    // Last, so that a failure before leaves the profiles as they were.
    own.save()?;
    let document = json!({
        "imported": imported.iter().map(|(name, url)| json!({ "name": name, "url": url })).collect::<Vec<_>>(),
        "from": theirs.path().display().to_string(),
        "file": own.path().display().to_string(),
    });
    let mut text: String = imported.iter().map(|(name, url)| format!("{name}: {url}\n")).collect();
    text.push_str(&format!(
        "imported {} from {} into {}\n",
        amount::count(imported.len() as u64, "profile"),
        theirs.path().display(),
        own.path().display()
    ));
    if let Some(current) = theirs.current() {
        text.push_str(&format!("to use one: floe profile use {current}\n"));
    }
    print_document(global.output, &document, &text)
}

/// Puts a PEM text into a file that only the user may read, and gives its path.
fn keep_apart(folder: &Path, profile: &str, option: &str, pem: &str) -> Outcome<String> {
    // The name of a profile may hold anything.
    let safe: String = profile
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
        .collect();
    let path = folder.join(format!("{safe}-{option}.pem"));
    let failed = |error: io::Error| Failure::io(format!("cannot write {}", path.display()), &error);
    fs::create_dir_all(folder).map_err(failed)?;
    // Made anew, since the rights of a file that is there stay as they are.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(failed)?;
    io::Write::write_all(&mut file, pem.as_bytes()).map_err(failed)?;
    let path = path.to_str().ok_or_else(|| {
        Failure::usage(format!("the path {} is not UTF-8, which a URL must be", path.display()))
    })?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
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
