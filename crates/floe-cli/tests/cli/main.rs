//! The binary `floe` as scripts and people use it: what it prints, where, and how it ends.

mod bench;
mod cluster;
mod config;
mod consume;
mod dlq;
mod faults;
mod fluvio;
mod groups;
mod help;
mod kills;
mod produce;
mod profiles;
mod serve;
mod support;
mod telemetry;
#[cfg(unix)]
mod terminal;
mod tls;
mod topics;
