//! The spool of builds without the feature `embedded`: opening it fails with an error that names the feature.

use std::convert::Infallible;

use super::{checkpoint::Checkpoint, settings::SpoolOptions};
use crate::{
    Error, ErrorKind, Message, Record, Result, TopicPartition,
    consumer::{Consumer, RawBatchReader},
    producer::Delivery,
};

/// A spool that cannot exist.
#[derive(Debug)]
pub(super) struct Spool(Infallible);

impl Spool {
    pub(super) async fn open(_: SpoolOptions) -> Result<Self> {
        let message =
            "an outbox keeps records in an embedded log: enable the feature \"embedded\" of the crate floe";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(super) fn stored_checkpoint(&self) -> Result<Option<Checkpoint>> {
        match self.0 {}
    }

    pub(super) async fn store_checkpoint(&self, _: &Checkpoint) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn append<V: AsRef<[u8]>>(&self, _: &Record<V>) -> Result<Delivery> {
        match self.0 {}
    }

    pub(super) async fn flush(&self) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn used_bytes(&self) -> u64 {
        match self.0 {}
    }

    pub(super) fn outruns_tail(&self, _: i64) -> bool {
        match self.0 {}
    }

    pub(super) fn appended(&self) -> u64 {
        match self.0 {}
    }

    pub(super) fn start(&self) -> i64 {
        match self.0 {}
    }

    pub(super) fn end(&self) -> i64 {
        match self.0 {}
    }

    pub(super) async fn read(&self, _: i64) -> Result<Consumer> {
        match self.0 {}
    }

    pub(super) async fn follow(&self, _: i64) -> Result<RawBatchReader> {
        match self.0 {}
    }

    pub(super) async fn trim(&self, _: i64) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn reject(&self, _: &Message, _: &Error) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn close(&self) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn location(&self) -> TopicPartition {
        match self.0 {}
    }
}
