//! Fluvio: a controller (SC) and one data server (SPU), as their clients see them.

pub(crate) mod controller;
pub(crate) mod data;
mod errors;
mod frames;
