//! Opens the engine that a URL names.

use std::sync::Arc;

#[cfg(feature = "embedded")]
use crate::engine::EmbeddedEngine;
#[cfg(feature = "walrus")]
use crate::engine::WalrusEngine;
#[cfg(feature = "fluvio")]
use crate::engine::{FluvioEngine, fluvio::FluvioAdmin};
use crate::{
    Error, ErrorKind, Result, WallClock,
    config::Settings,
    engine::SharedEngine,
    net::{Dial, TcpDial},
    url::{EngineUrl, Scheme},
};

/// An engine that a URL named.
pub(super) struct OpenedEngine {
    pub(super) engine: SharedEngine,
    /// Administration of a Fluvio cluster, without retries.
    #[cfg(feature = "fluvio")]
    pub(super) fluvio: Option<FluvioAdmin>,
}

impl OpenedEngine {
    pub(super) fn new(engine: SharedEngine) -> Self {
        Self {
            engine,
            #[cfg(feature = "fluvio")]
            fluvio: None,
        }
    }
}

/// Opens the engine that a URL names, with the options of its section. `dial` wraps the dialler of engines on the network.
pub(super) async fn open(
    url: &EngineUrl,
    settings: &Settings,
    clock: &WallClock,
    dial: impl FnOnce(TcpDial) -> Arc<dyn Dial>,
) -> Result<OpenedEngine> {
    // A build without network engines dials nothing.
    let _ = (&dial, settings, clock);
    match url.scheme {
        #[cfg(feature = "embedded")]
        Scheme::Embedded | Scheme::Memory => Ok(OpenedEngine::new(Arc::new(
            EmbeddedEngine::open_with(url, settings.embedded.clone(), clock.clone()).await?,
        ))),
        #[cfg(feature = "fluvio")]
        Scheme::Fluvio | Scheme::FluvioTls => {
            let engine =
                FluvioEngine::open_with(url, settings.fluvio.clone(), dial(FluvioEngine::tcp())).await?;
            let fluvio = Some(engine.admin());
            Ok(OpenedEngine { engine: Arc::new(engine), fluvio })
        }
        #[cfg(feature = "walrus")]
        Scheme::Walrus => {
            let engine =
                WalrusEngine::open_with(url, settings.walrus.clone(), dial(WalrusEngine::tcp())).await?;
            Ok(OpenedEngine::new(Arc::new(engine)))
        }
        #[allow(unreachable_patterns, reason = "reachable in builds without one of the engines")]
        scheme => Err(not_compiled_in(scheme)),
    }
}

/// Schemes whose engine is compiled in.
const COMPILED_IN: &[Scheme] = &[
    #[cfg(feature = "embedded")]
    Scheme::Embedded,
    #[cfg(feature = "embedded")]
    Scheme::Memory,
    #[cfg(feature = "fluvio")]
    Scheme::Fluvio,
    #[cfg(all(feature = "fluvio", feature = "tls"))]
    Scheme::FluvioTls,
    #[cfg(feature = "walrus")]
    Scheme::Walrus,
];

/// Refuses a scheme whose engine is not compiled in.
pub(super) fn check_compiled_in(scheme: Scheme) -> Result<()> {
    if COMPILED_IN.contains(&scheme) { Ok(()) } else { Err(not_compiled_in(scheme)) }
}

fn not_compiled_in(scheme: Scheme) -> Error {
    let feature = match scheme {
        Scheme::Embedded | Scheme::Memory => "embedded",
        Scheme::FluvioTls if cfg!(feature = "fluvio") => "tls",
        Scheme::Fluvio | Scheme::FluvioTls => "fluvio",
        Scheme::Walrus => "walrus",
        _ => "default",
    };
    let message = format!(
        "the engine of {}: URLs is not compiled in: enable the feature {feature:?} of the crate floe",
        scheme.as_str()
    );
    Error::new(ErrorKind::Unsupported, message)
}
