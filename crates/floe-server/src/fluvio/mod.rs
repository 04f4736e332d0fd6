//! Fluvio front-ends: a controller (SC) and one data server (SPU).

pub(crate) mod controller;
pub(crate) mod data;
mod errors;
mod frames;
