//! Options of engines that a program sets beside the URL.

use floe_core::setting::Section;
#[cfg(feature = "embedded")]
use floe_embedded::EmbeddedOptions;
#[cfg(feature = "fluvio")]
use floe_fluvio::FluvioOptions;
#[cfg(feature = "walrus")]
use floe_walrus::WalrusOptions;

use super::sections::Settings;
use crate::url::Scheme;

/// Options of one engine, for [`ClientBuilder::options`](crate::ClientBuilder::options).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EngineOptions {
    /// Of no engine: every option keeps its value.
    None,
    /// Of `embedded:` and `memory:`.
    #[cfg(feature = "embedded")]
    Embedded(EmbeddedOptions),
    /// Of `fluvio:` and `fluvio+tls:`.
    #[cfg(feature = "fluvio")]
    Fluvio(Box<FluvioOptions>),
    /// Of `walrus:`.
    #[cfg(feature = "walrus")]
    Walrus(Box<WalrusOptions>),
}

impl EngineOptions {
    /// Copies the options that differ from their defaults, and returns their full names.
    #[cfg_attr(
        not(any(feature = "embedded", feature = "fluvio", feature = "walrus")),
        expect(unused_variables, reason = "only used with an engine")
    )]
    pub(super) fn overlay(&self, settings: &mut Settings) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            #[cfg(feature = "embedded")]
            Self::Embedded(options) => put(options, &mut settings.embedded),
            #[cfg(feature = "fluvio")]
            Self::Fluvio(options) => put(&**options, &mut settings.fluvio),
            #[cfg(feature = "walrus")]
            Self::Walrus(options) => put(&**options, &mut settings.walrus),
        }
    }
}

#[cfg_attr(
    not(any(feature = "embedded", feature = "fluvio", feature = "walrus")),
    expect(dead_code, reason = "only called with an engine")
)]
fn put<S: Section>(options: &S, under: &mut S) -> Vec<String> {
    options.overlay(under).into_iter().map(|name| format!("{}.{name}", S::SECTION)).collect()
}

#[cfg(feature = "embedded")]
impl From<EmbeddedOptions> for EngineOptions {
    fn from(options: EmbeddedOptions) -> Self {
        Self::Embedded(options)
    }
}

#[cfg(feature = "fluvio")]
impl From<FluvioOptions> for EngineOptions {
    fn from(options: FluvioOptions) -> Self {
        Self::Fluvio(Box::new(options))
    }
}

#[cfg(feature = "walrus")]
impl From<WalrusOptions> for EngineOptions {
    fn from(options: WalrusOptions) -> Self {
        Self::Walrus(Box::new(options))
    }
}

/// The section of an engine.
pub(super) struct EngineSection {
    pub(super) name: &'static str,
    pub(super) names: &'static [&'static str],
}

impl EngineSection {
    #[cfg_attr(
        not(any(feature = "embedded", feature = "fluvio", feature = "walrus")),
        expect(dead_code, reason = "only called with an engine")
    )]
    fn new<S: Section>() -> Self {
        Self { name: S::SECTION, names: S::NAMES }
    }

    /// Returns the section of the engine of a scheme, if it is compiled in.
    pub(super) fn of(scheme: Scheme) -> Option<Self> {
        match scheme {
            #[cfg(feature = "embedded")]
            Scheme::Embedded | Scheme::Memory => Some(Self::new::<EmbeddedOptions>()),
            #[cfg(feature = "fluvio")]
            Scheme::Fluvio | Scheme::FluvioTls => Some(Self::new::<FluvioOptions>()),
            #[cfg(feature = "walrus")]
            Scheme::Walrus => Some(Self::new::<WalrusOptions>()),
            #[allow(unreachable_patterns, reason = "reachable in builds without one of the engines")]
            _ => None,
        }
    }
}
