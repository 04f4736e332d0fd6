//! What only Fluvio has: objects of the controller with all their settings.
//!
//! The objects are those of the protocol, from [`objects`](super::objects): `TopicSpec`, `PartitionSpec`, `SpuSpec`,
//! `CustomSpuSpec`, `SmartModuleSpec`, `SpuGroupSpec`, `TableFormatSpec`, `MirrorSpec`.

use std::time::Duration;

use bytes::Bytes;
use floe_wire::{
    compress::{Codec, compress},
    fluvio::{
        CreateRequest, DeleteRequest, ListRequest, Metadata as Described, Object, SmartModuleSpec, Status,
        TopicSpec as WireTopicSpec, TopicUpdate, UpdateTopicRequest,
    },
};

use super::{FluvioEngine, metadata::not_found, topics};
use crate::{Error, ErrorKind, Result, topic::Topic};

/// How long the controller may take to create something; groups of data servers take longest.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);

/// Administration of a Fluvio cluster beyond topics as every engine has them. From [`FluvioEngine::admin`].
#[derive(Debug, Clone)]
pub struct FluvioAdmin {
    engine: FluvioEngine,
}

impl FluvioEngine {
    /// Administration of what only Fluvio has.
    ///
    /// ```no_run
    /// # async fn example() -> floe::Result<()> {
    /// use floe::engine::FluvioEngine;
    /// use floe::engine::fluvio::objects::SpuSpec;
    ///
    /// let fluvio = FluvioEngine::connect("fluvio://localhost:9003").await?;
    /// for spu in fluvio.admin().list::<SpuSpec>(&[]).await? {
    ///     println!("{} {} {:?}", spu.spec.id, spu.name, spu.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn admin(&self) -> FluvioAdmin {
        FluvioAdmin { engine: self.clone() }
    }
}

impl FluvioAdmin {
    /// Objects of one kind whose names match any of `names`, or all if there are none. System topics and partitions are
    /// left out. How names match is the controller's business: for most kinds a part of the name is enough.
    ///
    /// # Errors
    /// Whatever kept the controller from answering; [`ErrorKind::Closed`]. What the caller may not see is left out.
    pub async fn list<O: Object>(&self, names: &[&str]) -> Result<Vec<Described<O>>> {
        self.engine.check_open()?;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        // Modules without their code, which may be megabytes each.
        self.engine.metadata().list(ListRequest::new(names).summary(true)).await
    }

    /// Creates an object and returns the name under which it is stored.
    ///
    /// Existing SmartModules and home mirrors are replaced. For topics use [`FluvioAdmin::create_topic`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] if the controller refuses it, with its reason; [`ErrorKind::AuthFailed`].
    pub async fn create<O: Object>(&self, name: &str, spec: O) -> Result<String> {
        self.engine.check_open()?;
        let request = CreateRequest { name: name.to_owned(), dry_run: false, timeout_ms: None, spec };
        let link = self.engine.metadata().new_controller_link().await?;
        let status: Status = link.call(&request, CREATE_TIMEOUT).await?;
        topics::done(&status)?;
        Ok(status.name)
    }

    /// Deletes an object. It may be visible for a moment after this returns. For topics use
    /// [`FluvioAdmin::delete_topic`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] if there is none; [`ErrorKind::AuthFailed`].
    pub async fn delete<O: Object>(&self, key: O::DeleteKey) -> Result<()> {
        self.engine.check_open()?;
        let request = DeleteRequest::<O> { key, force: false };
        let metadata = self.engine.metadata();
        topics::done(&metadata.controller().await?.call(&request, metadata.request_timeout()).await?)
    }

    /// Creates a topic with all the settings that Fluvio has, and waits until its partitions can be used: replica
    /// assignment, retention, storage, compression, deduplication, mirrors.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::create_topic`].
    pub async fn create_topic(&self, name: impl Into<Topic>, spec: WireTopicSpec) -> Result<()> {
        self.engine.check_open()?;
        let name = name.into();
        name.validate()?;
        topics::create_wire(&self.engine.inner.router, &name, spec).await
    }

    /// A topic with all its settings, and what the controller made of them.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; whatever kept the controller from answering.
    pub async fn describe_topic(&self, name: impl Into<Topic>) -> Result<Described<WireTopicSpec>> {
        self.engine.check_open()?;
        let name = name.into();
        self.engine.metadata().ask_topic(&name).await?.ok_or_else(|| not_found(&name))
    }

    /// Changes a topic: more partitions, or one more remote cluster. Returns before new partitions can be used.
    ///
    /// # Errors
    /// [`ErrorKind::TopicNotFound`]; [`ErrorKind::InvalidCommand`] if the topic is of a kind that cannot be changed so.
    pub async fn update_topic(&self, name: impl Into<Topic>, action: TopicUpdate) -> Result<()> {
        self.engine.check_open()?;
        let request = UpdateTopicRequest { key: name.into().to_string(), action };
        let metadata = self.engine.metadata();
        topics::done(&metadata.controller().await?.call(&request, metadata.request_timeout()).await?)
    }

    /// Deletes a topic; with `force` also one that belongs to the system.
    ///
    /// # Errors
    /// As [`crate::admin::Admin::delete_topic`].
    pub async fn delete_topic(&self, name: impl Into<Topic>, force: bool) -> Result<()> {
        self.engine.check_open()?;
        topics::delete_forced(self.engine.metadata(), &name.into(), force).await
    }

    /// Stores a SmartModule under a name, in place of one that is there. `wasm` is the module as compiled. Data servers
    /// know it a moment after this returns.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCommand`] if it is no WebAssembly module.
    pub async fn create_smartmodule(&self, name: &str, wasm: &[u8]) -> Result<String> {
        if !wasm.starts_with(b"\0asm") {
            let message = format!("SmartModule {name:?}: this is no WebAssembly module");
            return Err(Error::new(ErrorKind::InvalidCommand, message));
        }
        let spec = SmartModuleSpec { payload: gzip(wasm)?, ..SmartModuleSpec::default() };
        self.create(name, spec).await
    }
}

/// Servers take modules compressed.
fn gzip(bytes: &[u8]) -> Result<Bytes> {
    let mut packed = Vec::new();
    compress(Codec::Gzip, None, bytes, &mut packed)?;
    Ok(packed.into())
}
