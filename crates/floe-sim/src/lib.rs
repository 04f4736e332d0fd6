//! Deterministic simulation of floe with seeded faults.
//!
//! The real client talks to the real server over in-memory connections. The simulation runs on one thread and tokio's paused
//! clock, and a seed determines every random choice: latencies, which connections break after how many bytes, unreachable
//! hosts, crashes of the server, the workload. Hours of simulated time take milliseconds. With `--cfg tokio_unstable`, which
//! `cargo simulate` sets, a seed reproduces its run event by event; without it, tokio wakes simultaneous tasks in random
//! order.
//!
//! After a run the [rules] are checked, without floe's own counters: acknowledged records are stored once and in order,
//! refused ones are not stored, readers got every record once, committed offsets never ran ahead, no call hung, and no
//! connection or task is left.
//!
//! ```
//! use floe_sim::{Kind, Simulation};
//!
//! let report = Simulation::new(Kind::Fluvio, 7).run();
//! println!("{} events, {} records, {:?}", report.events, report.stored, report.violations);
//! ```
//!
//! `docs/testing.md` describes its use.
//!
//! | module | holds |
//! | --- | --- |
//! | [`kind`] | the kinds of simulation: engine, server and possible faults |
//! | [`plan`] | workload and faults of a seed |
//! | [`run`] | one run |
//! | [`sweep`](mod@sweep) | runs of many seeds |
//! | [`network`], `link` | in-memory hosts and connections |
//! | `server`, `leaders` | the simulated servers |
//! | `fault_injector` | execution of planned faults |
//! | [`store`] | the log behind the servers, correct or with an injected bug |
//! | `backing`, `disk` | what that is over: a model, or the log of `floe-log` on a disk that fails |
//! | [`produce`], [`consume`], `share` | producers, consumers and members of shared groups |
//! | `rules` | invariants that must hold after a run |
//! | [`trace`] | events of a run |
//! | [`rng`] | the seeded random number generator |
//!
//! [rules]: run::Report::violations

mod backing;
pub mod consume;
mod disk;
mod fault_injector;
pub mod kind;
mod leaders;
mod link;
pub mod network;
mod panics;
pub mod plan;
pub mod produce;
pub mod rng;
mod rules;
pub mod run;
mod server;
mod share;
pub mod store;
pub mod sweep;
pub mod trace;

pub use kind::Kind;
pub use run::{Report, Simulation};
pub use store::Lie;
pub use sweep::{Sweep, sweep};
