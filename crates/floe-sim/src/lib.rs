//! floe in a network that does not exist, under faults that one number decides.
//!
//! Producers and consumers of the real client talk to the real server over connections in memory. Time is tokio's
//! paused clock, everything runs on one thread, and whatever is random comes from the seed: how long bytes take, which
//! connections break after how many bytes, which hosts cannot be reached, when the server dies, who sends what. Hours
//! pass in milliseconds. Built with `--cfg tokio_unstable`, as `cargo simulate` does, the same seed is the same run, event
//! by event; otherwise the order in which tokio wakes tasks at the same moment is left to chance.
//!
//! Afterwards [rules] are checked that know nothing of floe's own counters: what was acknowledged is there once and in
//! order, what was refused is not, readers got everything once, stored offsets never ran ahead, nothing hung, and
//! nothing was left open.
//!
//! ```
//! use floe_sim::{Kind, Simulation};
//!
//! let report = Simulation::new(Kind::Fluvio, 7).run();
//! println!("{} events, {} records, {:?}", report.events, report.stored, report.violations);
//! ```
//!
//! `docs/testing.md` says how to use it.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`plan`] | what a seed stands for |
//! | [`run`] | one run, from beginning to end |
//! | [`sweep`](mod@sweep) | many runs |
//! | [`network`], `link` | hosts and connections in memory |
//! | `world`, `leaders` | the servers, and how they fail |
//! | [`store`] | the log behind them, honest or lying |
//! | [`produce`], [`consume`] | those who send and read |
//! | `rules` | what must hold |
//! | [`trace`] | what happened |
//! | [`rng`] | where chance comes from |
//!
//! [rules]: run::Report::violations

pub mod consume;
mod leaders;
mod link;
pub mod network;
mod panics;
pub mod plan;
pub mod produce;
pub mod rng;
mod rules;
pub mod run;
pub mod store;
pub mod sweep;
pub mod trace;
mod world;

pub use run::{Kind, Report, Simulation};
pub use store::Lie;
pub use sweep::{Sweep, sweep};
