//! Commands and options that only a Fluvio cluster supports. No other module names the Fluvio engine.

pub(crate) mod partition;
pub(crate) mod profiles;
pub(crate) mod smartmodule;
pub(crate) mod smartmodule_options;
pub(crate) mod spu;
pub(crate) mod topic;

use floe::{
    Error,
    engine::fluvio::FluvioAdmin,
    url::{EngineUrl, Scheme},
};

use super::with_client;
use crate::{exit::Outcome, global::Global};

/// Runs a command against the cluster and closes the connections, even if the command fails. Rejects other engines before
/// it opens a connection; the error names `capability` as missing.
async fn with_admin<T>(
    global: &Global,
    capability: &'static str,
    command: impl AsyncFnOnce(&FluvioAdmin) -> Outcome<T>,
) -> Outcome<T> {
    require(&global.url, capability)?;
    with_client(global, async |client| command(client.fluvio()?).await).await
}

/// Whether `url` names a Fluvio cluster.
pub(super) fn is_fluvio(url: &str) -> bool {
    require(url, "").is_ok()
}

/// Fails unless `url` names a Fluvio cluster.
pub(super) fn require(url: &str, capability: &'static str) -> Outcome {
    let scheme = url.parse::<EngineUrl>()?.scheme;
    match scheme {
        Scheme::Fluvio | Scheme::FluvioTls => Ok(()),
        other => Err(Error::unsupported(capability, other.as_str()).into()),
    }
}
