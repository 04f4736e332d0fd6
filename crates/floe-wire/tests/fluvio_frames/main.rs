//! The Fluvio codecs on whole frames: recorded ones, hostile ones, and the corpus of the fuzz targets.

mod corpus;
mod hostile;
mod literal;
mod recorded;
mod recordings;
mod reencode;
