//! One suite of behaviours that every engine of floe must show.
//!
//! An engine promises what [`floe::engine::Engine`] says; this crate holds it to that. Most cases use the public face
//! of `floe`, because that is what users see: a producer, a consumer, the admin. What the public face cannot show, such
//! as a dropped read below the consumer, is asked of the engine itself.
//!
//! # Running it on an engine of one's own
//! One macro makes one test for each case, so that one failure does not hide the rest:
//!
//! ```no_run
//! use std::sync::Arc;
//! use floe_conformance::{Model, Target, conformance_tests};
//!
//! conformance_tests!(mine, Target::engine("mine", || async { Ok(Arc::new(Model::new()) as _) }));
//! # fn main() {}
//! ```
//!
//! Or all at once, with a [`Report`] to print:
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
//! Clusters need no code: name them in `FLOE_TEST_URLS`, separated by white space or `;`, and run this crate's tests. Every case
//! uses topics and groups of its own and deletes them where the engine can.
//!
//! # What is skipped, and what is not
//! A case says which capabilities it needs. Where the engine lacks one, the case is reported as skipped with the name
//! of that capability; the tests of this crate state for each engine which cases those are, so that the suite cannot
//! shrink unnoticed. What an engine lacks it must refuse, and that is a case as well.
//!
//! # Time
//! Cases wait for conditions, never for a time to pass. A case that has not ended after a minute hangs, which is a
//! failure like any other; under tokio's paused clock that takes no time.
//!
//! # Trust
//! [`Model`] is the contract in its simplest form and passes everything. `tests/catches_bugs.rs` runs the suite on
//! engines that lie and asserts that the case made for that lie fails.

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
pub use failure::{Failure, Outcome};
pub use interfere::PassThrough;
pub use model::Model;
pub use needs::Offer;
pub use run::{Report, Verdict, applicable, find, run_case, run_cases, run_named, run_suite};
pub use target::Target;
