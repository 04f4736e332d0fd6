//! Holds floe's encodings against the official Fluvio crates. Everything is in `tests/` and `benches/`; the official
//! crates are dependencies of this crate's tests alone.
