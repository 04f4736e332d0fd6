//! Conformance test suite for engines of floe.
//!
//! The suite checks the contract of [`floe::engine::Engine`]. Most cases use the public API of `floe` that applications
//! use: a producer, a consumer, the admin. Cases about behaviour below that API, such as a cancelled read below the
//! consumer, call the engine itself.
//!
//! # Testing your own engine
//! One macro expands to one test per case, so that one failure does not hide the others:
//!
//! ```no_run
//! use std::sync::Arc;
//! use floe_conformance::{Model, Target, conformance_tests};
//!
//! conformance_tests!(mine, Target::engine("mine", || async { Ok(Arc::new(Model::new()) as _) }));
//! # fn main() {}
//! ```
//!
//! A [`Report`] covers a run of many cases:
//!
//! ```
//! use std::sync::Arc;
//! use floe_conformance::{Model, Target, find, run_cases};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mine = Target::engine("mine", || async { Ok(Arc::new(Model::new()) as _) });
//! let report = run_cases(&mine, &[*find("append_assigns_dense_offsets").unwrap()]).await;
//! assert!(report.is_success(), "{report}");
//! # }
//! ```
//!
//! [`Target::in_folder`] runs the cases about persistence as well. `examples/folder_engine.rs` is a complete engine in one
//! file.
//!
//! The suite tests clusters without code: set `FLOE_TEST_URLS` to their URLs, separated by white space or `;`, and run the
//! tests of this crate. Each case uses topics and groups of its own and deletes them where the engine supports deletion.
//!
//! # Skipped cases
//! Each case declares the capabilities that it needs. If the engine lacks one, the case is reported as skipped with the
//! name of the capability. The tests of this crate list the skipped cases of each engine, so the suite cannot shrink
//! unnoticed. A separate case checks that the engine's missing capabilities are refused before any IO.
//!
//! # Time
//! Cases wait for conditions, never for a fixed time. A case that runs for a minute counts as hanging and fails; under
//! tokio's paused clock that takes no real time.
//!
//! # Tests of the suite
//! [`Model`] is the simplest engine that fulfils the contract, and passes every case. `tests/catches_bugs.rs` runs the
//! suite on faulty engines and asserts that the case for each fault fails.

mod case;
mod cases;
mod context;
mod failure;
mod interfere;
pub mod model;
mod needs;
mod run;
mod target;

pub use case::{CASES, Case};
pub use context::Context;
pub use failure::{CaseFailure, Outcome};
pub use interfere::PassThrough;
pub use model::Model;
pub use needs::Offer;
pub use run::{Report, Verdict, applicable, find, run_case, run_cases, run_named, run_suite};
pub use target::Target;
