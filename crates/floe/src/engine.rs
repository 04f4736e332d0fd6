//! The contract between the client and the places where topics live, and the engines that are compiled in.
//!
//! Applications do not call engines; they use [`crate::Client`]. This module is for authors of engines and of
//! [`crate::layer::Layer`]s. An engine of your own needs only the crate `floe-core`, whose contract this module
//! re-exports.

pub use floe_core::engine::*;
pub use floe_core::operation::{Operation, OperationKind, OperationTarget};
#[cfg(feature = "embedded")]
pub use floe_embedded::{self as embedded, EmbeddedEngine, EmbeddedOptions};
#[cfg(feature = "fluvio")]
pub use floe_fluvio::{self as fluvio, FluvioEngine, FluvioOptions};
#[cfg(feature = "walrus")]
pub use floe_walrus::{self as walrus, WalrusEngine, WalrusOptions, WalrusStats};
