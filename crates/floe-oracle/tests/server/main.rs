//! The official Fluvio client against `floe serve`: a server that its own client did not define.

mod admin;
mod consume;
mod offsets;
mod produce;
mod smartmodules;
mod support;
mod watches;
