//! Tests of the Fluvio messages on whole frames: recorded, derived by hand, hostile, and from the fuzz corpora.

mod corpus;
mod hostile;
mod literal;
mod recorded;
mod recordings;
mod reencode;
