//! Tests of the binary `floe`: output, messages and exit codes.

mod access;
mod backup;
mod bench;
mod cluster;
mod config;
mod consume;
mod copy;
mod damage;
mod dlq;
mod export;
mod faults;
mod fluvio;
mod groups;
mod help;
mod kills;
mod outage;
mod produce;
mod profiles;
mod serve;
mod shared_groups;
mod support;
mod telemetry;
mod terminal;
mod tls;
mod topics;
