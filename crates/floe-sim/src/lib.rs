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
//! | [`plan`], `fault`, `swarm` | workload and faults of a seed; kinds of faults, and those that a seed has |
//! | [`run`] | one run |
//! | [`sweep`](mod@sweep), `shrink`, `reduction` | runs of many seeds; a run that fails, reduced |
//! | [`network`], `link` | in-memory hosts and connections |
//! | `server`, `leaders` | the simulated servers |
//! | `fault_injector`, `mishaps`, `power` | execution of planned faults; those of one member |
//! | `misdeed` | injected bugs of a member |
//! | [`store`] | the log behind the servers, correct or with an injected bug |
//! | `backing`, `disk` | what that is over: a model, or the log of `floe-log` on a disk that fails |
//! | [`produce`], [`consume`], `share` | producers, consumers, members of shared groups |
//! | `processors`, `outbox` | applications: processors of both guarantees, an outbox with its spool |
//! | [`handled`] | what groups have handled |
//! | `history` | what the clients recorded, judged by `floe-check` |
//! | `rules` | invariants that must hold after a run |
//! | `referee` | invariants of shared groups that must hold at any time, by the order of the coordination log |
//! | [`trace`] | events of a run |
//! | [`rng`] | the seeded random number generator |
//!
//! [rules]: run::Report::violations

mod backing;
pub mod consume;
mod disk;
mod fault;
mod fault_injector;
pub mod handled;
mod history;
pub mod kind;
mod leaders;
mod link;
mod misdeed;
mod mishaps;
pub mod network;
mod outbox;
mod panics;
pub mod plan;
mod power;
mod processors;
pub mod produce;
mod reduction;
mod referee;
pub mod rng;
mod rules;
pub mod run;
mod server;
mod share;
mod shrink;
pub mod store;
mod swarm;
pub mod sweep;
pub mod trace;

pub use kind::Kind;
pub use misdeed::Misdeed;
pub use reduction::Reduction;
pub use run::{Report, Simulation};
pub use shrink::{Shrunk, shrink};
pub use store::Lie;
pub use sweep::{Sweep, sweep};
