//! `floe profile import fluvio`: profiles of the official Fluvio tools.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use floe::{
    config::ConfigFile,
    engine::fluvio::profile::ProfileFile,
    url::{EngineUrl, shown},
};
use serde_json::json;

use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    output::{amount, print_document},
    platform::create_private,
};

/// Imports the profiles `only`, or all, of `source`, or of the default file, into the user configuration file.
pub(crate) fn import(
    format: OutputFormat,
    mut user: ConfigFile,
    source: Option<&Path>,
    (only, overwrite): (&[String], bool),
) -> Outcome {
    let source = match source {
        Some(path) => ProfileFile::load(path)?,
        None => ProfileFile::load_default()?,
    };
    if let Some(unknown) = only.iter().find(|only| source.names().all(|name| name != only.as_str())) {
        let known: Vec<_> = source.names().collect();
        return Err(Failure::usage(format!("{} has no profile {unknown:?}", source.path().display()))
            .with_hint(format!("it has {}", known.join(", "))));
    }
    let names: Vec<_> =
        source.names().filter(|name| only.is_empty() || only.iter().any(|only| only == name)).collect();
    let existing: Vec<_> = names.iter().copied().filter(|name| user.profile(name).is_some()).collect();
    if !existing.is_empty() && !overwrite {
        return Err(Failure::usage(format!("these profiles exist: {}", existing.join(", ")))
            .with_hint("add --overwrite to replace their URLs"));
    }
    let directory = tls_directory(&user);
    let mut imported = Vec::new();
    for name in names {
        let mut url = source.url(Some(name))?;
        for (option, value) in &mut url.options {
            if value.trim_start().starts_with("-----BEGIN") {
                *value = store_pem(&directory, name, option, value)?;
            }
        }
        user.set_profile(name, &url.with_options())?;
        imported.push((name.to_owned(), shown(&url.with_options())));
    }
    // Saved last, so that an earlier failure leaves the profiles unchanged.
    user.save()?;
    report(format, &imported, &source, &user)
}

fn report(
    format: OutputFormat,
    imported: &[(String, String)],
    source: &ProfileFile,
    user: &ConfigFile,
) -> Outcome {
    let document = json!({
        "imported": imported.iter().map(|(name, url)| json!({ "name": name, "url": url })).collect::<Vec<_>>(),
        "from": source.path().display().to_string(),
        "file": user.path().display().to_string(),
    });
    let mut text: String = imported.iter().map(|(name, url)| format!("{name}: {url}\n")).collect();
    text.push_str(&format!(
        "imported {} from {} into {}\n",
        amount::count(imported.len() as u64, "profile"),
        source.path().display(),
        user.path().display()
    ));
    if let Some(current) = source.current().filter(|current| imported.iter().any(|(name, _)| name == current))
    {
        text.push_str(&format!("to use one: floe profile use {current}\n"));
    }
    print_document(format, &document, &text)
}

/// Directory of certificates and keys that an import wrote.
fn tls_directory(user: &ConfigFile) -> PathBuf {
    user.path().with_file_name("tls")
}

/// Removes the certificates and keys that an import wrote for the profile of this URL.
pub(crate) fn remove_pem(user: &ConfigFile, url: &str) -> Outcome {
    let Ok(url) = url.parse::<EngineUrl>() else { return Ok(()) };
    let directory = tls_directory(user);
    for path in url.options.values().map(Path::new).filter(|path| path.parent() == Some(&directory)) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(format!("cannot remove {}", path.display()), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes a PEM text to a file that only the user may read, and returns its path.
fn store_pem(directory: &Path, profile: &str, option: &str, pem: &str) -> Outcome<String> {
    let path = directory.join(format!("{}-{option}.pem", file_name(profile)));
    let failed = |error: io::Error| Failure::io(format!("cannot write {}", path.display()), &error);
    fs::create_dir_all(directory).map_err(failed)?;
    // Opening an existing file would keep its permissions.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = create_private(&path).map_err(failed)?;
    file.write_all(pem.as_bytes()).map_err(failed)?;
    let path = path.to_str().ok_or_else(|| {
        Failure::usage(format!("the path {} is not UTF-8, which a URL requires", path.display()))
    })?;
    Ok(path.to_owned())
}

/// A file name for a profile: different for different names, on file systems that ignore the case of letters too.
fn file_name(profile: &str) -> String {
    let mut name = String::with_capacity(profile.len());
    for byte in profile.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02x}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_never_share_a_file() {
        let names =
            ["prod.eu", "prod_eu", "prod/eu", "prod-eu", "Prod-eu", "prod_2eeu", "prod eu", "pröd-eu", ".."];
        let mut files: Vec<_> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(files[3], "prod-eu");
        assert!(files.iter().all(|file| file.bytes().all(|byte| byte != b'.' && byte != b'/')));
        files.sort();
        files.dedup();
        assert_eq!(files.len(), names.len());
    }
}
