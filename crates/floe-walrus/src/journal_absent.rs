//! The journal of builds without the feature `journal`: opening one fails.

use std::{convert::Infallible, path::Path, sync::Arc};

use floe_core::{
    Error, ErrorKind, Result,
    engine::{BatchReader, Engine, ReadRequest},
    topic::{Topic, TopicPartition},
};
use floe_wire::batch::EncodedBatch;

/// A journal that cannot exist.
#[derive(Debug)]
pub(super) struct Journal(Infallible);

impl Journal {
    /// Returns an error that names the feature.
    pub(super) async fn open(_: &Path) -> Result<Arc<Self>> {
        let message =
            "the option journal needs the feature \"journal\" of floe-walrus (of floe: \"embedded\")";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(super) fn log(&self) -> &dyn Engine {
        match self.0 {}
    }

    pub(super) fn knows(&self, _: &Topic) -> bool {
        match self.0 {}
    }

    pub(super) async fn add(&self, _: &Topic) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn append(&self, _: &str, _: EncodedBatch) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn read(&self, _: ReadRequest) -> Result<Box<dyn BatchReader>> {
        match self.0 {}
    }

    pub(super) async fn commit(&self, _: Arc<str>, _: Vec<(TopicPartition, i64)>) -> Result<()> {
        match self.0 {}
    }
}
