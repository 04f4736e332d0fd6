//! Checks a recorded history of a log for lost, duplicated, reordered and skipped records.
//!
//! A history is a file of JSON lines; `docs/formats/history.md` describes them. The checker reads it once, keeps what is in
//! flight in memory, sorts the rest on disk, and knows nothing of the system that was recorded.
//!
//! ```
//! use floe_check::{Anomaly, CheckOptions, Checker};
//!
//! let history = r#"{"history":1}
//! {"type":"invoke","call":"send","process":"p","id":1,"topic":"orders","partition":0,"digest":"0a"}
//! {"type":"ok","call":"send","process":"p","id":1,"offset":0}
//! {"type":"ok","call":"assign","process":"c","topic":"orders","partition":0,"offset":0}
//! {"type":"ok","call":"poll","process":"c","topic":"orders","partition":0,"offset":1,"digest":"0b"}
//! "#;
//! let mut checker = Checker::new(CheckOptions::default());
//! checker.read(history.as_bytes())?;
//! let verdict = checker.finish()?;
//! assert_eq!(verdict.count(Anomaly::LostWrite), 1);
//! assert_eq!(verdict.count(Anomaly::PollSkip), 1);
//! # Ok::<(), floe_check::HistoryError>(())
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`event`] | the events of a history, read and written |
//! | [`checker`] | the one pass over the events |
//! | [`verdict`] | anomalies and findings |
//! | `readers`, `groups` | positions of readers; handled records and commits of groups |
//! | `sequence` | the pass over the records of each partition by offset |
//! | `copies` | the pass over records by content: how often sent, how often stored |
//! | `sorter` | sorting beyond memory |
//! | `json`, `names` | flat JSON objects; numbers in place of names |

pub mod checker;
mod copies;
pub mod event;
mod groups;
mod json;
mod names;
mod readers;
mod sequence;
mod sorter;
pub mod verdict;

pub use checker::{CheckOptions, Checker};
pub use event::{Call, HistoryError, HistoryEvent, Phase};
pub use verdict::{Anomaly, Finding, HistoryVerdict};
