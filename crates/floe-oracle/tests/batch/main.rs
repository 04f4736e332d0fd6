//! The record batch against the official `fluvio-protocol` crate: same bytes, same values, both ways.

mod bytes;
mod generate;
mod official;
mod values;
