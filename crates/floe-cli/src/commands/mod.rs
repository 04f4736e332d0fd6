//! One module for each command.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod consume;
pub(crate) mod dlq;
pub(crate) mod explain;
mod fluvio;
pub(crate) mod health;
pub(crate) mod offsets;
pub(crate) mod partition;
pub(crate) mod produce;
pub(crate) mod profile;
pub(crate) mod quickstart;
pub(crate) mod serve;
pub(crate) mod smartmodule;
pub(crate) mod spu;
pub(crate) mod topic;
mod transform;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use floe::Client;

use crate::{
    global::Global,
    exit::{Failure, Outcome},
};

/// Runs a command against the engine where the topics live and closes the engine, whatever comes of the command.
async fn with_client<T>(global: &Global, command: impl AsyncFnOnce(&Client) -> Outcome<T>) -> Outcome<T> {
    let client = Client::builder(&global.url).config(global.config.clone()).connect().await?;
    let outcome = command(&client).await;
    let closed = client.close().await;
    let done = outcome?;
    closed?;
    Ok(done)
}

/// Makes sure that something shall be destroyed: by `--yes`, else by asking, where there is a terminal to ask on.
fn confirm(yes: bool, what: &str) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{what} cannot be undone and there is no terminal to ask on"))
            .with_hint("add --yes to confirm"));
    }
    let mut answer = String::new();
    let mut stderr = io::stderr().lock();
    write!(stderr, "{what} cannot be undone. Go on? [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Failure::io("cannot ask for confirmation", &error))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::usage("not confirmed, nothing was changed"))
    }
}

/// Reads a size in memory that is at least 1.
fn parse_batch_size(text: &str) -> Result<usize, String> {
    let size = floe::units::parse_size(text).map_err(|error| error.message().to_owned())?;
    match usize::try_from(size) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(format!("{text:?} is no size for a batch")),
    }
}

/// Reads `key=value`; the value may hold more of `=`.
fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no parameter: write key=value")),
    }
}
