//! The official Fluvio client against `floe serve`.

mod admin;
mod consume;
mod offsets;
mod produce;
mod smartmodules;
mod support;
mod watches;
