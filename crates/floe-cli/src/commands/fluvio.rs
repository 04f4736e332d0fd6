//! For the commands that only Fluvio clusters can do.

use floe::{
    Error,
    engine::fluvio::FluvioAdmin,
    url::{EngineUrl, Scheme},
};

use super::with_client;
use crate::{exit::Outcome, global::Global};

/// Runs a command against the cluster and closes the connections, whatever comes of the command. Engines other than Fluvio
/// are refused before anything is opened; `ability` says what they lack.
pub(super) async fn with_admin<T>(
    global: &Global,
    ability: &'static str,
    command: impl AsyncFnOnce(&FluvioAdmin) -> Outcome<T>,
) -> Outcome<T> {
    require(&global.url, ability)?;
    with_client(global, async |client| command(client.fluvio()?).await).await
}

/// Fails unless `url` names a Fluvio cluster.
pub(super) fn require(url: &str, ability: &'static str) -> Outcome {
    let scheme = url.parse::<EngineUrl>()?.scheme;
    match scheme {
        Scheme::Fluvio | Scheme::FluvioTls => Ok(()),
        other => Err(Error::unsupported(ability, other.as_str()).into()),
    }
}
