//! SmartModules: WebAssembly that a cluster applies to records on their way in or out.
//!
//! Only engines with [`Capabilities::smartmodules`](crate::engine::Capabilities::smartmodules) have them; the others
//! refuse a producer or consumer that asks for some before anything is sent.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use floe_wire::compress::{Codec, compress};

use crate::{Error, ErrorKind, Result};

/// SmartModules in the order in which records go through them, shared by all requests of a producer or consumer.
pub type SmartModules = Arc<[SmartModule]>;

/// One SmartModule with its parameters.
///
/// ```
/// use floe_core::SmartModule;
///
/// let cheap = SmartModule::named("price-filter").param("below", "100");
/// let total = SmartModule::named("sum").aggregate("0");
/// assert_eq!(cheap.params().get("below").map(String::as_str), Some("100"));
/// assert_eq!(total.name(), Some("sum"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartModule {
    source: Source,
    kind: SmartModuleKind,
    params: BTreeMap<String, String>,
    lookback: Option<Lookback>,
}

#[derive(Clone)]
enum Source {
    Named(Arc<str>),
    Wasm(Arc<Wasm>),
}

/// A module that requests carry.
struct Wasm {
    bytes: Bytes,
    /// The compressed module, made once.
    packed: OnceLock<Bytes>,
}

/// Kind of a module. Fluvio takes the kind from the exports of the module and only the start value of an aggregate from
/// the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SmartModuleKind {
    /// The kind that the module exports.
    #[default]
    Any,
    /// Keeps or drops records.
    Filter,
    /// Maps a record to one record.
    Map,
    /// Maps a record to one record, or drops it.
    FilterMap,
    /// Maps a record to any number of records.
    ArrayMap,
    /// Folds records into an accumulator and emits its state after each record.
    Aggregate {
        /// Value of the accumulator before the first record.
        initial: Bytes,
    },
}

/// The records that a module reads to rebuild its state, before the first one that it processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookback {
    /// At most this many records.
    Last(u64),
    /// Records that are not older than this.
    Age(Duration),
    /// Records that are not older than this, at most this many.
    LastWithin(u64, Duration),
}

impl SmartModule {
    /// A module that the cluster stores: `name`, `group/name` or `group/name@version`.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::new(Source::Named(name.into()))
    }

    /// A module that travels with the requests: WebAssembly as compiled.
    #[must_use]
    pub fn wasm(bytes: impl Into<Bytes>) -> Self {
        Self::new(Source::Wasm(Arc::new(Wasm { bytes: bytes.into(), packed: OnceLock::new() })))
    }

    fn new(source: Source) -> Self {
        Self { source, kind: SmartModuleKind::Any, params: BTreeMap::new(), lookback: None }
    }

    /// Says what the module does. Default: [`SmartModuleKind::Any`].
    #[must_use]
    pub fn kind(mut self, kind: SmartModuleKind) -> Self {
        self.kind = kind;
        self
    }

    /// The module folds records, beginning with `initial`.
    #[must_use]
    pub fn aggregate(self, initial: impl Into<Bytes>) -> Self {
        self.kind(SmartModuleKind::Aggregate { initial: initial.into() })
    }

    /// Gives the module a parameter.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Shows the module records from before the first one that it works on. Default: none.
    #[must_use]
    pub fn lookback(mut self, lookback: Lookback) -> Self {
        self.lookback = Some(lookback);
        self
    }

    /// The name, of a module that the cluster stores.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.source {
            Source::Named(name) => Some(name),
            Source::Wasm(_) => None,
        }
    }

    /// The WebAssembly, of a module that travels with the requests.
    #[must_use]
    pub fn wasm_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Named(_) => None,
            Source::Wasm(wasm) => Some(&wasm.bytes),
        }
    }

    /// Kind of the module.
    #[must_use]
    pub fn module_kind(&self) -> &SmartModuleKind {
        &self.kind
    }

    /// The parameters by name.
    #[must_use]
    pub fn params(&self) -> &BTreeMap<String, String> {
        &self.params
    }

    /// Which earlier records the module sees.
    #[must_use]
    pub fn lookback_window(&self) -> Option<Lookback> {
        self.lookback
    }

    /// The WebAssembly as requests carry it; `None` for a module that the cluster stores.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] in a build without gzip.
    pub fn packed(&self) -> Result<Option<Bytes>> {
        let Source::Wasm(wasm) = &self.source else { return Ok(None) };
        if let Some(packed) = wasm.packed.get() {
            return Ok(Some(packed.clone()));
        }
        let mut packed = Vec::new();
        compress(Codec::Gzip, None, &wasm.bytes, &mut packed)?;
        Ok(Some(wasm.packed.get_or_init(|| packed.into()).clone()))
    }

    /// Checks what can be checked without a cluster.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that says what is wrong.
    pub fn validate(&self) -> Result<()> {
        let problem = match (&self.source, self.lookback) {
            (Source::Named(name), _) if name.trim().is_empty() => "a SmartModule has an empty name",
            (Source::Wasm(wasm), _) if !wasm.bytes.starts_with(b"\0asm") => {
                "a SmartModule is not WebAssembly as compiled: it does not begin with \\0asm"
            }
            (_, Some(Lookback::Last(0) | Lookback::LastWithin(0, _))) => {
                "the lookback of a SmartModule is 0 records"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidConfig, problem))
    }
}

/// Checks the modules of a producer or consumer, without any IO.
///
/// # Errors
/// [`ErrorKind::Unsupported`] on an engine without SmartModules; [`ErrorKind::InvalidConfig`] for an invalid module.
pub fn check(modules: &[SmartModule], engine: &'static str, supported: bool) -> Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    if !supported {
        return Err(Error::unsupported("SmartModules", engine));
    }
    modules.iter().try_for_each(SmartModule::validate)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "{name:?}"),
            Self::Wasm(wasm) => write!(f, "{} bytes of WebAssembly", wasm.bytes.len()),
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(left), Self::Named(right)) => left == right,
            (Self::Wasm(left), Self::Wasm(right)) => left.bytes == right.bytes,
            (Self::Named(_), Self::Wasm(_)) | (Self::Wasm(_), Self::Named(_)) => false,
        }
    }
}

impl Eq for Source {}

#[cfg(test)]
mod tests {
    use floe_wire::compress::decompress;

    use super::*;

    #[test]
    fn a_module_that_travels_is_packed_once() {
        let module = SmartModule::wasm(&b"\0asm and so on"[..]);
        let packed = module.packed().unwrap().unwrap();
        assert_eq!(decompress(Codec::Gzip, &packed, 1000).unwrap(), &b"\0asm and so on"[..]);
        assert_eq!(module.clone().packed().unwrap().unwrap().as_ptr(), packed.as_ptr());
        assert_eq!(SmartModule::named("a").packed().unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            SmartModule::named(" "),
            SmartModule::wasm(&b"(module)"[..]),
            SmartModule::named("a").lookback(Lookback::Last(0)),
        ] {
            let error = check(std::slice::from_ref(&bad), "any", true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{bad:?}");
        }
        let good = [SmartModule::named("a"), SmartModule::wasm(&b"\0asm"[..])];
        assert!(check(&good, "any", true).is_ok());
        assert_eq!(check(&good, "any", false).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(check(&[], "any", false).is_ok());
    }
}
