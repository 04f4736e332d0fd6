//! Interoperability tests of floe with the official Fluvio crates, in `tests/` and `benches/`. The official crates are
//! dev-dependencies of this crate alone.
