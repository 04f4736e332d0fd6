//! The record batch against the official `fluvio-protocol` crate: same bytes and same values in both directions.

mod bytes;
mod generate;
mod official;
mod values;
