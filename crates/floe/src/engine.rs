//! The contract between the client and the places where topics live, and the engines that are compiled in.
//!
//! Applications do not call engines; they use [`crate::Client`]. This module is for authors of engines and of
//! [`crate::layer::Layer`]s. An engine of your own needs only the crate `floe-core`, whose contract this module
//! re-exports.

use std::sync::Arc;

pub use floe_core::engine::*;
pub use floe_core::operation::{Operation, OperationKind, OperationTarget};
#[cfg(feature = "embedded")]
pub use floe_embedded::EmbeddedEngine;
#[cfg(feature = "fluvio")]
pub use floe_fluvio::{self as fluvio, FluvioEngine};
#[cfg(feature = "walrus")]
pub use floe_walrus::{WalrusEngine, WalrusStats};

use crate::{
    Error, ErrorKind, Result,
    net::{Dial, TcpDial},
    url::{EngineUrl, Scheme},
};

/// An engine that a URL named.
pub(crate) struct OpenedEngine {
    pub(crate) engine: SharedEngine,
    /// Administration of a Fluvio cluster, without retries.
    #[cfg(feature = "fluvio")]
    pub(crate) fluvio: Option<fluvio::FluvioAdmin>,
}

impl OpenedEngine {
    pub(crate) fn new(engine: SharedEngine) -> Self {
        Self {
            engine,
            #[cfg(feature = "fluvio")]
            fluvio: None,
        }
    }
}

/// Opens the engine that a URL names. `dial` wraps the dialler of engines on the network.
pub(crate) async fn open(
    url: &EngineUrl,
    dial: impl FnOnce(TcpDial) -> Arc<dyn Dial>,
) -> Result<OpenedEngine> {
    // A build without network engines dials nothing.
    let _ = &dial;
    match url.scheme {
        #[cfg(feature = "embedded")]
        Scheme::Embedded | Scheme::Memory => {
            Ok(OpenedEngine::new(Arc::new(EmbeddedEngine::open(url).await?)))
        }
        #[cfg(feature = "fluvio")]
        Scheme::Fluvio | Scheme::FluvioTls => {
            let engine = FluvioEngine::open(url, dial(FluvioEngine::tcp())).await?;
            let fluvio = Some(engine.admin());
            Ok(OpenedEngine { engine: Arc::new(engine), fluvio })
        }
        #[cfg(feature = "walrus")]
        Scheme::Walrus => {
            let engine = WalrusEngine::connect_with(url, dial(WalrusEngine::tcp())).await?;
            Ok(OpenedEngine::new(Arc::new(engine)))
        }
        #[allow(unreachable_patterns, reason = "reachable in builds without one of the engines")]
        scheme => Err(not_compiled_in(scheme)),
    }
}

fn not_compiled_in(scheme: Scheme) -> Error {
    let feature = match scheme {
        Scheme::Embedded | Scheme::Memory => "embedded",
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
