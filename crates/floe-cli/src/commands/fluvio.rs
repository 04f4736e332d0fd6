//! For the commands that only Fluvio clusters can do.

use floe::{
    Error,
    engine::{FluvioEngine, fluvio::FluvioAdmin},
    url::{EngineUrl, Scheme},
};

use crate::exit::Outcome;

/// Runs a command against the cluster at `url` and closes the connections, whatever comes of the command. Engines other
/// than Fluvio are refused before anything is opened; `ability` says what they lack.
pub(super) async fn with_admin<T>(
    url: &str,
    ability: &'static str,
    command: impl AsyncFnOnce(&FluvioAdmin) -> Outcome<T>,
) -> Outcome<T> {
    require(url, ability)?;
    let engine = FluvioEngine::connect(url).await?;
    let outcome = command(&engine.admin()).await;
    let closed = floe::engine::Engine::close(&engine).await;
    let done = outcome?;
    closed?;
    Ok(done)
}

/// Fails unless `url` names a Fluvio cluster.
pub(super) fn require(url: &str, ability: &'static str) -> Outcome {
    let scheme = url.parse::<EngineUrl>()?.scheme;
    match scheme {
        Scheme::Fluvio | Scheme::FluvioTls => Ok(()),
        other => Err(Error::unsupported(ability, other.as_str()).into()),
    }
}
