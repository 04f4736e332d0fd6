//! Test doubles that several crates share: scripted servers, SmartModules, certificates and a Prometheus parser.
//!
//! | module | holds |
//! | --- | --- |
//! | [`fluvio`] | an in-memory Fluvio cluster with scripted faults |
//! | [`walrus`] | an in-memory Walrus cluster with scripted faults |
//! | [`smartmodules`] | SmartModules in WebAssembly text, assembled on demand |
//! | [`certificates`] | a certificate authority and TLS acceptors |
//! | [`exposition`] | a strict parser of the Prometheus text format |
//!
//! Every item panics on a broken assumption: the callers are tests.

#![allow(clippy::missing_panics_doc, reason = "a panic is how a test double reports a failed test")]

pub mod certificates;
pub mod exposition;
pub mod fluvio;
pub mod smartmodules;
pub mod walrus;
