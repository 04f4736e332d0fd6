//! One module for each command; the commands of one engine alone lie in a directory of that engine.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod check_history;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod consume;
pub(crate) mod copy;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod export;
mod export_file;
pub(crate) mod fluvio;
mod gaps;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod man_pages;
mod name_pattern;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod profile;
pub(crate) mod quickstart;
mod selection;
pub(crate) mod serve;
pub(crate) mod serve_access;
pub(crate) mod top;
pub(crate) mod topic;
mod topic_settings;

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use floe::{
    Client, ErrorKind,
    url::{EngineUrl, Scheme},
};

use tokio::time::Instant;

use crate::{
    exit::{Failure, Outcome},
    global::Global,
    server_watch::ServerWatch,
};

/// Pause between looks at a store in use, or at a topic that does not exist.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs a command against the engine and closes the engine, even if the command fails.
async fn with_client<T>(global: &Global, command: impl AsyncFnOnce(&Client) -> Outcome<T>) -> Outcome<T> {
    let command = async |client: &Client| {
        let outcome = command(client).await;
        let closed = client.close().await;
        let done = outcome?;
        closed?;
        Ok(done)
    };
    let builder = || Client::builder(&global.url).config(global.config.clone());
    match ServerWatch::of(&global.url) {
        Some(watch) => watch.over(builder(), command).await,
        None => {
            let store = wait_while((global, ErrorKind::StoreInUse), async || builder().connect().await).await;
            command(&store?).await
        }
    }
}

/// Repeats an attempt that fails with `kind`, as long as --wait allows.
async fn wait_while<T>(
    (global, kind): (&Global, ErrorKind),
    attempt: impl AsyncFn() -> floe::Result<T>,
) -> floe::Result<T> {
    let began = Instant::now();
    loop {
        match attempt().await {
            Err(error) if error.kind() == kind && began.elapsed() < global.wait => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// Waits for a topic as far as --wait allows. The caller reports what is wrong then.
async fn wait_for_topic(global: &Global, client: &Client, topic: &str) {
    if !global.wait.is_zero() {
        let look = async || client.admin().topic(topic).await;
        let _ = wait_while((global, ErrorKind::TopicNotFound), look).await;
    }
}

/// Returns the directory of the store that a URL names: each namespace is a store of its own. None for other engines.
fn store_directory(url: &str) -> Outcome<Option<PathBuf>> {
    let url: EngineUrl = url.parse()?;
    if url.scheme != Scheme::Embedded {
        return Ok(None);
    }
    Ok(Some(match url.options.get("namespace") {
        Some(namespace) => url.path.join(namespace),
        None => url.path,
    }))
}

/// As [`with_client`], for a command that needs what the store has: it never creates one.
async fn with_reader<T>(global: &Global, command: impl AsyncFnOnce(&Client) -> Outcome<T>) -> Outcome<T> {
    let mut global = global.clone();
    let empty = store_directory(&global.url)?.filter(|directory| {
        // A directory that cannot be listed is not empty, and the engine says so.
        fs::read_dir(directory)
            .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |mut files| files.next().is_none())
    });
    if let Ok(mut url) = global.url.parse::<EngineUrl>()
        && url.scheme == Scheme::Embedded
    {
        url.options.entry("mode".to_owned()).or_insert_with(|| "existing".to_owned());
        global.url = url.with_options();
    }
    with_client(&global, command).await.map_err(|failure| match empty {
        Some(directory) if failure.code() == ErrorKind::TopicNotFound.as_str() => failure.with_hint(format!(
            "there is no store in {}: create the topic there, or name another store with --url or FLOE_URL",
            directory.display()
        )),
        _ => failure,
    })
}

/// Returns the URL of an embedded store, with characters that have a meaning in a URL escaped.
fn embedded_url(path: &Path) -> String {
    let mut url = EngineUrl::new(Scheme::Embedded);
    url.path = path.to_path_buf();
    url.with_options()
}

/// Confirms a destructive action: by `--yes`, or by a question on the terminal.
fn confirm(yes: bool, action: &str) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!(
            "{action} cannot be undone, and there is no terminal for a confirmation"
        ))
        .with_hint("add --yes to confirm"));
    }
    let mut answer = String::new();
    let mut stderr = io::stderr().lock();
    write!(stderr, "{action} cannot be undone. Continue? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Failure::io("cannot ask for confirmation", &error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::usage("not confirmed; nothing was changed"))
    }
}

/// Parses a batch size of at least 1 byte that fits in memory.
fn parse_batch_size(text: &str) -> Result<usize, String> {
    let size = floe::units::parse_size(text).map_err(|error| error.message().to_owned())?;
    match usize::try_from(size) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(format!("invalid batch size {text:?}")),
    }
}

/// Parses `key=value`; the value may contain `=`.
fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("invalid parameter {text:?}: use key=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_directory_and_so_has_each_namespace() {
        let odd = embedded_url(Path::new("a?b%c"));
        assert_eq!(store_directory(&format!("{odd}?durability=os")).unwrap(), Some("a?b%c".into()));
        assert_eq!(store_directory("embedded:data?namespace=blue").unwrap(), Some("data/blue".into()));
        assert_eq!(store_directory("memory:").unwrap(), None);
        assert!(store_directory("nonsense").is_err());
    }
}
